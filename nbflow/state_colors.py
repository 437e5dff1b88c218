"""Colours of states from ui/static/tokens.css, and their glyphs from ui/js/state_glyphs.js.

Browsers load the same two files, so that pictures and live views look the same. An SVG in an `<img>` cannot use the CSS
variables of its page, so static pictures contain the values.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_UI = Path(__file__).parent / "ui"
TOKENS_CSS = _UI / "static" / "tokens.css"
STATES_JS = _UI / "js" / "state_glyphs.js"

_DECLARATION = re.compile(r"--nf-([a-z_-]+):\s*(?:var\([^,()]+,\s*)?(#[0-9a-f]{6})\b")
_GLYPHS = re.compile(r"GLYPHS = (\{.*?\});", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateColors:
    """The colours of a state: `line` of borders and glyphs, `fill` of areas, `text` on the fill (contrast >= 5.7)."""

    line: str
    fill: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """One theme. All colours are `#rrggbb`."""

    page: str
    raised: str
    border: str
    text: str
    muted: str
    edge: str
    accent: str
    states: dict[str, StateColors]


def _palette(block: str) -> Palette:
    tokens = dict(_DECLARATION.findall(block))
    states = {s: StateColors(line=tokens[s], fill=tokens[f"{s}-bg"], text=tokens[f"{s}-fg"]) for s in glyphs()}
    return Palette(
        page=tokens["bg"], raised=tokens["raised"], border=tokens["border"], text=tokens["text"],
        muted=tokens["muted"], edge=tokens["edge"], accent=tokens["accent"], states=states,
    )  # fmt: skip


@cache
def glyphs() -> dict[str, str]:
    """Map states to their SVG paths in a 12 x 12 box, in the order of legends."""
    match = _GLYPHS.search(STATES_JS.read_text("utf-8"))
    if match is None:
        raise ValueError(f"{STATES_JS}: no GLYPHS table; the file must hold `GLYPHS = {{...}};` in strict JSON")
    table: dict[str, str] = json.loads(match[1])
    return table


@cache
def palettes() -> tuple[Palette, Palette]:
    """The light and the dark palette."""
    light, dark = TOKENS_CSS.read_text("utf-8").split("body[data-jp-theme-light", 1)
    return _palette(light), _palette(dark)


def drawn_state(state: str) -> str:
    """The state in whose colours and glyph a state is drawn: `none` for an unknown state."""
    return state if state in glyphs() else "none"
