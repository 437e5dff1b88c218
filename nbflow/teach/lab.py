"""A lab in a notebook::

    lab = open_lab("01_hello_dag")
    lab               # the exercises, and which are passed
    lab.check(1)
    lab.check(5, "2024-01-02 06:00")

A failed check is returned, not raised: a check cell of an unsolved exercise is not an error.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nbflow.app import App
from nbflow.commands.surface_syntax import Surface
from nbflow.errors import NbflowError, did_you_mean
from nbflow.teach.checks import CheckContext, Finding
from nbflow.teach.content_folders import content_folder
from nbflow.teach.display import card_bundle, chip, paragraph, prose
from nbflow.teach.lab_registry import LABS, Exercise, LabSpec
from nbflow.teach.progress import Progress
from nbflow.ui.mime_bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The findings of one exercise. Only the last one can be a failed check."""

    number: int
    exercise: Exercise
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return all(finding.ok for finding in self.findings)

    def bundle(self) -> Bundle:
        parts, lines = [], []
        for finding in self.findings:
            if finding.ok:
                parts.append(paragraph(f"{chip(True, 'done', '')} {prose(finding.expected)}"))
                lines.append(f"  done     {finding.expected}")
                continue
            parts.append(paragraph(f"{chip(False, '', 'missing')} {prose(finding.expected)}"))
            lines.append(f"  missing  {finding.expected}")
            for word, text in (("Found", finding.found), ("Hint", finding.hint)):
                if text:
                    parts.append(paragraph(f"&nbsp;&nbsp;&nbsp;<b>{word}:</b> {prose(text)}"))
                    lines.append(f"           {word}: {text}")
        title = f"Exercise {self.number}: {self.exercise.title}"
        word = "passed" if self.passed else "not yet"
        return card_bundle("lab", title, parts, "\n".join([f"{title}: {word}", *lines]), aside=word)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        return self.bundle().mime()

    def __repr__(self) -> str:
        return self.bundle().text


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A lab of one home."""

    name: str
    spec: LabSpec
    app: App
    surface: Surface = Surface.NOTEBOOK
    """The surface whose spelling of commands the hints use."""

    @property
    def notebook(self) -> Path:
        """Path of the lab's notebook as installed. Copy it and work in the copy."""
        return content_folder("labs") / f"{self.name}.ipynb"

    @property
    def progress(self) -> Progress:
        return Progress(self.app.settings.home)

    def check(self, number: int, *answers: Any) -> Result:
        """Check exercise ``number`` (from 1). ``answers``: the learner's answers, for an exercise that needs one.

        Raises NbflowError for a number that the lab does not have.
        """
        exercises = self.spec.exercises
        if not isinstance(number, int) or not 1 <= number <= len(exercises):
            raise NbflowError(f"Lab {self.name} has the exercises 1 to {len(exercises)}, not {number!r}.")
        context = CheckContext(app=self.app, answers=answers, surface=self.surface)
        findings: list[Finding] = []
        for check in exercises[number - 1].checks:
            findings.append(check.evaluate(context))
            if not findings[-1].ok:
                break
        result = Result(number=number, exercise=exercises[number - 1], findings=tuple(findings))
        self.progress.record_try("lab", self.name, str(number), passed=result.passed, now=self.app.clock.now())
        return result

    @property
    def passed(self) -> list[int]:
        """Numbers of the exercises passed so far."""
        items = self.progress.items("lab", self.name)
        numbers = range(1, len(self.spec.exercises) + 1)
        return [number for number in numbers if (item := items.get(str(number))) and item.passed_at]

    def bundle(self) -> Bundle:
        items = self.progress.items("lab", self.name)
        parts, lines = [], []
        for number, exercise in enumerate(self.spec.exercises, 1):
            item = items.get(str(number))
            state = None if item is None else item.passed_at is not None
            parts.append(paragraph(f"{chip(state, 'passed', 'not yet')} {number}. {prose(exercise.title)}"))
            lines.append(f"  {number}. {exercise.title}: {({True: 'passed', False: 'not yet', None: 'open'})[state]}")
        score = f"{len(self.passed)} of {len(self.spec.exercises)} exercises passed"
        text = "\n".join([f"{self.spec.title}: {score}", *lines])
        foot = prose("Check an exercise with `lab.check(1)`.")
        return card_bundle("lab", self.spec.title, parts, text, aside=score, foot=foot)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        return self.bundle().mime()

    def __repr__(self) -> str:
        return self.bundle().text


def open_lab(name: str, app: App | None = None, *, surface: Surface = Surface.NOTEBOOK) -> Lab:
    """Open the lab ``name`` in this notebook's NBFLOW_HOME. Raises NbflowError with the nearest name."""
    if name not in LABS:
        hint = did_you_mean(name, LABS).strip() or f"The labs are: {', '.join(LABS)}."
        raise NbflowError(f"There is no lab {name!r}.", hint=hint)
    return Lab(name=name, spec=LABS[name], app=app or _app_of(os.environ.get("NBFLOW_HOME")), surface=surface)


@cache
def _app_of(home: str | None) -> App:
    """The home of a notebook that opens labs by itself: opened once, for as long as its kernel lives."""
    return App.open(home=home)
