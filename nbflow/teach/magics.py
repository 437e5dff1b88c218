"""``%quiz`` and ``%lab``: each line makes one call. :data:`nbflow.notebook.magics.MAGICS` refers to these functions."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from nbflow.errors import NbflowError
from nbflow.notebook.error_display import told_in_one_line
from nbflow.notebook.handles import Shown
from nbflow.teach.lab import Lab, Result, open_lab
from nbflow.teach.lab_table import LABS
from nbflow.teach.questions import quiz_names
from nbflow.teach.quiz import Feedback, QuizSession, open_quiz
from nbflow.ui.html import message_bundle
from nbflow.ui.mime_bundle import Bundle


@told_in_one_line
def quiz_line(line: str) -> QuizSession | Feedback | Bundle | Shown:
    """Take a quiz, in a form or by typing the answers.

    %quiz                     list the quizzes
    %quiz dag_concepts        open the quiz
    %quiz dag_concepts 3      show question 3
    %quiz dag_concepts 3 b    answer question 3
    """
    words = shlex.split(line)
    if not words:
        return _list("quiz", quiz_names())
    quiz = open_quiz(words[0])
    if len(words) == 1:
        return quiz
    number = _number(words[1])
    if len(words) == 2:
        return quiz.show(number)
    return quiz.answer(number, " ".join(words[2:]))


@told_in_one_line
def lab_line(line: str) -> Lab | Result | Shown:
    """Show the exercises of a lab, or check one.

    %lab                               list the labs
    %lab 01_hello_dag                  show the exercises, and which are passed
    %lab 01_hello_dag 1                check exercise 1
    %lab 01_hello_dag 5 "2024-01-01"   check exercise 5, which needs an answer
    """
    words = shlex.split(line)
    if not words:
        return _list("lab", LABS)
    lab = open_lab(words[0])
    return lab if len(words) == 1 else lab.check(_number(words[1]), *words[2:])


def _list(magic: str, names: Iterable[str]) -> Shown:
    known = list(names)
    plural = {"quiz": "Quizzes", "lab": "Labs"}[magic]
    return Shown(known, message_bundle(f"{plural}: {', '.join(known)}. Open one with: %{magic} {known[0]}"))


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise NbflowError(f"{text!r} is not a number.", hint="Write for example: %quiz dag_concepts 3 b") from None
