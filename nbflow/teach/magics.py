"""``%quiz`` and ``%lab``: each line makes one call. :data:`nbflow.notebook.magics.MAGICS` refers to these functions."""

from __future__ import annotations

from collections.abc import Iterable

from nbflow.arguments import NOTEBOOK, HelpRequested, Parser, Values, split_line
from nbflow.commands import magics
from nbflow.notebook.error_display import told_in_one_line
from nbflow.notebook.shown import Shown
from nbflow.teach.lab import Lab, Result, open_lab
from nbflow.teach.lab_table import LABS
from nbflow.teach.questions import quiz_names
from nbflow.teach.quiz import Feedback, QuizSession, open_quiz
from nbflow.ui.html import message_bundle
from nbflow.ui.mime_bundle import Bundle


@told_in_one_line
def quiz_line(line: str) -> QuizSession | Feedback | Bundle | Shown | None:
    """Take a quiz, in a form or by typing the answers.

    %quiz                     list the quizzes
    %quiz dag_concepts        open the quiz
    %quiz dag_concepts 3      show question 3
    %quiz dag_concepts 3 b    answer question 3
    """
    args = _parsed("%quiz", line)
    if args is None:
        return None
    if args.name is None:
        return _list("quiz", quiz_names())
    quiz = open_quiz(args.name)
    if args.number is None:
        return quiz
    return quiz.answer(args.number, " ".join(args.answer)) if args.answer else quiz.show(args.number)


@told_in_one_line
def lab_line(line: str) -> Lab | Result | Shown | None:
    """Show the exercises of a lab, or check one.

    %lab                               list the labs
    %lab 01_hello_dag                  show the exercises, and which are passed
    %lab 01_hello_dag 1                check exercise 1
    %lab 01_hello_dag 5 "2024-01-01"   check exercise 5, which needs an answer
    """
    args = _parsed("%lab", line)
    if args is None:
        return None
    if args.name is None:
        return _list("lab", LABS)
    lab = open_lab(args.name)
    return lab if args.number is None else lab.check(args.number, *args.answer)


def _parsed(magic: str, line: str) -> Values | None:
    """The arguments of a line; None if the line requests help, which is printed."""
    command = magics(magic)[""]
    parser = Parser(magic, command.arguments, texts=NOTEBOOK, description=command.help)
    try:
        return parser.parse(split_line(magic, line, NOTEBOOK))
    except HelpRequested as wanted:
        print(wanted)
        return None


def _list(magic: str, names: Iterable[str]) -> Shown:
    known = list(names)
    plural = {"quiz": "Quizzes", "lab": "Labs"}[magic]
    return Shown(known, message_bundle(f"{plural}: {', '.join(known)}. Open one with: %{magic} {known[0]}"))
