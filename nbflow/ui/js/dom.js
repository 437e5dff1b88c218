// DOM helpers: every text from a DAG goes through textContent or setAttribute, so that none is parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {Element} node
 * @param {Record<string, any>} attributes  functions become event listeners; false, null and undefined are omitted
 * @param {Array<Node | string | null | undefined>} children
 */
function populate(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

/** @param {string} tag @param {Record<string, any>} [attributes] @param {...any} children @returns {HTMLElement} */
export function html(tag, attributes = {}, ...children) {
  return /** @type {HTMLElement} */ (populate(document.createElement(tag), attributes, children));
}

/** @param {string} tag @param {Record<string, any>} [attributes] @param {...any} children @returns {SVGElement} */
export function svg(tag, attributes = {}, ...children) {
  return /** @type {SVGElement} */ (populate(document.createElementNS(SVG, tag), attributes, children));
}

/** Sets the text if it differs, so that a selection stays and a screen reader does not repeat it. @param {Element} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets the attribute if it differs, without a needless layout or announcement. @param {Element} node @param {string} name @param {string} value */
export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** A duration in its largest unit: `38 s`, `5 min`, `3 h`. @param {number} ms */
export function briefDuration(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  for (const [size, unit] of /** @type {[number, string][]} */ ([[86400, "d"], [3600, "h"], [60, "min"]])) {
    if (s >= size) return `${Math.round(s / size)} ${unit}`;
  }
  return `${s} s`;
}

/** `38 s`, `2 min 5 s`, `21 h 26 min`, as nbflow/ui/formatting.py formats them. @param {number} ms */
export function durationText(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  const steps = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
  const [size, unit, small, smallUnit] = /** @type {[number, string, number, string]} */ (steps.find(([n]) => s >= Number(n)));
  const rest = Math.floor((s % size) / small);
  return `${Math.floor(s / size)} ${unit}` + (rest ? ` ${rest} ${smallUnit}` : "");
}
