// The graph in a notebook: connects anywidget's model to mount().

import { mount } from "./graph.js";

const REPLY_TIMEOUT_MS = 8000;
const KEYS = /** @type {const} */ (["graph", "header", "states", "counts", "footer", "meanings", "now", "version"]);

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
        // the traits of one message change one by one: collect them and apply them together
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
