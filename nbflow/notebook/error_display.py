"""Shows a user's mistake as one red line in the notebook. The output is still an error, at which nbclient and papermill
stop.

IPython calls ``_render_traceback_`` of an exception for its traceback, and a kernel sends the result as an ``error``
output. ``as_one_line`` sets that method on the exception; outside IPython the exception behaves as usual.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from nbflow.commands.surface_syntax import Surface, spelled, text_on
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.suggested_commands import SuggestedCommand

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=BaseException)

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"


class CellError(NbflowError):
    """A ``%%dag`` cell has an error; ``detail`` is the user's part of the traceback."""

    def __init__(self, message: str, *, hint: str = "", detail: str = "") -> None:
        super().__init__(message, hint=hint)
        self.detail = detail


def red_line(error: BaseException) -> list[str]:
    """The lines that a notebook shows for an error."""
    message = text_on(Surface.NOTEBOOK, error) if isinstance(error, NbflowError) else str(error)
    text = " ".join(message.split()) or type(error).__name__
    lines = [f"{_RED}Error: {text}{_PLAIN}"]
    detail = getattr(error, "detail", "")
    return [*lines, *detail.splitlines()] if isinstance(detail, str) and 'File "' in detail else lines


def spell(suggested: SuggestedCommand) -> str:
    """The command in the syntax of magics."""
    return spelled(suggested, Surface.NOTEBOOK)


def one_line_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: IPython shows the NbflowErrors of ``function`` as one line."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except NbflowError as error:
            raise as_one_line(error).with_traceback(None) from None

    return wrapper


def as_one_line(error: E) -> E:
    """Return ``error``, changed so that IPython shows it as one line."""
    lines = red_line(error)

    def render() -> list[str]:
        return lines

    error._render_traceback_ = render  # type: ignore[attr-defined]
    return error
