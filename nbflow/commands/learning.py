"""Commands on labs and quizzes. :mod:`nbflow.teach`, which is a surface, implements them. It registers its
implementations when nbflow starts, so that the terminal and the notebook do not import it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nbflow.command_arguments import LAB, QUIZ, WHOLE, Values, argument
from nbflow.commands.base import Audit, Command, Result
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.commands.context import Context


@dataclass(frozen=True, slots=True)
class Provider:
    """The implementation of a command. ``names`` lists the valid first arguments."""

    run: Callable[[Context, Values], Result]
    names: Callable[[], Iterable[str]]


_providers: dict[str, Provider] = {}


def register(command: str, provider: Provider) -> None:
    """Set the implementation of a command. Called by the entry points, before any command runs."""
    _providers[command] = provider


def names_of(command: str) -> list[str]:
    """Names of the labs or quizzes, for completion; empty without a provider."""
    return list(_providers[command].names()) if command in _providers else []


def _run(command: str, context: Context, args: Values) -> Result:
    if command not in _providers:
        raise NbflowError(
            f"No implementation of {command!r} is registered.", hint="Start nbflow with: python -m nbflow"
        )
    return _providers[command].run(context, args)


COMMANDS = (
    Command(
        name="labs",
        magic="%lab",
        help="List labs and progress, show a lab, or check an exercise.",
        epilog="Exit code 0 if the exercise is passed.",
        permission="learning.edit",
        changes=True,
        audit=Audit.NOBODY,
        arguments=(
            argument("name", type=LAB, required=False, metavar="LAB", help="Name of the lab (default: all)."),
            argument("number", required=False, type=WHOLE, metavar="EXERCISE", help="Number of the exercise to check."),
            argument("answer", repeated=True, metavar="ANSWER", help="Answer that the exercise requires."),
        ),
        example="01_hello_dag 1",
        run=partial(_run, "labs"),
    ),
    Command(
        name="quiz",
        magic="%quiz",
        help="List quizzes and progress, show a quiz, or answer a question.",
        epilog="Exit code 0 if the answer is right.",
        permission="learning.edit",
        changes=True,
        audit=Audit.NOBODY,
        arguments=(
            argument("name", type=QUIZ, required=False, metavar="QUIZ", help="Name of the quiz (default: all)."),
            argument(
                "number", required=False, type=WHOLE, metavar="QUESTION", help="Number of the question to answer."
            ),
            argument("answer", repeated=True, metavar="ANSWER", help="Letters (b, or: a c) or text."),
        ),
        example="dag_concepts 3 b",
        run=partial(_run, "quiz"),
    ),
)
