"""Estimated width of texts, without a browser.

The table holds the advance widths of DejaVu Sans, measured in Chromium, in hundredths of the font size. DejaVu Sans is
the widest font in the pictures' font stack (Segoe UI, Helvetica and Roboto run 8-15 % narrower), so a text that fits by
this table fits with each of them.
"""

from __future__ import annotations

import unicodedata

# U+0020 .. U+007E
_ASCII = (
    32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34, 84,
    84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79, 60, 79, 69, 63, 61, 73, 68, 99, 69,
    61, 69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35, 63, 63, 28, 28, 58, 28, 97, 63, 61, 63, 63, 41, 52, 39, 63,
    59, 82, 59, 59, 52, 64, 34, 64, 84,
)  # fmt: skip
_ELLIPSIS = "…"
_OTHER = {_ELLIPSIS: 100, "·": 32, "–": 50, "→": 84, "▸": 77, "▾": 77, "ж": 90}


def _advance(char: str) -> int:
    code = ord(char)
    if 0x20 <= code <= 0x7E:
        return _ASCII[code - 0x20]
    if char in _OTHER:
        return _OTHER[char]
    if unicodedata.combining(char) or unicodedata.category(char) in ("Cf", "Mn", "Me"):
        return 0
    if unicodedata.east_asian_width(char) in "WF":
        return 105
    return 80 if char.isupper() else 68


def text_width(text: str, size: float = 12) -> float:
    """Width in pixels of one line of `text` in a font of `size` pixels."""
    return sum(map(_advance, text)) * size / 100


def fit(text: str, width: float, size: float = 12) -> str:
    """`text`, truncated to `width` pixels with an ellipsis in its middle.

    The middle is removed because task ids of a DAG tend to differ at their ends (`load_orders_de`, `load_orders_fr`).
    """
    text = " ".join(text.split())
    if text_width(text, size) <= width:
        return text
    room = width * 100 / size - _advance(_ELLIPSIS)
    head: list[str] = []
    tail: list[str] = []
    left, right = 0, len(text) - 1
    while left <= right:
        take_head = len(head) <= len(tail) * 2
        char = text[left] if take_head else text[right]
        room -= _advance(char)
        if room < 0:
            break
        if take_head:
            head.append(char)
            left += 1
        else:
            tail.append(char)
            right -= 1
    return "".join(head).rstrip() + _ELLIPSIS + "".join(reversed(tail)).lstrip()
