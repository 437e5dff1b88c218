// Patches of a view's JSON: applies what nbflow/views/patches.py computes, by the rules that its head comment states.
// tests/views/patch_cases.json holds cases that both implementations pass.

/**
 * @typedef {string | number} Step  a member's name or a row's id, or the index of an item
 * @typedef {{ op: "set" | "remove", path: Step[], value?: any, before?: string | null }} Operation
 */

/** The patch starts from another state of the view; the view must be fetched again. */
export class StalePatchError extends Error {}

/** @param {Operation} operation */
function stale(operation) {
  return new StalePatchError(`The patch starts from another state of the view: this one has no ${JSON.stringify(operation.path)}.`);
}

/**
 * Index of the item that a step names.
 * @param {any[]} items @param {Step} step @param {Operation} operation
 */
function indexOf(items, step, operation) {
  const index = typeof step === "string" ? items.findIndex((item) => item?.id === step) : step;
  if (Number.isInteger(index) && index >= 0 && index < items.length) return index;
  throw stale(operation);
}

/** @param {Record<string, any>} node @param {Step[]} path @param {Operation} operation */
function appliedToObject(node, path, operation) {
  const [name, ...rest] = path;
  const present = typeof name === "string" && Object.hasOwn(node, name);
  if (typeof name !== "string" || (!present && (rest.length || operation.op !== "set"))) throw stale(operation);
  if (!rest.length && operation.op === "remove") return Object.fromEntries(Object.entries(node).filter(([other]) => other !== name));
  return { ...node, [name]: applied(present ? node[name] : null, rest, operation) };
}

/** @param {any[]} items @param {Step[]} path @param {Operation} operation */
function appliedToList(items, path, operation) {
  const [step, ...rest] = path;
  if (!rest.length && operation.before !== undefined) {
    const index = operation.before === null ? items.length : indexOf(items, operation.before, operation);
    return [...items.slice(0, index), operation.value, ...items.slice(index)];
  }
  const index = indexOf(items, step, operation);
  const replacement = !rest.length && operation.op === "remove" ? [] : [applied(items[index], rest, operation)];
  return [...items.slice(0, index), ...replacement, ...items.slice(index + 1)];
}

/** @param {any} node @param {Step[]} path @param {Operation} operation @returns {any} */
function applied(node, path, operation) {
  if (!path.length && operation.op === "set") return operation.value;
  if (path.length && Array.isArray(node)) return appliedToList(node, path, operation);
  if (path.length && node !== null && typeof node === "object") return appliedToObject(node, path, operation);
  throw stale(operation);
}

/**
 * Returns the document with the operations applied in order. The given document does not change; the result shares the
 * parts that no operation touches with it. Throws StalePatchError.
 * @param {any} document @param {readonly Operation[]} operations
 */
export function applyPatch(document, operations) {
  return operations.reduce((node, operation) => {
    if (operation.op !== "set" && operation.op !== "remove") throw stale(operation);
    return applied(node, operation.path, operation);
  }, document);
}
