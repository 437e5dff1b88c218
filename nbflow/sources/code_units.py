"""The results of reading a DAG file: units of Python code with their locations, and errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceError:
    """An error in a DAG file. ``line`` counts from 1 in the DAG file (or in ``cell``)."""

    line: int | None
    message: str
    """One line: the exception's class and message."""
    detail: str = ""
    """The traceback, without nbflow's frames."""
    cell: str | None = None
    dag_id: str | None = None
    """The DAG, if the error concerns only this DAG of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A piece of Python code with its location. Tracebacks show ``filename``."""

    code: str
    filename: str
    first_line: int = 1
    """Line of the file (or cell) at which ``code`` begins."""
    cell: str | None = None
    """The name of the notebook's cell ("cell 3")."""
    namespace: str = ""
    """Units of the same namespace share their globals; an error ends only its own namespace."""
    around: Callable[[Mapping[str, object]], contextlib.AbstractContextManager[object]] | None = None
    """Function of the globals that returns a context manager, in which the code runs."""
    source: str = ""
    """The text of ``filename``, if that is not a file."""
    error: SourceError | None = None
    """The reader's error in the unit; the unit does not run."""


Reader = Callable[[str, str], Sequence[Unit]]
"""(text, path) -> units. Raises SyntaxError or NbflowError for an invalid file."""
