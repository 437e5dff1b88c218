// Elements without markup: every text from a DAG goes through textContent or setAttribute, so nothing can become a tag.

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {Element} node
 * @param {Record<string, any>} attributes  functions become listeners, false and null are left out
 * @param {Array<Node | string | null | undefined>} children
 */
function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

/** @param {string} tag @param {Record<string, any>} [attributes] @param {...any} children @returns {HTMLElement} */
export function html(tag, attributes = {}, ...children) {
  return /** @type {HTMLElement} */ (dress(document.createElement(tag), attributes, children));
}

/** @param {string} tag @param {Record<string, any>} [attributes] @param {...any} children @returns {SVGElement} */
export function svg(tag, attributes = {}, ...children) {
  return /** @type {SVGElement} */ (dress(document.createElementNS(SVG, tag), attributes, children));
}

/** Sets text only where it differs, so that nothing is selected away or announced again. @param {Element} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** The same for an attribute: what is as it was is neither laid out nor announced again. @param {Element} node @param {string} name @param {string} value */
export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** `38 s`, `5 min`, `3 h`, where there is little room. @param {number} ms */
export function brief(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  for (const [size, unit] of /** @type {[number, string][]} */ ([[86400, "d"], [3600, "h"], [60, "min"]])) {
    if (s >= size) return `${Math.round(s / size)} ${unit}`;
  }
  return `${s} s`;
}

/** `38 s`, `2 min 5 s`, `21 h 26 min`; the words of nbflow/ui/formatting.py. @param {number} ms */
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  const steps = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
  const [size, unit, small, smallUnit] = /** @type {[number, string, number, string]} */ (steps.find(([n]) => s >= Number(n)));
  const rest = Math.floor((s % size) / small);
  return `${Math.floor(s / size)} ${unit}` + (rest ? ` ${rest} ${smallUnit}` : "");
}
