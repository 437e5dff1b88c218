"""A way out: a command that helps, named by what it does, not by how a surface spells it.

Errors and reasons are made far below the surfaces. Their texts hold the terminal's spelling, and they carry the ways in
it, so that a notebook shows its own words instead (:mod:`nbflow.commands.way_out`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from nbflow.errors import did_you_mean


@dataclass(frozen=True, slots=True)
class Way:
    """A command and the words behind it. ``str()`` is what one types in a terminal."""

    command: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(["nbflow", self.command, *map(_quoted, self.words)])


def way(command: str, *words: str) -> Way:
    """``way("dags unpause", "sales")``"""
    return Way(command, words)


def nearest(name: str, known: Iterable[str], *see: Way) -> dict[str, Any]:
    """The hint of an error about a name that is not there: the nearest of ``known``, else where to look. To be passed
    on as keywords."""
    hint = did_you_mean(name, known).strip()
    return {"hint": hint} if hint else {"hint": f"See: {', '.join(map(str, see))}.", "ways": see}


def respelled(text: str, ways: Iterable[Way], spell: Callable[[Way], str]) -> str:
    """The text with its ways spelled otherwise. In one pass, the longest first: one may begin like another."""
    by_text = {str(one): one for one in ways}
    if not by_text:
        return text
    pattern = "|".join(map(re.escape, sorted(by_text, key=len, reverse=True)))
    return re.sub(pattern, lambda match: spell(by_text[match[0]]), text)


def _quoted(word: str) -> str:
    return word if word.isupper() else shlex.quote(word)  # NAME stands for a name: it is shown bare


SEE_DAGS = (way("dags list"), way("dags list-import-errors"))
"""Where one looks for a DAG that is not there."""
START_SCHEDULER = way("scheduler")
STOP_SCHEDULER = way("stop")
