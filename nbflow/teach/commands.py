"""What ``labs`` and ``quiz`` do, in a terminal and in a notebook. Progress is the home's, so both show the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nbflow.arguments import UsageError, Values
from nbflow.commands.base import Result
from nbflow.commands.learning import Provider, register
from nbflow.commands.way_out import Surface
from nbflow.way_out import way

if TYPE_CHECKING:
    from nbflow.commands.context import Context
    from nbflow.teach.quiz import Sitting


def labs(context: Context, args: Values) -> Result:
    from nbflow.teach.lab import open_lab
    from nbflow.teach.lab_table import LABS
    from nbflow.teach.progress import Progress

    if args.name is None:
        progress = Progress(context.settings.home)
        rows = tuple(
            {
                "lab": name,
                "title": lab.title,
                "exercises": len(lab.exercises),
                "passed": sum(item.passed_at is not None for item in progress.items("lab", name).values()),
            }
            for name, lab in LABS.items()
        )
        return Result(text=_there_are(context, "labs", LABS), rows=rows, value=list(LABS))
    lab = open_lab(args.name, context.app, surface=context.surface)
    if args.number is None:
        return Result(text=f"{lab!r}\nIts notebook: {lab.notebook}", value=lab)
    result = lab.check(args.number, *args.answer)
    return Result(text=repr(result), value=result, ok=result.passed)


def quiz(context: Context, args: Values) -> Result:
    from nbflow.teach.progress import Progress
    from nbflow.teach.questions import load_quiz, quiz_names
    from nbflow.teach.quiz import Sitting

    progress = Progress(context.settings.home)
    if args.name is None:
        names = list(quiz_names())
        rows = tuple(_row(Sitting(load_quiz(name), progress)) for name in names)
        return Result(text=_there_are(context, "quiz", names), rows=rows, value=names)
    sitting = Sitting(load_quiz(args.name), progress)
    if args.number is None:
        return Result(text=_questions(sitting), value=sitting)
    if args.answer:
        feedback = sitting.answer(args.number, " ".join(args.answer))
        return Result(text=repr(feedback), value=feedback, ok=feedback.right)
    if context.surface is Surface.TERMINAL:  # a form needs a notebook
        answer = way("quiz", args.name, str(args.number), "ANSWER")
        raise UsageError("nbflow quiz: what is the answer?", hint=f"Say: {answer}")
    shown = sitting.show(args.number)
    return Result(text=shown.text, value=shown)


def _there_are(context: Context, command: str, names: Iterable[str]) -> str:
    listed = list(names)
    if not listed:
        return "There are none."
    return f"There are: {', '.join(listed)}. Open one: {context.spell(way(command, listed[0]))}"


def _row(sitting: Sitting) -> dict[str, object]:
    right = sum(item.passed_at is not None for item in sitting.items.values())
    name, title, questions = sitting.quiz.name, sitting.quiz.title, len(sitting.quiz.questions)
    return {"quiz": name, "title": title, "questions": questions, "right": right}


def _questions(sitting: Sitting) -> str:
    from nbflow.teach.quiz import answered, question_text

    words = {True: " (right)", False: " (wrong so far)", None: ""}
    parts = [f"{sitting.quiz.title}\n{sitting.quiz.about}"]
    for question in sitting.quiz.questions:
        state = words[answered(sitting.items.get(question.number))]
        parts.append(f"{question.number}.{state} {question_text(question)}")
    answer = way("quiz", sitting.quiz.name, "NUMBER", "ANSWER")
    return "\n\n".join([*parts, f"Answer with: {answer}. {sitting.score}."])


def _lab_names() -> Iterable[str]:
    from nbflow.teach.lab_table import LABS

    return LABS


def _quiz_names() -> Iterable[str]:
    from nbflow.teach.questions import quiz_names

    return quiz_names()


def provide() -> None:
    """Register what is here with the commands. Labs and quizzes themselves are loaded when somebody opens one."""
    register("labs", Provider(labs, _lab_names))
    register("quiz", Provider(quiz, _quiz_names))
