"""Labs and quizzes. :mod:`nbflow.teach`, a surface of its own, carries them out: it registers itself here when nbflow
starts, so that terminal and notebooks need not know it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nbflow.arguments import LAB, QUIZ, WHOLE, Values, argument
from nbflow.commands.base import Command, Result
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.commands.context import Context


@dataclass(frozen=True, slots=True)
class Provider:
    """Who carries out one of these commands. ``names``: what its first argument can be."""

    run: Callable[[Context, Values], Result]
    names: Callable[[], Iterable[str]]


_providers: dict[str, Provider] = {}


def register(command: str, provider: Provider) -> None:
    """Called once per process, before anything is carried out."""
    _providers[command] = provider


def names_of(command: str) -> list[str]:
    """The labs or quizzes there are; none without a provider."""
    return list(_providers[command].names()) if command in _providers else []


def _run(command: str, context: Context, args: Values) -> Result:
    if command not in _providers:
        raise NbflowError(f"Nothing carries out {command!r} here.", hint="Start nbflow with: python -m nbflow")
    return _providers[command].run(context, args)


COMMANDS = (
    Command(
        name="labs",
        magic="%lab",
        help="The labs and how far one is; one lab; or the check of one of its exercises.",
        more="Exit code 0 if the exercise is passed.",
        permission="learning.edit",
        changes=True,
        arguments=(
            argument("name", type=LAB, required=False, metavar="LAB", help="Which one (default: all)."),
            argument("number", required=False, type=WHOLE, metavar="EXERCISE", help="Check this exercise."),
            argument("answer", repeated=True, metavar="ANSWER", help="What an exercise asks for."),
        ),
        example="01_hello_dag 1",
        run=partial(_run, "labs"),
    ),
    Command(
        name="quiz",
        magic="%quiz",
        help="The quizzes and how far one is; one quiz; or an answer to one of its questions.",
        more="Exit code 0 if the answer is right.",
        permission="learning.edit",
        changes=True,
        arguments=(
            argument("name", type=QUIZ, required=False, metavar="QUIZ", help="Which one (default: all)."),
            argument("number", required=False, type=WHOLE, metavar="QUESTION", help="Answer this question."),
            argument("answer", repeated=True, metavar="ANSWER", help="Letters (b, or a c), or a text."),
        ),
        example="dag_concepts 3 b",
        run=partial(_run, "quiz"),
    ),
)
