"""What a cell's output holds: HTML, aligned text, and for pictures the SVG they are made of.

`Bundle` is a value that IPython displays by `_repr_mimebundle_`, in every front end and also in an untrusted notebook.
Live views put their widget on top while they run (`widgets.show_live`) and leave the bundle behind when they end.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """`html` is whole by itself; `text` says the same without any markup; `svg` is empty where there is no picture."""

    html: str
    text: str
    svg: str = ""

    def mime(self) -> dict[str, str]:
        """The MIME bundle. The SVG is not repeated: it is in the HTML, and a saved notebook should hold it once."""
        return {"text/html": self.html, "text/plain": self.text}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        kinds = self.mime()
        return {k: v for k, v in kinds.items() if (not include or k in include) and k not in (exclude or ())}

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__


def data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")
