// The live graph. Python computes the layout (nbflow/ui/scene.py); this module draws it once, then updates its elements.

import { briefDuration, durationText, html, setAttribute, setText, svg } from "./dom.js";
import { createPanel } from "./panel.js";
import { GLYPHS, chip, glyph, drawnState } from "./state_glyphs.js";

/**
 * @typedef {{ id: string, label: string, title: string, kind: string, mapped: boolean, members: string[],
 *             x: number, y: number, w: number, h: number }} SceneNode
 * @typedef {{ id: string, label: string, x: number, y: number, w: number, h: number }} SceneFrame
 * @typedef {{ source: string, target: string, path: string, head: string, label: string,
 *             label_x: number, label_y: number, label_w: number }} SceneEdge
 * @typedef {{ nodes: SceneNode[], frames: SceneFrame[], edges: SceneEdge[], width: number, height: number, hidden: number }} Scene
 * @typedef {{ state: string, note?: string, due?: number, since?: number }} NodeState  times in ms since the epoch
 * @typedef {{ title: string, schedule?: string, run?: string, run_state?: string, next?: number, next_exact?: string,
 *             paused?: boolean }} Header
 * @typedef {{ scene: Scene, states: Record<string, NodeState>, counts: Array<{ id: string, count: number }>, header: Header,
 *             footer: string[], meanings: Record<string, string>, now: number }} GraphModel
 * `now` is the sender's clock, in ms; `meanings` holds the meaning of each state, which the legend shows on hover. A
 * value that has changed is another object.
 * @typedef {{ request(name: string, args: object): Promise<any> }} Transport
 * Requests: `task` {task_id} -> Details of panel.js; `fold` {group_id}; and the names of a panel's actions.
 */

const LABEL_LEFT = 27;
const MIN_SCALE = 0.75; // as of pictures: a graph shrinks to the width of its box, but stays legible

/** @param {SceneNode} node */
function drawNode(node) {
  const { x, y, w, h } = node;
  const several = node.mapped || node.kind === "group";
  const bar = { setup: x + 3.5, teardown: x + w - 3.5 }[node.kind];
  const parts = {
    title: svg("title"),
    glyph: glyph("none"),
    label: svg("text", { class: "nf-label", x: x + LABEL_LEFT, y: y + 23 }, (node.kind === "group" ? "▸ " : "") + node.label),
    note: svg("text", { class: "nf-note", x: x + LABEL_LEFT, y: y + 30 }),
  };
  const element = svg("g", { class: "nf-node", role: "button", tabindex: "-1", "data-task-id": node.id },
    parts.title,
    several ? svg("path", { class: "nf-line", d: `M${x + 5} ${y + h + 3}H${x + w - 3}Q${x + w + 3} ${y + h + 3} ${x + w + 3} ${y + h - 3}V${y + 5}` }) : null,
    svg("rect", { x, y, width: w, height: h, rx: 6 }),
    bar === undefined ? null : svg("path", { class: "nf-line nf-thick", d: `M${bar} ${y + 6}V${y + h - 6}` }),
    svg("g", { transform: `translate(${x + 9} ${y + 13})` }, parts.glyph),
    parts.label, parts.note);
  return { node, element, parts, state: /** @type {NodeState} */ ({ state: "" }) };
}

/** @param {SceneEdge} edge */
function drawLabel(edge) {
  if (!edge.label) return [];
  return [
    svg("rect", { class: "nf-background", x: edge.label_x - edge.label_w / 2 - 4, y: edge.label_y - 8, width: edge.label_w + 8, height: 16 }),
    svg("text", { class: "nf-note", x: edge.label_x, y: edge.label_y + 4, "text-anchor": "middle" }, edge.label),
  ];
}

/**
 * Draws the graph into `el`; returns `update`, which takes a newer model, and `destroy`.
 * @param {HTMLElement} el
 * @param {GraphModel} model
 * @param {Transport} transport
 */
