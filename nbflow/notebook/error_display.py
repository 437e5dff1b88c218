"""A user's mistake is one red line in the notebook, and still an error: nbclient and papermill stop at it.

IPython asks an exception that has ``_render_traceback_`` for its traceback, and a kernel sends that as an ``error``
output. So the line is put on the exception itself, whatever its class; in plain Python it stays what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from nbflow.commands.way_out import Surface, spelled, text_on
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.way_out import Way

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=BaseException)

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"


class CellError(NbflowError):
    """A cell cannot be what it should; ``detail`` is the user's part of the traceback."""

    def __init__(self, message: str, *, hint: str = "", detail: str = "") -> None:
        super().__init__(message, hint=hint)
        self.detail = detail


def red_line(error: BaseException) -> list[str]:
    """What a notebook shows of it."""
    said = text_on(Surface.NOTEBOOK, error) if isinstance(error, NbflowError) else str(error)
    text = " ".join(said.split()) or type(error).__name__
    lines = [f"{_RED}Error: {text}{_PLAIN}"]
    detail = getattr(error, "detail", "")
    return [*lines, *detail.splitlines()] if isinstance(detail, str) and 'File "' in detail else lines


def spell(way: Way) -> str:
    """A command as one types it in a notebook."""
    return spelled(way, Surface.NOTEBOOK)


def told_in_one_line(function: Callable[P, R]) -> Callable[P, R]:
    """Let errors of ours out of ``function`` show as one line."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except NbflowError as error:
            raise mark(error).with_traceback(None) from None

    return wrapper


def mark(error: E) -> E:
    """Make IPython show ``error`` as one line."""
    lines = red_line(error)

    def render() -> list[str]:
        return lines

    error._render_traceback_ = render  # type: ignore[attr-defined]
    return error
