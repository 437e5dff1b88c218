"""Feedback as cell output: HTML that is legible in an untrusted notebook, and the same content as text.

Right and wrong are shown by colour, glyph and word: right, wrong, done, missing, in the colours of success and failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from nbflow.ui.escaping import escape
from nbflow.ui.mime_bundle import Bundle
from nbflow.ui.tables import chip_html
from nbflow.ui.view_bundles import card

_CODE = re.compile(r"`([^`]+)`")


def prose(text: str) -> str:
    """Text with `code` in backticks, as HTML."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def chip(ok: bool | None, yes: str, no: str, open_: str = "open") -> str:
    """A chip that reads ``yes`` or ``no``, or ``open_`` for None (not tried yet)."""
    if ok is None:
        return chip_html("none", open_)
    return chip_html("success" if ok else "failed", yes if ok else no)


def paragraph(html: str) -> str:
    return f'<p style="margin:0px;padding:3px 12px">{html}</p>'


def card_bundle(view: str, title: str, parts: Iterable[str], text: str, *, aside: str = "", foot: str = "") -> Bundle:
    """A card of HTML paragraphs, with ``text`` as the plain-text form."""
    body = f'<div style="padding:5px 0px 7px 0px">{"".join(parts)}</div>'
    return Bundle(html=card(view, title, body, aside=aside, foot=foot), text=text)
