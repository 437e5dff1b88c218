"""labs, quiz: the terminal forms of ``%lab`` and ``%quiz``, with the same progress in the home."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.cli import output
from nbflow.cli.declaring import OUTPUT, terminal_command
from nbflow.cli.invocation import Call, UsageError
from nbflow.commands.way_out import Surface
from nbflow.way_out import way

if TYPE_CHECKING:
    from nbflow.teach.quiz import QuizSession


def labs(call: Call) -> int:
    from nbflow.teach.lab import open_lab
    from nbflow.teach.lab_table import LABS
    from nbflow.teach.progress import Progress

    args = call.args
    if args.name is None:
        progress = Progress(call.settings.home)
        rows = [
            {
                "lab": name,
                "title": lab.title,
                "exercises": len(lab.exercises),
                "passed": sum(item.passed_at is not None for item in progress.items("lab", name).values()),
            }
            for name, lab in LABS.items()
        ]
        call.show(rows, columns=("lab", "title", "exercises", "passed"))
        return 0
    lab = open_lab(args.name, call.app, surface=Surface.TERMINAL)
    if args.number is None:
        print(output.harmless(repr(lab)))
        print(f"Notebook: {lab.notebook}")
        return 0
    result = lab.check(args.number, *args.answer)
    print(output.harmless(repr(result)))
    return 0 if result.passed else 1


def quiz(call: Call) -> int:
    from nbflow.teach.progress import Progress
    from nbflow.teach.questions import load_quiz, quiz_names
    from nbflow.teach.quiz import QuizSession

    args, progress = call.args, Progress(call.settings.home)
    if args.name is None:
        sessions = [QuizSession(load_quiz(name), progress) for name in quiz_names()]
        call.show([_row(session) for session in sessions], empty="No quizzes.", columns=QUIZ_COLUMNS)
        return 0
    session = QuizSession(load_quiz(args.name), progress)
    if args.number is None:
        _print_questions(session)
        return 0
    if not args.answer:
        raise UsageError(
            "nbflow quiz: no answer.", hint=f"Answer with: {way('quiz', args.name, str(args.number), 'ANSWER')}"
        )
    feedback = session.answer(args.number, " ".join(args.answer))
    print(output.harmless(repr(feedback)))
    return 0 if feedback.right else 1


QUIZ_COLUMNS = ("quiz", "title", "questions", "right")


def _row(session: QuizSession) -> dict[str, object]:
    right = sum(item.passed_at is not None for item in session.items.values())
    name, title, questions = session.quiz.name, session.quiz.title, len(session.quiz.questions)
    return {"quiz": name, "title": title, "questions": questions, "right": right}


def _print_questions(session: QuizSession) -> None:
    from nbflow.teach.quiz import answered_right, question_text

    labels = {True: " (right)", False: " (wrong so far)", None: ""}
    print(f"{session.quiz.title}\n{session.quiz.about}")
    for question in session.quiz.questions:
        label = labels[answered_right(session.items.get(question.number))]
        print(f"\n{question.number}.{label} {question_text(question)}")
    print(f"\nAnswer with: {way('quiz', session.quiz.name, 'NUMBER', 'ANSWER')}. {session.score}.")


COMMANDS = (terminal_command("labs", OUTPUT, run=labs), terminal_command("quiz", OUTPUT, run=quiz))
