"""A sitting: one learner, one quiz. Plain calls; the form in :mod:`nbflow.teach.quiz_form` makes the same ones.

::

    quiz = open_quiz("dag_concepts")
    quiz                      # the form, or the questions as text
    quiz.answer(3, "c e a d b")
    quiz.score
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nbflow.clock import Clock, SystemClock
from nbflow.teach.display import card_bundle, chip, paragraph, prose
from nbflow.teach.progress import Item, Progress
from nbflow.teach.questions import Question, Quiz, QuizError, normal
from nbflow.ui.mime_bundle import Bundle

HOW: dict[str, str] = {
    "single": "choose one",
    "multiple": "choose all that fit",
    "order": "all letters, in order",
    "fill": "a word or number",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What an answer came to. ``remarks``: what is wrong with the options that were chosen."""

    question: Question
    right: bool
    given: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def bundle(self) -> Bundle:
        word = "right" if self.right else "wrong"
        lines = [*self.remarks, self.question.why if self.right else "Try again."]
        first = f"{chip(self.right, 'right', 'wrong')} {prose(lines[0])}"
        html = [paragraph(first), *(paragraph(prose(line)) for line in lines[1:])]
        text = "\n".join([f"Question {self.question.number}: {word}.", *lines])
        return card_bundle("quiz-answer", "", html, text)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        return self.bundle().mime()

    def __repr__(self) -> str:
        return self.bundle().text


def judge(question: Question, given: Iterable[str]) -> Feedback:
    """Compare an answer with the key. Raises QuizError for a letter that the question does not have."""
    chosen = tuple(given)
    if question.type == "fill":
        return _fill(question, chosen)
    letters = ", ".join(one.letter for one in question.options)
    for letter in chosen:
        if question.option(letter) is None:
            raise QuizError(f"Question {question.number} has the answers {letters}, not {letter!r}.")
    return _order(question, chosen) if question.type == "order" else _choice(question, tuple(sorted(set(chosen))))


def _fill(question: Question, given: tuple[str, ...]) -> Feedback:
    right = len(given) == 1 and normal(given[0]) in question.answer
    return Feedback(question=question, right=right, given=given)


def _order(question: Question, given: tuple[str, ...]) -> Feedback:
    right = given == question.answer
    remarks = () if right else (_order_remark(question, given),)
    return Feedback(question=question, right=right, given=given, remarks=remarks)


def _choice(question: Question, given: tuple[str, ...]) -> Feedback:
    right = set(question.answer)
    wrong = [one for one in question.options if one.letter in given and one.letter not in right]
    remarks = tuple(f"{one.letter}) {one.why}" for one in wrong if one.why)
    missing = len(right - set(given))
    if given and missing and not wrong:
        remarks = (f"So far all right, but {missing} more {'fits' if missing == 1 else 'fit'}.",)
    return Feedback(question=question, right=given == question.answer, given=given, remarks=remarks)


def _order_remark(question: Question, given: tuple[str, ...]) -> str:
    if len(given) != len(question.answer):
        return f"Name all {len(question.answer)} letters, each once."
    same = next(i for i, (a, b) in enumerate(zip(given, question.answer, strict=True)) if a != b)
    return "The first one is not that." if same == 0 else f"Right up to place {same}, and then not."


@dataclass(slots=True)
class Sitting:
    """A quiz being answered. Progress is kept in NBFLOW_HOME."""

    quiz: Quiz
    progress: Progress
    clock: Clock = field(default_factory=SystemClock)

    def answer(self, number: int, given: str | int | Iterable[str]) -> Feedback:
        """Answer question ``number``: ``"b"``, ``"a c"``, or the text of a fill-in. Raises QuizError."""
        question = self.quiz.question(number)
        feedback = judge(question, _read(question, given))
        self.progress.note("quiz", self.quiz.name, str(number), passed=feedback.right, now=self.clock.now())
        return feedback

    @property
    def items(self) -> dict[int, Item]:
        """Question number -> tries and when it was first answered right."""
        return {int(key): item for key, item in self.progress.items("quiz", self.quiz.name).items() if key.isdigit()}

    @property
    def score(self) -> str:
        """``3 of 10 right``"""
        right = sum(1 for item in self.items.values() if item.passed_at)
        return f"{right} of {len(self.quiz.questions)} right"

    def show(self, number: int) -> Bundle:
        """One question."""
        question = self.quiz.question(number)
        return card_bundle(
            "quiz-question",
            f"Question {number} of {len(self.quiz.questions)}",
            [question_html(question, self.quiz.name)],
            question_text(question),
        )

    def bundle(self) -> Bundle:
        """All questions, with what has been answered."""
        items, parts, texts = self.items, [paragraph(prose(self.quiz.about))], [self.quiz.title, self.quiz.about]
        for question in self.quiz.questions:
            state = answered(items.get(question.number))
            parts.append(paragraph(f"<b>{question.number}.</b> {chip(state, 'right', 'wrong')}"))
            parts.append(question_html(question, self.quiz.name))
            word = {True: " (right)", False: " (wrong so far)", None: ""}[state]
            texts.append(f"\n{question.number}.{word} {question_text(question)}")
        how = f"Answer with `%quiz {self.quiz.name} 1 b`. {self.score}."
        return card_bundle(
            "quiz", self.quiz.title, parts, "\n".join([*texts, "", how]), aside=self.score, foot=prose(how)
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, Any]:
        mime: dict[str, Any] = dict(self.bundle().mime())
        from nbflow.teach.quiz_form import form_mime

        return {**mime, **form_mime(self)}

    def __repr__(self) -> str:
        return self.bundle().text


def answered(item: Item | None) -> bool | None:
    """True: right once; False: tried; None: not tried."""
    return None if item is None else item.passed_at is not None


def _read(question: Question, given: str | int | Iterable[str]) -> list[str]:
    if isinstance(given, str | int):
        text = str(given)
        if question.type == "fill":
            return [text]
        words = re.split(r"[\s,;>]+", text.strip().lower())
        if len(words) == 1 and question.type != "single":  # "ceadb"
            words = list(words[0])
        return [word for word in words if word]
    return [str(one).strip().lower() for one in given]


def question_html(question: Question, name: str) -> str:
    rows = "".join(paragraph(f"&nbsp;&nbsp;<b>{one.letter})</b> {prose(one.text)}") for one in question.options)
    how = f'<span class="nfo-muted" style="font-size:11.5px">({HOW[question.type]})</span>'
    return paragraph(f"{prose(question.ask)} {how}") + rows


def question_text(question: Question) -> str:
    return "\n".join(
        [f"{question.ask} ({HOW[question.type]})", *(f"   {one.letter}) {one.text}" for one in question.options)]
    )


def open_quiz(name: str) -> Sitting:
    """Sit a quiz of this home. Raises QuizError with the nearest name."""
    import os

    from nbflow.config import find_home
    from nbflow.teach.questions import load_quiz

    return Sitting(load_quiz(name), Progress(find_home(os.environ)))
