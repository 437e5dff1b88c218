"""The one way from data to markup: every text of a DAG passes here on its way into HTML and SVG."""

from __future__ import annotations

from html import escape as _escape


def escape(text: object) -> str:
    """Text as HTML or XML content or attribute.

    What XML cannot hold, and what would change how the rest is read (terminal escapes, marks that turn the direction of
    writing), becomes a replacement mark.
    """
    return _escape("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in str(text)), quote=True)
