"""``%quiz`` and ``%lab``: each line makes one call. Rows in :data:`nbflow.notebook.magics.MAGICS` lead here."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from nbflow.errors import NbflowError
from nbflow.notebook.error_display import told_in_one_line
from nbflow.notebook.handles import Shown
from nbflow.teach.lab import Lab, Result, open_lab
from nbflow.teach.lab_table import LABS
from nbflow.teach.questions import quiz_names
from nbflow.teach.quiz import Feedback, Sitting, open_quiz
from nbflow.ui.html import message_bundle
from nbflow.ui.mime_bundle import Bundle


@told_in_one_line
def quiz_line(line: str) -> Sitting | Feedback | Bundle | Shown:
    """A quiz, as a form; answers may be typed as well.

    %quiz                     which quizzes there are
    %quiz dag_concepts        the quiz
    %quiz dag_concepts 3      question 3 alone
    %quiz dag_concepts 3 b    answer question 3
    """
    words = shlex.split(line)
    if not words:
        return _listed("quiz", quiz_names())
    sitting = open_quiz(words[0])
    if len(words) == 1:
        return sitting
    number = _number(words[1])
    if len(words) == 2:
        return sitting.show(number)
    return sitting.answer(number, " ".join(words[2:]))


@told_in_one_line
def lab_line(line: str) -> Lab | Result | Shown:
    """A lab: its exercises, and the look at one of them.

    %lab                               which labs there are
    %lab 01_hello_dag                  its exercises, and how far one is
    %lab 01_hello_dag 1                check exercise 1
    %lab 01_hello_dag 5 "2024-01-01"   check exercise 5, which asks for an answer
    """
    words = shlex.split(line)
    if not words:
        return _listed("lab", LABS)
    lab = open_lab(words[0])
    return lab if len(words) == 1 else lab.check(_number(words[1]), *words[2:])


def _listed(magic: str, names: Iterable[str]) -> Shown:
    listed = list(names)
    return Shown(listed, message_bundle(f"There are: {', '.join(listed)}. Open one: %{magic} {listed[0]}"))


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise NbflowError(f"{text!r} is no number.", hint="Write: %quiz dag_concepts 3 b") from None
