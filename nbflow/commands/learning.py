"""Labs and quizzes. What carries them out stands in :mod:`nbflow.teach`, which is a surface of its own."""

from __future__ import annotations

from nbflow.arguments import LAB, QUIZ, WHOLE, argument
from nbflow.commands.base import Command

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
    ),
)
