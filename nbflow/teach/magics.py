"""``%quiz`` and ``%lab``: each line makes one call. Rows in :data:`nbflow.notebook.magics.MAGICS` lead here."""

from __future__ import annotations

from collections.abc import Iterable

from nbflow.arguments import NOTEBOOK, HelpRequested, Parser, Values, split_line
from nbflow.commands import magics
from nbflow.notebook.error_display import told_in_one_line
from nbflow.notebook.handles import Shown
from nbflow.teach.lab import Lab, Result, open_lab
from nbflow.teach.lab_table import LABS
from nbflow.teach.questions import quiz_names
from nbflow.teach.quiz import Feedback, Sitting, open_quiz
from nbflow.ui.html import message_bundle
from nbflow.ui.mime_bundle import Bundle


@told_in_one_line
def quiz_line(line: str) -> Sitting | Feedback | Bundle | Shown | None:
    """A quiz, as a form; answers may be typed as well.

    %quiz                     which quizzes there are
    %quiz dag_concepts        the quiz
    %quiz dag_concepts 3      question 3 alone
    %quiz dag_concepts 3 b    answer question 3
    """
    args = _parsed("%quiz", line)
    if args is None:
        return None
    if args.name is None:
        return _listed("quiz", quiz_names())
    sitting = open_quiz(args.name)
    if args.number is None:
        return sitting
    return sitting.answer(args.number, " ".join(args.answer)) if args.answer else sitting.show(args.number)


@told_in_one_line
def lab_line(line: str) -> Lab | Result | Shown | None:
    """A lab: its exercises, and the look at one of them.

    %lab                               which labs there are
    %lab 01_hello_dag                  its exercises, and how far one is
    %lab 01_hello_dag 1                check exercise 1
    %lab 01_hello_dag 5 "2024-01-01"   check exercise 5, which asks for an answer
    """
    args = _parsed("%lab", line)
    if args is None:
        return None
    if args.name is None:
        return _listed("lab", LABS)
    lab = open_lab(args.name)
    return lab if args.number is None else lab.check(args.number, *args.answer)


def _parsed(magic: str, line: str) -> Values | None:
    """The arguments of a line; None where help was asked for, which is printed."""
    one = magics(magic)[""]
    try:
        return Parser(magic, one.arguments, texts=NOTEBOOK, description=one.help).parse(
            split_line(magic, line, NOTEBOOK)
        )
    except HelpRequested as wanted:
        print(wanted)
        return None


def _listed(magic: str, names: Iterable[str]) -> Shown:
    listed = list(names)
    return Shown(listed, message_bundle(f"There are: {', '.join(listed)}. Open one: %{magic} {listed[0]}"))
