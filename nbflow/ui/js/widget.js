// The graph in a notebook: anywidget's model on one side, mount() on the other.

import { mount } from "./graph.js";

const ANSWER_WITHIN_MS = 8000;
const KEYS = /** @type {const} */ (["graph", "header", "states", "counts", "footer", "now", "version"]);

/** Requests over the comm. A kernel that is busy answers late; the panel then says so. @param {any} model */
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
          () => reject(new Error("The kernel is busy; this comes as soon as it answers, or when the cell ends.")), ANSWER_WITHIN_MS);
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

export default {
  /** @param {{ model: any, el: HTMLElement }} context */
  render({ model, el }) {
    const transport = commTransport(model);
    const read = (/** @type {readonly string[]} */ keys) => Object.fromEntries(keys.map((key) => [key, model.get(key)]));
    const view = mount(el, /** @type {any} */ (read(KEYS)), transport);
    /** @type {Set<string>} */
    const dirty = new Set();
    const listeners = KEYS.map((key) => {
      const listener = () => {
        // the traits of one message change one after the other: apply them together
        if (!dirty.size) queueMicrotask(() => { view.update(read([...dirty])); dirty.clear(); });
        dirty.add(key);
        if (key === "graph") dirty.add("states").add("header");
      };
      model.on(`change:${key}`, listener);
      return () => model.off(`change:${key}`, listener);
    });
    return () => {
      for (const off of listeners) off();
      transport.close();
      view.destroy();
    };
  },
};
