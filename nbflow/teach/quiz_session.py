"""Answering a quiz. The form in :mod:`nbflow.teach.quiz_form` makes the same calls::

quiz = open_quiz("dag_concepts")
quiz                      # the form, or the questions as text
quiz.answer(3, "c e a d b")
quiz.score
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nbflow.clock import Clock, SystemClock
from nbflow.config import find_home
from nbflow.teach.display import card_bundle, chip, paragraph, prose
from nbflow.teach.progress import Item, Progress, answered_right
from nbflow.teach.quiz import INSTRUCTIONS, Question, Quiz, QuizError, load_quiz, normalize
from nbflow.teach.quiz_form import form_mime
from nbflow.ui.mime_bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """The evaluation of an answer. ``remarks``: what is wrong with the chosen options."""

    question: Question
    right: bool
    answer: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def bundle(self) -> Bundle:
        word = "right" if self.right else "wrong"
        lines = [*self.remarks, self.question.why if self.right else "Try again."]
        head = f"{chip(self.right, 'right', 'wrong')} {prose(lines[0])}"
        html = [paragraph(head), *(paragraph(prose(line)) for line in lines[1:])]
        text = "\n".join([f"Question {self.question.number}: {word}.", *lines])
        return card_bundle("quiz-answer", "", html, text)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        return self.bundle().mime()

    def __repr__(self) -> str:
        return self.bundle().text


def evaluate(question: Question, answer: Iterable[str]) -> Feedback:
    """Compare an answer with the right one. Raises QuizError for a letter that the question does not have."""
    chosen = tuple(answer)
    if question.type == "fill":
        return _fill(question, chosen)
    letters = ", ".join(option.letter for option in question.options)
    for letter in chosen:
        if question.option(letter) is None:
            raise QuizError(f"Question {question.number} has the answers {letters}, not {letter!r}.")
    return _order(question, chosen) if question.type == "order" else _choice(question, tuple(sorted(set(chosen))))


def _fill(question: Question, answer: tuple[str, ...]) -> Feedback:
    right = len(answer) == 1 and normalize(answer[0]) in question.answer
    return Feedback(question=question, right=right, answer=answer)


def _order(question: Question, answer: tuple[str, ...]) -> Feedback:
    right = answer == question.answer
    remarks = () if right else (_order_remark(question, answer),)
    return Feedback(question=question, right=right, answer=answer, remarks=remarks)


def _choice(question: Question, answer: tuple[str, ...]) -> Feedback:
    right = set(question.answer)
    wrong = [option for option in question.options if option.letter in answer and option.letter not in right]
    remarks = tuple(f"{option.letter}) {option.why}" for option in wrong if option.why)
    missing = len(right - set(answer))
    if answer and missing and not wrong:
        remarks = (f"Right so far, but {missing} more {'applies' if missing == 1 else 'apply'}.",)
    return Feedback(question=question, right=answer == question.answer, answer=answer, remarks=remarks)


def _order_remark(question: Question, answer: tuple[str, ...]) -> str:
    if len(answer) != len(question.answer):
        return f"Give all {len(question.answer)} letters, each once."
    right = next(i for i, (a, b) in enumerate(zip(answer, question.answer, strict=True)) if a != b)
    if right == 0:
        return "The first letter is wrong."
    return f"The first {'letter is' if right == 1 else f'{right} letters are'} right, the next one is wrong."


@dataclass(slots=True)
class QuizSession:
    """A learner's answers to a quiz. Progress is stored in NBFLOW_HOME."""

    quiz: Quiz
    progress: Progress
    clock: Clock = field(default_factory=SystemClock)

    def answer(self, number: int, answer: str | int | Iterable[str]) -> Feedback:
        """Answer question ``number``: ``"b"``, ``"a c"``, or the text of a fill-in. Raises QuizError."""
        question = self.quiz.question(number)
        feedback = evaluate(question, _parse(question, answer))
        self.progress.record_try("quiz", self.quiz.name, str(number), passed=feedback.right, now=self.clock.now())
        return feedback

    @property
    def items(self) -> dict[int, Item]:
        """Map question numbers to their tries and the time of the first right answer."""
        return {int(key): item for key, item in self.progress.items("quiz", self.quiz.name).items() if key.isdigit()}

    @property
    def score(self) -> str:
        """The score as text: ``3 of 10 right``."""
        right = sum(1 for item in self.items.values() if item.passed_at)
        return f"{right} of {len(self.quiz.questions)} right"

    def show(self, number: int) -> Bundle:
        """Question ``number`` alone. Raises QuizError."""
        question = self.quiz.question(number)
        return card_bundle(
            "quiz-question",
            f"Question {number} of {len(self.quiz.questions)}",
            [question_html(question, self.quiz.name)],
            question_text(question),
        )

    def bundle(self) -> Bundle:
        """All questions, each marked right, wrong or open."""
        items, parts, texts = self.items, [paragraph(prose(self.quiz.about))], [self.quiz.title, self.quiz.about]
        for question in self.quiz.questions:
            right = answered_right(items.get(question.number))
            parts.append(paragraph(f"<b>{question.number}.</b> {chip(right, 'right', 'wrong')}"))
            parts.append(question_html(question, self.quiz.name))
            mark = {True: " (right)", False: " (wrong so far)", None: ""}[right]
            texts.append(f"\n{question.number}.{mark} {question_text(question)}")
        foot = f"Answer with `%quiz {self.quiz.name} 1 b`. {self.score}."
        return card_bundle(
            "quiz", self.quiz.title, parts, "\n".join([*texts, "", foot]), aside=self.score, foot=prose(foot)
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, Any]:
        mime: dict[str, Any] = dict(self.bundle().mime())
        return {**mime, **form_mime(self)}

    def __repr__(self) -> str:
        return self.bundle().text


def _parse(question: Question, answer: str | int | Iterable[str]) -> list[str]:
    if isinstance(answer, str | int):
        text = str(answer)
        if question.type == "fill":
            return [text]
        words = re.split(r"[\s,;>]+", text.strip().lower())
        if len(words) == 1 and question.type != "single":  # "ceadb"
            words = list(words[0])
        return [word for word in words if word]
    return [str(letter).strip().lower() for letter in answer]


def question_html(question: Question, name: str) -> str:
    rows = (f"&nbsp;&nbsp;<b>{option.letter})</b> {prose(option.text)}" for option in question.options)
    how = f'<span class="nfo-muted" style="font-size:11.5px">({INSTRUCTIONS[question.type]})</span>'
    return paragraph(f"{prose(question.ask)} {how}") + "".join(map(paragraph, rows))


def question_text(question: Question) -> str:
    options = (f"   {option.letter}) {option.text}" for option in question.options)
    return "\n".join([f"{question.ask} ({INSTRUCTIONS[question.type]})", *options])


def open_quiz(name: str) -> QuizSession:
    """Open the quiz ``name``, with the progress of this NBFLOW_HOME. Raises QuizError with the nearest name."""
    return QuizSession(load_quiz(name), Progress(find_home(os.environ)))
