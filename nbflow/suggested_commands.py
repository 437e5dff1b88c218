"""The commands that errors and wait reasons suggest, independent of a surface's syntax.

Errors and wait reasons are created in modules below the surfaces. Their texts contain the suggested commands as a
terminal spells them, and their ``suggestions`` list these commands, so that a notebook can substitute its magics
(:mod:`nbflow.commands.surface_syntax`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from nbflow.errors import did_you_mean


@dataclass(frozen=True, slots=True)
class SuggestedCommand:
    """A suggested command with its arguments. ``str()`` is its terminal form."""

    command: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(["nbflow", self.command, *map(_quoted, self.words)])


def suggest(command: str, *words: str) -> SuggestedCommand:
    """``suggest("dags unpause", "sales")``"""
    return SuggestedCommand(command, words)


def nearest(name: str, known: Iterable[str], *otherwise: SuggestedCommand) -> dict[str, Any]:
    """Keyword arguments of an error about an unknown name: the hint is the nearest of ``known``, otherwise the commands
    ``otherwise``."""
    hint = did_you_mean(name, known).strip()
    return {"hint": hint} if hint else {"hint": f"See: {', '.join(map(str, otherwise))}.", "suggestions": otherwise}


def respelled(text: str, suggestions: Iterable[SuggestedCommand], spell: Callable[[SuggestedCommand], str]) -> str:
    """The text with its commands in another syntax. In one pass, longer ones first: one may be a prefix of another."""
    by_text = {str(suggested): suggested for suggested in suggestions}
    if not by_text:
        return text
    pattern = "|".join(map(re.escape, sorted(by_text, key=len, reverse=True)))
    return re.sub(pattern, lambda match: spell(by_text[match[0]]), text)


def _quoted(word: str) -> str:
    return word if word.isupper() else shlex.quote(word)  # a placeholder such as NAME is not quoted


SEE_DAGS = (suggest("dags list"), suggest("dags list-import-errors"))
"""Where to look for a missing DAG."""
START_SCHEDULER = suggest("scheduler")
STOP_SCHEDULER = suggest("stop")
