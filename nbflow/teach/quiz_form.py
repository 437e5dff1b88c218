"""The quiz as a form, by ipywidgets. Where there is no front end or no lab extra, there is no form: the questions as
text stand in the same output.

All of it happens on the kernel's main thread, where ipywidgets calls its handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nbflow.errors import NbflowError
from nbflow.teach.display import chip, prose
from nbflow.teach.quiz import HOW, Sitting, answered
from nbflow.ui.live import WIDGET_MIME

if TYPE_CHECKING:
    from nbflow.teach.questions import Question


def form_mime(sitting: Sitting) -> dict[str, Any]:
    """The widget's part of the output; empty where nothing could show it."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return {}
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return {}
    try:
        form = Form(sitting)
    except ImportError:
        return {}
    return {WIDGET_MIME: {"version_major": 2, "version_minor": 0, "model_id": form.box.model_id}}


class Form:
    """All questions, each with its button; ``box`` is the widget."""

    def __init__(self, sitting: Sitting) -> None:
        import ipywidgets

        self.sitting = sitting
        quiz = sitting.quiz
        self.head = ipywidgets.HTML()
        self.rows = [Row(self, question) for question in quiz.questions]
        self.box = ipywidgets.VBox([self.head, *(row.box for row in self.rows)])
        self.refresh()

    def refresh(self) -> None:
        """Show the score."""
        quiz = self.sitting.quiz
        self.head.value = f"<b>{prose(quiz.title)}</b> &nbsp; {prose(self.sitting.score)}<br>{prose(quiz.about)}"


class Row:
    """One question: its text, what takes the answer, the button, the feedback."""

    def __init__(self, form: Form, question: Question) -> None:
        import ipywidgets

        self.form, self.question = form, question
        ask = ipywidgets.HTML(f"<b>{question.number}.</b> {prose(question.ask)} ({HOW[question.type]})")
        self.fields = _FIELDS[question.type](question)
        self.button = ipywidgets.Button(description=f"Check {question.number}", layout=ipywidgets.Layout(width="100px"))
        self.button.on_click(self._check)
        state = answered(form.sitting.items.get(question.number))
        self.said = ipywidgets.HTML("" if state is None else chip(state, "right", "wrong"))
        around = ipywidgets.Layout(margin="0 0 14px 0")
        self.box = ipywidgets.VBox([ask, *self.fields, self.button, self.said], layout=around)

    def given(self) -> str | list[str]:
        """The answer as it stands in the form."""
        if self.question.type == "multiple":
            return [one.letter for one, field in zip(self.question.options, self.fields, strict=True) if field.value]
        return str(self.fields[-1].value or "")

    def _check(self, _button: Any) -> None:
        try:
            feedback = self.form.sitting.answer(self.question.number, self.given())
        except NbflowError as error:
            self.said.value = prose(str(error))
            return
        self.said.value = feedback.bundle().html
        self.form.refresh()


def _labels(question: Question) -> list[tuple[str, str]]:
    return [(f"{one.letter}) {one.text.replace('`', '')}", one.letter) for one in question.options]


def _single(question: Question) -> list[Any]:
    import ipywidgets

    return [ipywidgets.RadioButtons(options=_labels(question), value=None, layout=ipywidgets.Layout(width="auto"))]


def _multiple(question: Question) -> list[Any]:
    import ipywidgets

    wide = ipywidgets.Layout(width="auto")
    return [ipywidgets.Checkbox(description=label, indent=False, layout=wide) for label, _ in _labels(question)]


def _order(question: Question) -> list[Any]:
    import ipywidgets

    lines = [ipywidgets.HTML(f"<b>{one.letter})</b> {prose(one.text)}") for one in question.options]
    return [*lines, ipywidgets.Text(placeholder="letters in order: b a c", layout=ipywidgets.Layout(width="220px"))]


def _fill(question: Question) -> list[Any]:
    import ipywidgets

    return [ipywidgets.Text(placeholder="your answer", layout=ipywidgets.Layout(width="220px"))]


#: type of question -> the widgets that take its answer; the last one holds it, but for multiple.
_FIELDS: Mapping[str, Callable[[Question], list[Any]]] = {
    "single": _single,
    "multiple": _multiple,
    "order": _order,
    "fill": _fill,
}
