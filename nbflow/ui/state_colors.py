"""How a state looks: its colours from static/tokens.css, its glyph from js/states.js.

Browsers read those two files as they are; reading the same bytes here keeps one truth. A picture that is shown by
`<img>` sees no CSS variable of the page around it, so static pictures need the values themselves.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
TOKENS_CSS = HERE / "static" / "tokens.css"
STATES_JS = HERE / "js" / "states.js"

_DECLARATION = re.compile(r"--nf-([a-z_-]+):\s*(?:var\([^,()]+,\s*)?(#[0-9a-f]{6})\b")
_GLYPHS = re.compile(r"GLYPHS = (\{.*?\});", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tint:
    """One state's colours: `line` for borders and glyphs, `fill` behind it, `text` on the fill (contrast >= 5.7)."""

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
    states: dict[str, Tint]


def _palette(block: str) -> Palette:
    found = dict(_DECLARATION.findall(block))
    tints = {s: Tint(line=found[s], fill=found[f"{s}-bg"], text=found[f"{s}-fg"]) for s in glyphs()}
    return Palette(
        page=found["bg"], raised=found["raised"], border=found["border"], text=found["text"],
        muted=found["muted"], edge=found["edge"], accent=found["accent"], states=tints,
    )  # fmt: skip


@cache
def glyphs() -> dict[str, str]:
    """State -> SVG path in a 12 x 12 box, in the order in which legends show them."""
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


def known(state: str) -> str:
    """A state that this version does not know is drawn as `none`, and keeps its own word."""
    return state if state in glyphs() else "none"
