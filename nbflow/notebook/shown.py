"""What a function of the notebook returns: a value for programs, and how a cell shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nbflow.notebook.session import session
from nbflow.ui.mime_bundle import Bundle

PICTURE_SECONDS = 0.25
"""How long a display rests after each change. One that changes more often flickers."""


def seen(bundle: Bundle) -> dict[str, str]:
    """What a cell's output holds: the picture and its text, or the text alone where outputs are kept small."""
    kinds = bundle.mime()
    return kinds if session().pictures else {"text/plain": kinds["text/plain"]}


class Shown:
    """A value with its picture: ``data`` is what a program uses, the bundle what a reader sees."""

    def __init__(self, data: Any, bundle: Bundle) -> None:
        self.data, self.bundle = data, bundle

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        return seen(self.bundle)

    def __repr__(self) -> str:
        return self.bundle.text

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.data)

    def __getitem__(self, key: Any) -> Any:
        return self.data[key]

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return bool(self.data == (other.data if isinstance(other, Shown) else other))

    __hash__ = None  # type: ignore[assignment]


def execution_count() -> int | None:
    """Of the cell that runs; None outside of IPython."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()
    return None if shell is None else int(shell.execution_count)
