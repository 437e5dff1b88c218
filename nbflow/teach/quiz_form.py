"""The quiz as a form of ipywidgets. Without a front end or the lab extra, the output holds the questions as text alone.

All code here runs on the kernel's main thread, where ipywidgets calls its handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nbflow.errors import NbflowError
from nbflow.teach.display import chip, prose
from nbflow.teach.progress import answered_right
from nbflow.teach.quiz import INSTRUCTIONS
from nbflow.ui.live import WIDGET_MIME

if TYPE_CHECKING:
    from nbflow.teach.quiz import Question
    from nbflow.teach.quiz_session import QuizSession


def form_mime(session: QuizSession) -> dict[str, Any]:
    """The widget's entry in a MIME bundle; empty without a kernel or without ipywidgets."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return {}
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return {}
    try:
        form = Form(session)
    except ImportError:
        return {}
    return {WIDGET_MIME: {"version_major": 2, "version_minor": 0, "model_id": form.box.model_id}}


class Form:
    """The form of all questions, each with its button; ``box`` is the widget."""

    def __init__(self, session: QuizSession) -> None:
        import ipywidgets

        self.session = session
        quiz = session.quiz
        self.head = ipywidgets.HTML()
        self.rows = [Row(self, question) for question in quiz.questions]
        self.box = ipywidgets.VBox([self.head, *(row.box for row in self.rows)])
        self.refresh()

    def refresh(self) -> None:
        """Show the score."""
        quiz = self.session.quiz
        self.head.value = f"<b>{prose(quiz.title)}</b> &nbsp; {prose(self.session.score)}<br>{prose(quiz.about)}"


class Row:
    """One question: its text, its input fields, the button, the feedback."""

    def __init__(self, form: Form, question: Question) -> None:
        import ipywidgets

        self.form, self.question = form, question
        ask = ipywidgets.HTML(f"<b>{question.number}.</b> {prose(question.ask)} ({INSTRUCTIONS[question.type]})")
        self.fields = _FIELDS[question.type](question)
        self.button = ipywidgets.Button(description=f"Check {question.number}", layout=ipywidgets.Layout(width="100px"))
        self.button.on_click(self._check)
        right = answered_right(form.session.items.get(question.number))
        self.feedback = ipywidgets.HTML("" if right is None else chip(right, "right", "wrong"))
        layout = ipywidgets.Layout(margin="0 0 14px 0")
        self.box = ipywidgets.VBox([ask, *self.fields, self.button, self.feedback], layout=layout)

    def answer(self) -> str | list[str]:
        """The answer in the fields."""
        if self.question.type == "multiple":
            pairs = zip(self.question.options, self.fields, strict=True)
            return [option.letter for option, field in pairs if field.value]
        return str(self.fields[-1].value or "")

    def _check(self, _button: Any) -> None:
        try:
            feedback = self.form.session.answer(self.question.number, self.answer())
        except NbflowError as error:
            self.feedback.value = prose(str(error))
            return
        self.feedback.value = feedback.bundle().html
        self.form.refresh()


def _labels(question: Question) -> list[tuple[str, str]]:
    return [(f"{option.letter}) {option.text.replace('`', '')}", option.letter) for option in question.options]


def _single(question: Question) -> list[Any]:
    import ipywidgets

    return [ipywidgets.RadioButtons(options=_labels(question), value=None, layout=ipywidgets.Layout(width="auto"))]


def _multiple(question: Question) -> list[Any]:
    import ipywidgets

    wide = ipywidgets.Layout(width="auto")
    return [ipywidgets.Checkbox(description=label, indent=False, layout=wide) for label, _ in _labels(question)]


def _order(question: Question) -> list[Any]:
    import ipywidgets

    lines = [ipywidgets.HTML(f"<b>{option.letter})</b> {prose(option.text)}") for option in question.options]
    return [*lines, ipywidgets.Text(placeholder="letters in order: b a c", layout=ipywidgets.Layout(width="220px"))]


def _fill(question: Question) -> list[Any]:
    import ipywidgets

    return [ipywidgets.Text(placeholder="your answer", layout=ipywidgets.Layout(width="220px"))]


#: type of question -> its input fields; the answer is the last one's value, except for multiple.
_FIELDS: Mapping[str, Callable[[Question], list[Any]]] = {
    "single": _single,
    "multiple": _multiple,
    "order": _order,
    "fill": _fill,
}
