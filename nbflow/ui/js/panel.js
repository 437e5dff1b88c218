// The panel of one task, below the graph: why, log, attempts, and buttons for actions.

import { html, setText } from "./dom.js";
import { chip, drawnState } from "./state_glyphs.js";

/**
 * @typedef {{ label: string, name: string, args?: object, confirm?: string, refused?: string }} Action
 * `confirm` is shown after the first press, and the second press acts; `refused` is why the action is not possible now.
 * @typedef {{ headline?: string, grounds?: string[], suggestions?: string[] }} Why
 * @typedef {{ at?: string, level?: string, source?: string, message: string }} LogLine
 * @typedef {{ try: number, state: string, started?: string, duration?: string, cause?: string }} Attempt
 * @typedef {{ subtitle?: string, why?: Why, log?: LogLine[], dropped?: number, attempts?: Attempt[], actions?: Action[],
 *             members?: Array<{ id: string, state: string }> }} Details
 */

const LEVEL_CLASSES = { ERROR: "failed", CRITICAL: "failed", WARNING: "warn", WARN: "warn" };

/** @param {Details} details */
function whyTab(details) {
  const why = details.why ?? {};
  const box = html("div", { class: "nf-why" }, html("b", {}, why.headline ?? "This task has no state yet."));
  for (const reason of why.grounds ?? []) box.append(html("div", {}, reason));
  if (why.suggestions?.length) {
    const codes = why.suggestions.flatMap((command, i) => [i ? " or " : "", html("code", {}, command)]);
    box.append(html("div", {}, "Next step: ", ...codes));
  }
  return box;
}

/** @param {Details} details */
function logTab(details) {
  const pre = html("pre", { class: "nf-log", tabindex: "0", "aria-label": "Log" });
  if (details.dropped) pre.append(html("i", {}, `… ${details.dropped} earlier lines\n`));
  for (const line of details.log ?? []) {
    const name = LEVEL_CLASSES[/** @type {keyof LEVEL_CLASSES} */ ((line.level ?? "").toUpperCase())];
    const content = [line.level?.padEnd(7), line.source, line.message].filter(Boolean).join(" ");
    pre.append(line.at ? html("i", {}, `${line.at} `) : "", html("span", { class: name && `nf-${name}` }, `${content}\n`));
  }
  if (!details.log?.length) pre.append(html("i", {}, "The log is empty so far."));
  return pre;
}

/** @param {Details} details */
function attemptsTab(details) {
  const rows = (details.attempts ?? []).map((attempt) =>
    html("tr", {}, html("td", {}, String(attempt.try)), html("td", {}, chip(attempt.state)),
      html("td", {}, attempt.started ?? "–"), html("td", {}, attempt.duration ?? "–"), html("td", {}, attempt.cause ?? "")));
  if (!rows.length) return html("p", { class: "nf-empty" }, "There is no attempt yet.");
  const head = ["try", "state", "started", "duration", "cause"].map((name) => html("th", { scope: "col" }, name));
  return html("table", {}, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...rows));
}

/** @param {Details} details @param {(id: string) => void} onPick */
function membersTab(details, onPick) {
  const members = details.members ?? [];
  return html("div", { class: "nf-members" }, ...members.map((member) =>
    html("button", { type: "button", click: () => onPick(member.id) }, chip(member.state, member.id))));
}

/**
 * @param {{ onClose: () => void, onPick: (id: string) => void, request: (name: string, args: object) => Promise<any> }} hooks
 */
export function createPanel({ onClose, onPick, request }) {
  const name = html("b", {});
  const state = html("span", {});
  const subtitle = html("span", { class: "nf-muted" });
  const actions = html("span", { class: "nf-actions" });
  const close = html("button", { type: "button", class: "nf-close", "aria-label": "Close the panel", click: () => onClose() }, "Close");
  const tabs = html("div", { class: "nf-tabs", role: "tablist" });
  const body = html("div", { class: "nf-body", role: "tabpanel" });
  const status = html("span", { class: "nf-muted", role: "status" });
  const element = html("section", { class: "nf-panel", "data-nbflow-view": "task", hidden: "" },
    html("div", { class: "nf-bar" }, name, state, subtitle, html("span", { class: "nf-grow" }), status, actions, close), tabs, body);
  let shown = "Why";

  /** @param {Action} action */
  function actionButton(action) {
    const button = html("button", { type: "button", title: action.refused, disabled: action.refused ? "" : false }, action.label);
    let confirmed = !action.confirm;
    button.addEventListener("click", async () => {
      if (!confirmed) {
        confirmed = true;
        setText(status, action.confirm ?? "");
        setText(button, `Yes, ${action.label}`);
        return;
      }
      button.setAttribute("disabled", "");
      try {
        setText(status,  String((await request(action.name, action.args ?? {}))?.message ?? "Done."));
      } catch (error) {
        setText(status,  error instanceof Error ? error.message : String(error));
        button.removeAttribute("disabled");
      }
    });
    return button;
  }

  /** @param {Details} details */
  function fill(details) {
    setText(subtitle, details.subtitle ?? "");
    actions.replaceChildren(...(details.actions ?? []).map(actionButton));
    /** @type {Array<[string, () => HTMLElement]>} */
    const pages = details.members
      ? [["Tasks", () => membersTab(details, onPick)]]
      : [["Why", () => whyTab(details)], ["Log", () => logTab(details)], ["Attempts", () => attemptsTab(details)]];
    if (!pages.some(([title]) => title === shown)) shown = pages[0][0];
    const select = (/** @type {string} */ title, focus = false) => {
      shown = title;
      for (const tab of tabs.children) {
        const on = tab.textContent === title;
        tab.setAttribute("aria-selected", String(on));
        tab.setAttribute("tabindex", on ? "0" : "-1");
        if (on && focus) /** @type {HTMLElement} */ (tab).focus();
      }
      body.setAttribute("aria-label", title);
      body.replaceChildren(/** @type {[string, () => HTMLElement]} */ (pages.find(([t]) => t === title))[1]());
    };
    const move = (/** @type {KeyboardEvent} */ event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const at = pages.findIndex(([title]) => title === shown);
      select(pages[(at + step + pages.length) % pages.length][0], true);
    };
    tabs.replaceChildren(...pages.map(([title]) =>
      html("button", { type: "button", role: "tab", click: () => select(title), keydown: move }, title)));
    select(shown);
  }

  return {
    element,
    /** @param {string} title @param {string} current */
    open(title, current) {
      setText(name, title);
      setText(status,  "");
      setText(subtitle, "");
      actions.replaceChildren();
      tabs.replaceChildren();
      body.replaceChildren(html("p", { class: "nf-empty" }, "Loading …"));
      this.setState(current);
      element.removeAttribute("hidden");
      element.setAttribute("aria-label", `Task ${title}`);
    },
    /** @param {string} current */
    setState(current) {
      if (state.dataset.state === current) return;
      state.dataset.state = current;
      element.dataset.drawnState = drawnState(current);
      state.replaceChildren(chip(current));
    },
    fill,
    /** @param {string} message */
    fail(message) {
      body.replaceChildren(html("p", { class: "nf-empty" }, message));
    },
    close() {
      element.setAttribute("hidden", "");
    },
    get isOpen() {
      return !element.hasAttribute("hidden");
    },
  };
}
