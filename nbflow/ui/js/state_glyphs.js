// The states of tasks and runs, each with a path in a 12 x 12 box, so that glyphs do not depend on fonts.
// The object below is strict JSON: nbflow/state_colors.py reads this file, so that pictures from Python and from the
// browser show the same glyphs. Legends show the states in this order: those that need action first.

import { html, svg } from "./dom.js";

/** @type {Record<string, string>} */
export const GLYPHS = {
  "failed": "M3 3l6 6M9 3l-6 6",
  "upstream_failed": "M6 1.5v5M3.8 4.5 6 6.8l2.2-2.3M2.5 10h7",
  "up_for_retry": "M9.5 5A4 4 0 1 0 10 7M10 2.5V5H7.5",
  "running": "M6 1.5a4.5 4.5 0 1 1-4.5 4.5",
  "restarting": "M9.8 4A4.3 4.3 0 1 0 10.3 7M10 1.8V4.2H7.6",
  "deferred": "M4.2 3v6M7.8 3v6",
  "up_for_reschedule": "M3 2h6L6 6l3 4H3l3-4z",
  "queued": "M3 4h6M3 6h6M3 8h6",
  "scheduled": "M6 2.5V6l2.5 1.5M6 1.2a4.8 4.8 0 1 0 .01 0",
  "success": "M2.5 6.5 5 9l4.5-6",
  "skipped": "M2.5 3 6 6 2.5 9M6.5 3 10 6 6.5 9",
  "none": "M6 2.2a3.8 3.8 0 1 0 .01 0",
  "removed": "M3 6h6"
};

/**
 * The state in whose colours and glyph a state is drawn: none for an unknown state.
 * @param {string} state
 */
export function drawnState(state) {
  return Object.hasOwn(GLYPHS, state) ? state : "none";
}

/** The state's path; CSS rotates `running`, except under prefers-reduced-motion. @param {string} state */
export function glyph(state) {
  return svg("path", { class: "nf-glyph", d: GLYPHS[drawnState(state)] });
}

/** Colour, glyph and label; the title shows on hover. @param {string} state @param {string} [label] @param {string} [title] */
export function chip(state, label = state, title = undefined) {
  const picture = svg("svg", { width: 12, height: 12, viewBox: "0 0 12 12", "aria-hidden": "true" }, glyph(state));
  return html("span", { class: "nf-chip", "data-drawn-state": drawnState(state), title }, picture, label);
}
