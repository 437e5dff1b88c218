"""The modules of js/ bundled into one module, since a widget has exactly one. There is no build step.

The bundler relies on three conventions: each import and export is one line, imports are relative, and top-level names
are unique over all modules (a clash raises here instead of in the browser). Every widget *instance* sends the bundle
and is saved with it in the notebook, hence the limit on its size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
MAX_BYTES = 60_000
GRAPH_MODULES = (
    "dom.js",
    "state_glyphs.js",
    "panel.js",
    "graph.js",
    "patches.js",
    "widget.js",
)  # each after the modules that it imports

_IMPORT = re.compile(r"^import \{[^}\n]*\} from \"\./[a-z_]+\.js\";$", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function |const |let |class )", re.MULTILINE)
_TOP_NAME = re.compile(r"^(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
_COMMENT_LINE = re.compile(r"^\s*//.*\n", re.MULTILINE)
_DOC_COMMENT = re.compile(r"^[ \t]*/\*\*.*?\*/\s*?\n", re.MULTILINE | re.DOTALL)


def bundle_modules(modules: Sequence[str]) -> str:
    """The modules as one, without comments. Raises ValueError if a convention is broken or the bundle is too large."""
    parts, owner = [], dict[str, str]()
    for name in modules:
        text = (FOLDER / "js" / name).read_text("utf-8")
        text = _EXPORT.sub("", _IMPORT.sub("", text))
        if stray := re.search(r"^(?:import\b|export (?!default ).*)", text, re.MULTILINE):
            raise ValueError(f"js/{name}: `{stray[0]}` is not a one-line import or export")
        for top in _TOP_NAME.findall(text):
            if top in owner:
                raise ValueError(f"js/{name}: `{top}` is also a name of js/{owner[top]}; names must be unique")
            owner[top] = name
        parts.append(_COMMENT_LINE.sub("", _DOC_COMMENT.sub("", text)).strip())
    bundle = "\n".join(parts) + "\n"
    if len(bundle.encode()) > MAX_BYTES:
        raise ValueError(f"the bundle has {len(bundle.encode()):,} bytes, more than {MAX_BYTES:,}")
    return bundle


@cache
def graph_esm() -> str:
    """The live graph as an anywidget module."""
    return bundle_modules(GRAPH_MODULES)


@cache
def css() -> str:
    """The design tokens and the rules of the live views."""
    return "".join((FOLDER / "static" / name).read_text("utf-8") for name in ("tokens.css", "widget.css"))
