"""The commands ``labs`` and ``quiz``, for terminal and notebook. Progress is stored in the home, so both show it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nbflow.command_arguments import UsageError, Values
from nbflow.commands.base import Result
from nbflow.commands.learning import Provider, register
from nbflow.commands.surface_syntax import Surface
from nbflow.suggested_commands import suggest

if TYPE_CHECKING:
    from nbflow.commands.context import Context
    from nbflow.teach.quiz_session import QuizSession


def labs(context: Context, args: Values) -> Result:
    from nbflow.teach.lab import open_lab
    from nbflow.teach.lab_registry import LABS
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
        return Result(text=_list(context, "labs", LABS), rows=rows, value=list(LABS))
    lab = open_lab(args.name, context.app, surface=context.surface)
    if args.number is None:
        return Result(text=f"{lab!r}\nIts notebook: {lab.notebook}", value=lab)
    result = lab.check(args.number, *args.answer)
    return Result(text=repr(result), value=result, ok=result.passed)


def quiz(context: Context, args: Values) -> Result:
    from nbflow.teach.progress import Progress
    from nbflow.teach.quiz import load_quiz, quiz_names
    from nbflow.teach.quiz_session import QuizSession

    progress = Progress(context.settings.home)
    if args.name is None:
        names = list(quiz_names())
        rows = tuple(_row(QuizSession(load_quiz(name), progress)) for name in names)
        return Result(text=_list(context, "quiz", names), rows=rows, value=names)
    session = QuizSession(load_quiz(args.name), progress)
    if args.number is None:
        return Result(text=_questions(context, session), value=session)
    if args.answer:
        feedback = session.answer(args.number, " ".join(args.answer))
        return Result(text=repr(feedback), value=feedback, ok=feedback.right)
    if context.surface is Surface.TERMINAL:  # a form needs a notebook
        answer = suggest("quiz", args.name, str(args.number), "ANSWER")
        raise UsageError("nbflow quiz: no answer.", hint=f"Answer with: {answer}", suggestions=(answer,))
    shown = session.show(args.number)
    return Result(text=shown.text, value=shown)


def _list(context: Context, command: str, names: Iterable[str]) -> str:
    known = list(names)
    title = {"quiz": "Quizzes", "labs": "Labs"}[command]
    if not known:
        return f"{title}: none."
    return f"{title}: {', '.join(known)}. Open one with: {context.spell(suggest(command, known[0]))}"


def _row(session: QuizSession) -> dict[str, object]:
    right = sum(item.passed_at is not None for item in session.items.values())
    name, title, questions = session.quiz.name, session.quiz.title, len(session.quiz.questions)
    return {"quiz": name, "title": title, "questions": questions, "right": right}


def _questions(context: Context, session: QuizSession) -> str:
    from nbflow.teach.quiz_session import answered_right, question_text

    words = {True: " (right)", False: " (wrong so far)", None: ""}
    parts = [f"{session.quiz.title}\n{session.quiz.about}"]
    for question in session.quiz.questions:
        state = words[answered_right(session.items.get(question.number))]
        parts.append(f"{question.number}.{state} {question_text(question)}")
    answer = context.spell(suggest("quiz", session.quiz.name, "NUMBER", "ANSWER"))
    return "\n\n".join([*parts, f"Answer with: {answer}. {session.score}."])


def _lab_names() -> Iterable[str]:
    from nbflow.teach.lab_registry import LABS

    return LABS


def _quiz_names() -> Iterable[str]:
    from nbflow.teach.quiz import quiz_names

    return quiz_names()


def provide() -> None:
    """Register these implementations. The labs and quizzes are imported when one is opened."""
    register("labs", Provider(labs, _lab_names))
    register("quiz", Provider(quiz, _quiz_names))