export function mount(el, model, transport) {
  /** @type {Map<string, ReturnType<typeof drawNode>>} */
  let drawn = new Map();
  let shown = /** @type {Partial<GraphModel>} */ ({});
  let { scene, header } = model;
  let clockSkew = 0;
  /** @type {string | null} */
  let open = null;
  let lastRequest = 0;

  const bar = html("div", { class: "nf-bar" });
  const canvas = html("div", { class: "nf-canvas" });
  const legend = html("span", { class: "nf-legend" });
  const notes = html("span", { class: "nf-notes" });
  const fit = html("button", { type: "button", "aria-pressed": "false", click: () => setFit(true) }, "Fit");
  const full = html("button", { type: "button", "aria-pressed": "false", click: () => setFit(false) }, "1:1");
  const sizes = html("span", { class: "nf-sizes", role: "group", "aria-label": "Size" }, fit, full);
  const announcer = html("span", { class: "nf-sr", "aria-live": "polite" });
  const panel = createPanel({ onClose: () => closePanel(), onPick: (id) => openPanel(id), request: (n, a) => transport.request(n, a) });
  const root = html("div", { class: "nf-view", "data-nbflow-view": "graph" },
    bar, canvas, html("div", { class: "nf-foot" }, legend, html("span", { class: "nf-grow" }), notes, sizes), panel.element, announcer);
  root.classList.toggle("nbflow-dark", document.body.classList.contains("vscode-dark"));
  el.replaceChildren(root);

  /** Shows the whole graph, or its full size. @param {boolean} on */
  function setFit(on) {
    canvas.classList.toggle("nf-fit", on);
    canvas.classList.toggle("nf-full", !on);
    fit.setAttribute("aria-pressed", String(on));
    full.setAttribute("aria-pressed", String(!on));
  }

  /** @param {Scene} next */
  function draw(next) {
    scene = next;
    const focused = canvas.contains(document.activeElement) ? current() : null;
    drawn = new Map(scene.nodes.map((node) => [node.id, drawNode(node)]));
    if (!scene.nodes.length) {
      const message = scene.hidden ? `${scene.hidden} nodes are too many to draw. The list of states shows them.` : "This DAG has no tasks yet.";
      canvas.replaceChildren(html("p", { class: "nf-empty" }, message));
      return;
    }
    const fold = (/** @type {SceneFrame} */ frame) => () => request("fold", { group_id: frame.id });
    const picture = svg("svg", { width: scene.width, height: scene.height, viewBox: `0 0 ${scene.width} ${scene.height}`, role: "group" },
      ...scene.frames.map((f) => svg("g", { class: "nf-frame", "data-group-id": f.id },
        svg("rect", { x: f.x, y: f.y, width: f.w, height: f.h, rx: 8 }),
        svg("text", { class: "nf-note", x: f.x + 10, y: f.y + 17, role: "button", tabindex: "0", click: fold(f), keydown: onEnter(fold(f)) }, `▾ ${f.label}`, svg("title", {}, `Fold ${f.id}`)))),
      svg("g", { class: "nf-edges" }, ...scene.edges.flatMap((e) => [svg("path", { d: e.path }), svg("path", { d: e.head })])),
      ...scene.edges.flatMap(drawLabel),
      ...[...drawn.values()].map((d) => d.element));
    picture.style.minWidth = `${Math.round(scene.width * MIN_SCALE)}px`;
    picture.addEventListener("click", (event) => {
      const node = /** @type {Element} */ (event.target).closest?.("[data-task-id]");
      if (node) openPanel(/** @type {string} */ (node.getAttribute("data-task-id")));
    });
    picture.addEventListener("keydown", onKey);
    canvas.replaceChildren(picture);
    markOpen();
    const start = (focused && drawn.has(focused) ? focused : null) ?? scene.nodes[0].id;
    drawn.get(start)?.element.setAttribute("tabindex", "0");
    if (focused === start) drawn.get(start)?.element.focus();
  }

  /** @param {() => void} act */
  function onEnter(act) {
    return (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      act();
    };
  }

  /** Id of the node in the tab order. */
  function current() {
    return canvas.querySelector('.nf-node[tabindex="0"]')?.getAttribute("data-task-id") ?? null;
  }

  /** @param {string} id */
  function focusNode(id) {
    const target = drawn.get(id);
    if (!target) return;
    canvas.querySelector('.nf-node[tabindex="0"]')?.setAttribute("tabindex", "-1");
    target.element.setAttribute("tabindex", "0");
    target.element.focus({ preventScroll: true });
    target.element.scrollIntoView?.({ block: "nearest", inline: "nearest" });
  }

  /**
   * Left and right move along edges, to the nearest node in height; up and down move within the column.
   * @param {SceneNode} from @param {string} key
   */
  function neighbour(from, key) {
    const nodes = scene.nodes;
    const middle = (/** @type {SceneNode} */ n) => n.y + n.h / 2;
    const ids = new Set(scene.edges.flatMap((e) =>
      key === "ArrowRight" && e.source === from.id ? [e.target] : key === "ArrowLeft" && e.target === from.id ? [e.source] : []));
    const candidates = {
      ArrowRight: () => nodes.filter((n) => ids.has(n.id)),
      ArrowLeft: () => nodes.filter((n) => ids.has(n.id)),
      ArrowDown: () => nodes.filter((n) => Math.abs(n.x - from.x) < 1 && middle(n) > middle(from)),
      ArrowUp: () => nodes.filter((n) => Math.abs(n.x - from.x) < 1 && middle(n) < middle(from)),
    }[key];
    return candidates?.().sort((a, b) => Math.abs(middle(a) - middle(from)) - Math.abs(middle(b) - middle(from)))[0];
  }

  /** @param {Event} raw */
  function onKey(raw) {
    const event = /** @type {KeyboardEvent} */ (raw);
    const id = current();
    const from = id === null ? undefined : drawn.get(id)?.node;
    if (!from || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") openPanel(from.id);
    else if (event.key === "Home") focusNode(scene.nodes[0].id);
    else if (event.key === "End") focusNode(scene.nodes[scene.nodes.length - 1].id);
    else if (event.key.startsWith("Arrow")) {
      const next = neighbour(from, event.key);
      if (next) focusNode(next.id);
    } else return;
    event.preventDefault();
    event.stopPropagation(); // Jupyter's command mode handles the same keys
  }

  /** @param {string} name @param {object} args */
  async function request(name, args) {
    try {
      return await transport.request(name, args);
    } catch (error) {
      setText(announcer, error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }

  /** Marks the node whose panel is open. */
  function markOpen() {
    for (const d of drawn.values()) d.element.classList.toggle("nf-open", d.node.id === open);
  }

  /** @param {string} id */
  async function openPanel(id) {
    const target = drawn.get(id);
    open = id;
    const number = ++lastRequest;
    markOpen();
    panel.open(target?.node.title ?? id, target?.state.state || "none");
    try {
      const details = await transport.request("task", { task_id: id });
      if (number === lastRequest) panel.fill(details ?? {});
    } catch (error) {
      if (number === lastRequest) panel.fail(error instanceof Error ? error.message : String(error));
    }
  }

  function closePanel() {
    const last = open;
    open = null;
    lastRequest++;
    panel.close();
    markOpen();
    if (last !== null) focusNode(last);
  }

  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && panel.isOpen) {
      event.stopPropagation();
      closePanel();
    }
  });

  /** @param {ReturnType<typeof drawNode>} target */
  function updateNote(target) {
    const { state, note = "", due, since } = target.state;
    const now = Date.now() - clockSkew;
    let text = note;
    if (due !== undefined && due > now) text = `${note} in ${briefDuration(due - now)}`.trim();
    else if (state === "running" && since !== undefined) text = `${note} for ${durationText(now - since)}`.trim();
    setText(target.parts.note, text);
    setAttribute(target.parts.label, "y", String(target.node.y + (text ? 16 : 23)));
    const label = [target.node.title, state, text].filter(Boolean).join(", ");
    setText(target.parts.title, label);
    setAttribute(target.element, "aria-label", label);
  }

  /** @param {Record<string, NodeState>} states */
  function updateStates(states) {
    const changed = [];
    for (const [id, next] of Object.entries(states)) {
      const target = drawn.get(id);
      if (!target || target.state === next) continue;
      if (target.state.state !== next.state) {
        if (target.state.state) changed.push(`${target.node.title} ${next.state}`);
        target.element.setAttribute("data-state", next.state);
        target.element.setAttribute("data-drawn-state", drawnState(next.state));
        target.parts.glyph.setAttribute("d", GLYPHS[drawnState(next.state)]);
        if (id === open) panel.setState(next.state);
      }
      target.state = next;
      updateNote(target);
    }
    if (changed.length) setText(announcer, changed.slice(0, 5).join("; ") + (changed.length > 5 ? ` and ${changed.length - 5} more` : ""));
  }

  function nextRun() {
    if (header.paused) return "paused";
    if (header.next === undefined || header.next === null) return "";
    const ms = header.next - Date.now() + clockSkew;
    return ms > 0 ? `next in ${durationText(ms)}` : "next is due";
  }

  /** @param {Header} head */
  function updateHeader(head) {
    header = head;
    bar.replaceChildren(
      html("b", {}, head.title),
      head.schedule ? html("span", { class: "nf-tag" }, head.schedule) : "",
      head.run ? chip(head.run_state ?? "none", `${head.run} ${head.run_state ?? ""}`.trim()) : "",
      html("span", { class: "nf-grow" }),
      html("span", { class: "nf-muted nf-next", title: head.next_exact }, nextRun()));
    root.dataset.runState = head.run_state ?? "";
    canvas.firstElementChild?.setAttribute("aria-label", `Graph of ${head.title}${head.run ? `, ${head.run} ${head.run_state}` : ""}`);
  }

  /** Draws what differs from the model that is shown. @param {GraphModel} next */
  function update(next) {
    const redrawn = next.scene !== shown.scene;
    clockSkew = Date.now() - next.now;
    if (redrawn) draw(next.scene);
    if (redrawn || next.header !== shown.header) updateHeader(next.header);
    if (redrawn || next.states !== shown.states) updateStates(next.states);
    if (next.counts !== shown.counts) {
      legend.replaceChildren(...next.counts.map(({ id, count }) => chip(id, `${id} ${count}`, next.meanings[id])));
    }
    if (next.footer !== shown.footer) setText(notes, next.footer.join(" · "));
    shown = next;
  }

  const clock = setInterval(() => {
    const until = bar.querySelector(".nf-next");
    if (until) setText(until, nextRun());
    for (const target of drawn.values()) {
      if (target.state.due !== undefined || target.state.since !== undefined) updateNote(target);
    }
  }, 1000);

  update(model);
  root.dataset.ready = "1";
  return {
    update,
    destroy() {
      clearInterval(clock);
      root.remove();
    },
  };
}
