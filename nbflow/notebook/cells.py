"""``%%dag`` cells in a kernel: the log of executed cells, the notebook's path, and execution of a cell.

The DAG processor reads the cells of a saved notebook; a kernel has the cells that it executed, each with its newest
text. A cell is loaded from the same source units and by the same loader as in the scheduler
(:mod:`nbflow.sources.notebooks`), in a separate namespace. The names that it defines are then copied to the notebook's
namespace for interactive use.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbflow import errors
from nbflow.errors import NbflowError
from nbflow.notebook.error_display import CellError
from nbflow.sources.code_units import SourceError
from nbflow.sources.loading import Loaded, compiled, load_units, source_error
from nbflow.sources.notebooks import Cell, DagSource, dag_sources, notebook_cells, shared_source, version_text

if TYPE_CHECKING:
    from nbflow.authoring.compile import CompileOptions
    from nbflow.authoring.dag import DAG

UNNAMED = "notebook.ipynb"
"""File name of a notebook with an unknown path. It is part of a DAG's version, so it must be the same in every
kernel."""


@dataclass(slots=True)
class _ExecutedCell:
    source: str
    number: int


@dataclass(slots=True)
class CellLog:
    """The cells that this kernel executed, in the order of their first execution, since a kernel does not know their
    order in the notebook."""

    cells: dict[str, _ExecutedCell] = field(default_factory=dict)
    current: str = ""

    def start(self, key: str | None) -> None:
        """Log the start of a cell. Without a cell id from the front end, each execution counts as a new cell."""
        self.current = key or ""

    def end(self, number: int, source: str, *, success: bool) -> None:
        """Log the end of a cell. A failed cell is logged too, unless it is a ``%%dag`` cell: its imports may have
        succeeded."""
        key = self.current or f"In [{number}]"
        if success or not source.lstrip().startswith("%%dag"):
            without_id = ((other, cell) for other, cell in self.cells.items() if other.startswith("In ["))
            # The same cell may have been logged by its number before the front end sent its id.
            for duplicate in [other for other, cell in without_id if cell.source == source]:
                del self.cells[duplicate]
            self.cells[key] = _ExecutedCell(source, number)
        self.current = ""

    def seed(self, sources: Iterable[str]) -> None:
        """Add the cells that were executed before ``%load_ext nbflow``."""
        for number, source in enumerate(sources):
            if source.strip():
                self.cells.setdefault(f"In [{number}]", _ExecutedCell(source, number))

    def with_current(self, source: str, number: int) -> list[Cell]:
        """All cells; the last is the running cell, with this source."""
        others = [executed for key, executed in self.cells.items() if key != self.current]
        return [_cell(index, executed) for index, executed in enumerate([*others, _ExecutedCell(source, number)])]


def _cell(index: int, executed: _ExecutedCell) -> Cell:
    name = f"In [{executed.number}]"
    return Cell(index=index, name=name, source=executed.source, filename=f"<{name}>", shown=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellDag:
    """The result of a ``%%dag`` cell."""

    source: DagSource
    dags: tuple[DAG, ...]
    loaded: Loaded
    names: Mapping[str, Any]
    """Name -> value, for the names that the cell defines."""


def run_cell(cells: list[Cell], *, path: Path | None, folder: Path, options: CompileOptions) -> CellDag:
    """Run the last of ``cells``, a ``%%dag`` cell that is not ``--shared``. Raises CellError."""
    cell = cells[-1]
    source = next(source for source in dag_sources(cells) if source.cell is cell)
    if source.error is not None:
        raise cell_error(source.error)
    file = str(path) if path is not None else str(folder / UNNAMED)
    loaded = load_units(
        source.units(file), path=file, root=str(Path(file).parent), text=version_text([source]), options=options
    )
    if loaded.output:
        print(loaded.output, end="")
    if loaded.import_errors:
        raise cell_error(loaded.import_errors[0])
    code = source.parts[-1].code
    namespace = next(iter(loaded.namespaces.values()))
    names = {name: namespace[name] for name in sorted(code.defined) if name in namespace}
    return CellDag(source=source, dags=loaded.dags, loaded=loaded, names=names)


def run_shared(cells: list[Cell], user_ns: dict[str, Any]) -> None:
    """Run the last of ``cells``, a ``%%dag --shared`` cell, in the notebook's namespace. Raises CellError."""
    source = shared_source(cells)
    if source.error is not None:
        raise cell_error(source.error)
    unit = source.units("")[-1]
    try:
        exec(compiled(unit), user_ns)
    except Exception as error:
        raise cell_error(source_error(error, unit.filename, [unit], cell=unit.cell)) from None


def cell_error(error: SourceError) -> CellError:
    """The error that the notebook shows for a mistake in a cell. It has a traceback only if the error is not one of
    nbflow, and if the traceback contains a frame of the cell."""
    class_name, _, message = error.message.partition(": ")
    is_nbflow_error = isinstance(getattr(errors, class_name, None), type) and bool(message)
    text = message if is_nbflow_error else error.message
    position = ", ".join(filter(None, [error.cell, f"line {error.line}" if error.line else ""]))
    detail = error.detail if not is_nbflow_error and error.cell and error.cell in error.detail else ""
    return CellError(f"{position}: {text}" if position else text, detail=detail)


def notebook_path(user_ns: Mapping[str, Any], environ: Mapping[str, str]) -> Path | None:
    """The path of this kernel's notebook, if the front end sets it, as VS Code and Jupyter Server do."""
    for path in (user_ns.get("__vsc_ipynb_file__"), environ.get("JPY_SESSION_NAME")):
        if isinstance(path, str) and path.endswith(".ipynb"):
            return Path(os.path.abspath(path))
    return None


def saved_source(path: Path | None, dag_id: str) -> DagSource | None:
    """The DAG's cell in the saved notebook, with its error if it has one; None if there is no such cell."""
    if path is None:
        return None
    try:
        cells = notebook_cells(path.read_text("utf-8"), str(path))
    except (OSError, ValueError, NbflowError):
        return None
    return next((source for source in dag_sources(cells) if source.dag_id == dag_id), None)
