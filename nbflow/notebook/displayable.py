"""``Shown``: the result of a notebook function, a value that displays itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nbflow.notebook.session import current_session
from nbflow.ui.mime_bundle import Bundle

PICTURE_SECONDS = 0.25
"""Minimum interval of updates of a display; faster updates flicker."""


def display_data(bundle: Bundle) -> dict[str, str]:
    """The MIME bundle of a cell's output: HTML and text, or the text alone without ``save_output``."""
    data = bundle.mime()
    return data if current_session().pictures else {"text/plain": data["text/plain"]}


def display_bundle(bundle: Bundle, *, display_id: bool = False) -> Any:
    """Display a bundle in the running cell. With ``display_id``, the returned handle updates the output."""
    from IPython.display import display

    return display(display_data(bundle), raw=True, display_id=display_id)


class Shown:
    """A value that displays itself: ``data`` is the value, ``bundle`` its display."""

    def __init__(self, data: Any, bundle: Bundle) -> None:
        self.data, self.bundle = data, bundle

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        return display_data(self.bundle)

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
    """The execution count of the running cell; None outside of IPython."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()
    return None if shell is None else int(shell.execution_count)
