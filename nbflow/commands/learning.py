"""Commands on labs and quizzes. Surfaces implement them with :mod:`nbflow.teach`."""

from __future__ import annotations

from nbflow.arguments import LAB, QUIZ, WHOLE, argument
from nbflow.commands.base import Command

COMMANDS = (
    Command(
        name="labs",
        magic="%lab",
        help="List labs and progress, show a lab, or check an exercise.",
        epilog="Exit code 0 if the exercise is passed.",
        permission="learning.edit",
        changes=True,
        arguments=(
            argument("name", type=LAB, required=False, metavar="LAB", help="Name of the lab (default: all)."),
            argument("number", required=False, type=WHOLE, metavar="EXERCISE", help="Number of the exercise to check."),
            argument("answer", repeated=True, metavar="ANSWER", help="Answer that the exercise requires."),
        ),
        example="01_hello_dag 1",
    ),
    Command(
        name="quiz",
        magic="%quiz",
        help="List quizzes and progress, show a quiz, or answer a question.",
        epilog="Exit code 0 if the answer is right.",
        permission="learning.edit",
        changes=True,
        arguments=(
            argument("name", type=QUIZ, required=False, metavar="QUIZ", help="Name of the quiz (default: all)."),
            argument(
                "number", required=False, type=WHOLE, metavar="QUESTION", help="Number of the question to answer."
            ),
            argument("answer", repeated=True, metavar="ANSWER", help="Letters (b, or: a c) or text."),
        ),
        example="dag_concepts 3 b",
    ),
)
