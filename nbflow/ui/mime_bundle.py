"""The content of a cell's output: HTML, aligned text, and the SVG of a picture.

IPython displays a `Bundle` by `_repr_mimebundle_`, in every front end and also in an untrusted notebook. A live view
adds its widget to the output while it runs, and leaves the bundle alone in it when it ends (`live.LiveGraph`).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """`html` is self-contained; `text` has the same content without markup; `svg` is empty without a picture."""

    html: str
    text: str
    svg: str = ""

    def mime(self) -> dict[str, str]:
        """The MIME bundle. The SVG is part of the HTML, so that a saved notebook holds it once."""
        return {"text/html": self.html, "text/plain": self.text}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        kinds = self.mime()
        return {k: v for k, v in kinds.items() if (not include or k in include) and k not in (exclude or ())}

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__


def data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")
