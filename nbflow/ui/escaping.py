"""Escaping: every text of a DAG passes through ``escape`` on its way into HTML or SVG."""

from __future__ import annotations

from html import escape as _escape


def escape(text: object) -> str:
    """Escape text as HTML or XML content or as an attribute value.

    Characters that XML does not allow, terminal escapes and bidirectional controls become U+FFFD.
    """
    return _escape("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in str(text)), quote=True)
