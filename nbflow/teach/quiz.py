"""Quizzes: frozen values, and the reader that builds them from a file and rejects an invalid one.

A quiz file is JSON::

    {"quiz": "dag_concepts", "title": "...", "about": "...", "questions": [
      {"type": "single", "ask": "...", "why": "...",
       "options": [{"text": "...", "right": true}, {"text": "...", "why": "why it is wrong"}]},
      {"type": "multiple", "ask": "...", "why": "...", "key": {"kind": "becomes", "source": "running", ...},
       "options": [{"text": "...", "is": "failed"}, ...]}]}

A question states its right answer in one place: ``"right": true`` of options, ``"accept": [...]`` of a fill-in
question, or ``key``, whose values the engine computes (:mod:`nbflow.teach.computed_answers`) and which are compared
with the ``"is"`` of each option. An option without a text whose ``"is"`` is a state shows the state's meaning. Texts
may hold `code` in backticks and no other markup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

from nbflow.core.states import STATE_MEANINGS, TaskState
from nbflow.errors import NbflowError, did_you_mean
from nbflow.teach.computed_answers import key_values
from nbflow.teach.content_folders import content_folder

#: type -> (minimum, maximum) number of right answers.
TYPES: Mapping[str, tuple[int, int]] = {"single": (1, 1), "multiple": (1, 26), "order": (2, 26), "fill": (1, 26)}
_QUIZ_FIELDS = frozenset({"quiz", "title", "about", "questions"})
_QUESTION_FIELDS = frozenset({"type", "ask", "why", "options", "key", "accept"})
_OPTION_FIELDS = frozenset({"text", "right", "is", "why"})


class QuizError(NbflowError):
    """A quiz file is invalid, or a quiz or question does not exist."""


#: type of question -> how to answer it.
INSTRUCTIONS: dict[str, str] = {
    "single": "choose one",
    "multiple": "choose all that apply",
    "order": "all letters, in order",
    "fill": "a word or number",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a question. ``why`` explains what is wrong with it."""

    letter: str
    text: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question. ``answer``: the right letters (in order, for ``order``), or the accepted texts of a fill-in."""

    number: int
    type: str
    ask: str
    why: str
    answer: tuple[str, ...]
    options: tuple[Option, ...] = ()

    def option(self, letter: str) -> Option | None:
        return next((option for option in self.options if option.letter == letter), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiz:
    """A quiz file."""

    name: str
    title: str
    about: str
    questions: tuple[Question, ...]

    def question(self, number: int) -> Question:
        """Question ``number``, counted from 1. Raises QuizError."""
        if not isinstance(number, int) or not 1 <= number <= len(self.questions):
            raise QuizError(f"{self.name} has questions 1 to {len(self.questions)}, not {number!r}.")
        return self.questions[number - 1]


# ---------------------------------------------------------------------------------------------------------------- files


def quiz_names() -> list[str]:
    """Names of the installed quizzes, sorted."""
    return sorted(path.stem for path in content_folder("quizzes").glob("*.json"))


def load_quiz(name: str) -> Quiz:
    """Load the quiz ``name``. Raises QuizError with the nearest name."""
    known = quiz_names()
    if name not in known:
        hint = did_you_mean(name, known).strip() or f"The quizzes are: {', '.join(known) or 'none'}."
        raise QuizError(f"There is no quiz {name!r}.", hint=hint)
    path = content_folder("quizzes") / f"{name}.json"
    return read_quiz(path.read_text("utf-8"), path.name)


# -------------------------------------------------------------------------------------------------------------- reading


def read_quiz(text: str, place: str = "quiz") -> Quiz:
    """Read a quiz file's text. Raises QuizError that names the question and the error."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise QuizError(f"{place}: this is not JSON: {error}.") from None
    _fields(raw, _QUIZ_FIELDS, {"quiz", "title", "questions"}, place)
    questions = raw["questions"]
    if not isinstance(questions, list) or not questions:
        raise QuizError(f"{place}: questions must be a list with at least one question.")
    return Quiz(
        name=_text(raw, "quiz", place),
        title=_text(raw, "title", place),
        about=raw.get("about", ""),
        questions=tuple(_question(question, number, place) for number, question in enumerate(questions, 1)),
    )


