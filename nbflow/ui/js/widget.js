// The graph in a notebook: connects anywidget's model to mount().

import { mount } from "./graph.js";
import { applyPatch } from "./patches.js";

const REPLY_TIMEOUT_MS = 8000;
const TRAITS = /** @type {const} */ (["scene", "meanings", "base", "patch", "now"]);

/** Requests over the comm; rejects when the kernel does not reply in time. @param {any} model */
function commTransport(model) {
  let last = 0;
  /** @type {Map<number, (message: any) => void>} */
  const waiting = new Map();
  const onMessage = (/** @type {any} */ message) => {
    if (message?.kind === "reply") waiting.get(message.id)?.(message);
  };
  model.on("msg:custom", onMessage);
  return {
    /** @param {string} name @param {object} args */
    request(name, args) {
      const id = ++last;
      return new Promise((resolve, reject) => {
        const timer = setTimeout(
          () => reject(new Error("The kernel is busy. Try again when the running cell has ended.")), REPLY_TIMEOUT_MS);
        waiting.set(id, (message) => {
          clearTimeout(timer);
          waiting.delete(id);
          if (message.error) reject(new Error(message.error));
          else resolve(message.data);
        });
        model.send({ kind: "request", id, name, args });
      });
    },
    close: () => model.off("msg:custom", onMessage),
  };
}

/**
 * Returns a function that reads the model. The trait `patch` holds all operations from `base` to the newest document, of
 * which only those that came since the last call are applied: what did not change stays the same object.
 * @param {any} model
 */
function modelReader(model) {
  /** @type {any} */
  let base;
  /** @type {any} */
  let newest;
  let applied = 0;
  return () => {
    const operations = model.get("patch");
    if (model.get("base") !== base) {
      base = model.get("base");
      newest = base.document;
      applied = 0;
    }
    newest = applyPatch(newest, operations.slice(applied));
    applied = operations.length;
    return { scene: model.get("scene"), meanings: model.get("meanings"), now: model.get("now"), ...newest };
  };
}

export default {
  /** @param {{ model: any, el: HTMLElement }} context */
  render({ model, el }) {
    const transport = commTransport(model);
    const read = modelReader(model);
    const view = mount(el, read(), transport);
    let scheduled = false;
    const schedule = () => {
      if (scheduled) return;
      scheduled = true;
      // the traits of one message change one by one: read them together
      queueMicrotask(() => { scheduled = false; view.update(read()); });
    };
    for (const trait of TRAITS) model.on(`change:${trait}`, schedule);
    return () => {
      for (const trait of TRAITS) model.off(`change:${trait}`, schedule);
      transport.close();
      view.destroy();
    };
  },
};