def _question(raw: Any, number: int, file: str) -> Question:
    place = f"{file}, question {number}"
    _fields(raw, _QUESTION_FIELDS, {"type", "ask", "why"}, place)
    kind = raw["type"]
    if kind not in TYPES:
        raise QuizError(f"{place}: unknown type {kind!r}.{did_you_mean(str(kind), TYPES)}")
    if kind == "fill":
        if "options" in raw:
            raise QuizError(f"{place}: a fill-in question has no options; give accept or key.")
        options: list[Any] = []
        answer = _accepted(raw, place)
    else:
        options = _options(raw, place)
        answer = _right(raw, kind, options, place)
    minimum, maximum = TYPES[kind]
    if not minimum <= len(answer) <= maximum:
        raise QuizError(f"{place}: {len(answer)} right answers; a {kind} question has {minimum} to {maximum}.")
    return Question(
        number=number,
        type=kind,
        ask=_text(raw, "ask", place),
        why=_text(raw, "why", place),
        answer=answer,
        options=tuple(
            Option(letter=letter, text=option["text"], why=option.get("why", ""))
            for letter, option in zip(ascii_lowercase, options, strict=False)
        ),
    )


def _options(raw: Mapping[str, Any], place: str) -> list[Any]:
    options = raw.get("options")
    if not isinstance(options, list) or not 2 <= len(options) <= len(ascii_lowercase):
        raise QuizError(f"{place}: options must be a list of 2 to {len(ascii_lowercase)}.")
    complete = [_with_meaning(option) for option in options]
    for letter, option in zip(ascii_lowercase, complete, strict=False):
        _fields(option, _OPTION_FIELDS, {"text"}, f"{place}, option {letter}")
        _text(option, "text", f"{place}, option {letter}")
    return complete


def _with_meaning(option: Any) -> Any:
    """The option; without a text, with the meaning of the state that it is."""
    if not isinstance(option, dict) or "text" in option or option.get("is") not in list(TaskState):
        return option
    return {**option, "text": f"`{option['is']}`: {STATE_MEANINGS[TaskState(option['is'])]}"}


def _right(raw: Mapping[str, Any], kind: str, options: Sequence[Mapping[str, Any]], place: str) -> tuple[str, ...]:
    """The letters of the right options."""
    by_key = "key" in raw
    if by_key and any("right" in option for option in options):
        raise QuizError(f"{place}: with a key, no option may have right.")
    if not by_key:
        if kind == "order":
            raise QuizError(f"{place}: an order question needs a key.")
        return tuple(letter for letter, option in zip(ascii_lowercase, options, strict=False) if option.get("right"))
    letters: dict[str, str] = {}
    for letter, option in zip(ascii_lowercase, options, strict=False):
        if not isinstance(option.get("is"), str) or option["is"] in letters:
            raise QuizError(f"{place}, option {letter}: with a key, each option needs an is, and no two the same.")
        letters[option["is"]] = letter
    values = _key(raw, place)
    if kind == "order":
        if set(values) != set(letters):
            raise QuizError(f"{place}: the options must be exactly the values of the key.")
        return tuple(letters[value] for value in values)
    return tuple(sorted(letters[value] for value in values if value in letters))


def _accepted(raw: Mapping[str, Any], place: str) -> tuple[str, ...]:
    if ("key" in raw) == ("accept" in raw):
        raise QuizError(f"{place}: a fill-in question needs either accept or key.")
    accepted = _key(raw, place) if "key" in raw else raw["accept"]
    if not accepted or not all(isinstance(text, str) and text.strip() for text in accepted):
        raise QuizError(f"{place}: accept must be a list of texts.")
    return tuple(normalize(text) for text in accepted)


def _key(raw: Mapping[str, Any], place: str) -> tuple[str, ...]:
    if not isinstance(raw["key"], dict):
        raise QuizError(f"{place}: key must be an object.")
    try:
        return key_values(raw["key"])
    except ValueError as error:
        raise QuizError(f"{place}: {error}.") from None


def normalize(text: str) -> str:
    """A typed answer as compared: without surrounding spaces and backticks, in lower case."""
    return text.strip().strip("`").strip().casefold()


def _fields(raw: Any, known: frozenset[str], needed: set[str], place: str) -> None:
    if not isinstance(raw, dict):
        raise QuizError(f"{place}: this must be an object, not {type(raw).__name__}.")
    for name in raw:
        if name not in known:
            raise QuizError(f"{place}: unknown field {name!r}.{did_you_mean(name, known)}")
    if missing := sorted(needed - raw.keys()):
        raise QuizError(f"{place}: {', '.join(missing)} is missing.")


def _text(raw: Mapping[str, Any], name: str, place: str) -> str:
    value = raw[name]
    if not isinstance(value, str) or not value.strip():
        raise QuizError(f"{place}: {name} must be a text.")
    return value
