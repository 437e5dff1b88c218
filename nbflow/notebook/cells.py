"""The live kernel's side of ``%%dag``: which cells it has run, which notebook it belongs to, what a cell defines.

What the reader of files knows from the text, the kernel knows from its history: the cells that were run, each with its
newest text. A cell is run by the same pieces and the same loader as in the scheduler
(:mod:`nbflow.sources.notebooks`), in a namespace of its own; the names that it defines are then put into the
notebook's, so that they can be tried out.
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
from nbflow.sources.loading import Loaded, compiled, load_units, source_error
from nbflow.sources.notebooks import Cell, DagSource, dag_sources, notebook_cells, shared_source, version_text
from nbflow.sources.units import SourceError

if TYPE_CHECKING:
    from nbflow.authoring.compile import CompileOptions
    from nbflow.authoring.dag import DAG

UNNAMED = "notebook.ipynb"
"""Of a notebook whose name the kernel is not told. It is part of a version, so it must not change from kernel to
kernel."""


@dataclass(slots=True)
class _Ran:
    source: str
    number: int


@dataclass(slots=True)
class CellLog:
    """The cells that this kernel ran, in the order of their first run: the nearest to the notebook's own order that a
    kernel can know."""

    cells: dict[str, _Ran] = field(default_factory=dict)
    current: str = ""

    def began(self, key: str | None) -> None:
        """A cell starts. Front ends that give cells no id make each run a cell of its own."""
        self.current = key or ""

    def ended(self, number: int, source: str, *, well: bool) -> None:
        """A cell has run. One that failed may have imported something all the same, but it has shared nothing."""
        key = self.current or f"In [{number}]"
        if well or not source.lstrip().startswith("%%dag"):
            twins = [other for other, ran in self.cells.items() if other.startswith("In [") and ran.source == source]
            for twin in twins:  # the same cell, known by its number only until now
                del self.cells[twin]
            self.cells[key] = _Ran(source, number)
        self.current = ""

    def seed(self, sources: Iterable[str]) -> None:
        """Cells that ran before we were loaded."""
        for number, source in enumerate(sources):
            if source.strip():
                self.cells.setdefault(f"In [{number}]", _Ran(source, number))

    def with_current(self, source: str, number: int) -> list[Cell]:
        """All cells, the one that runs now (with this source) last."""
        before = [ran for key, ran in self.cells.items() if key != self.current]
        return [_cell(index, ran) for index, ran in enumerate([*before, _Ran(source, number)])]


def _cell(index: int, ran: _Ran) -> Cell:
    name = f"In [{ran.number}]"
    return Cell(index=index, name=name, source=ran.source, filename=f"<{name}>", shown=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellDag:
    """What a ``%%dag`` cell came to."""

    source: DagSource
    dags: tuple[DAG, ...]
    loaded: Loaded
    names: Mapping[str, Any]
    """What the cell's body defined."""


def run_cell(cells: list[Cell], *, path: Path | None, folder: Path, options: CompileOptions) -> CellDag:
    """Run the last of ``cells``, a ``%%dag`` cell that is not ``--shared``. Raises CellError."""
    cell = cells[-1]
    source = next(one for one in dag_sources(cells) if one.cell is cell)
    if source.error is not None:
        raise cell_error(source.error)
    where = str(path) if path is not None else str(folder / UNNAMED)
    loaded = load_units(
        source.units(where), path=where, root=str(Path(where).parent), text=version_text([source]), options=options
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
    """Run the last of ``cells``, a cell of helpers, in the notebook's own namespace. Raises CellError."""
    source = shared_source(cells)
    if source.error is not None:
        raise cell_error(source.error)
    unit = source.units("")[-1]
    try:
        exec(compiled(unit), user_ns)
    except Exception as error:
        raise cell_error(source_error(error, unit.filename, [unit], cell=unit.cell)) from None


def cell_error(error: SourceError) -> CellError:
    """A mistake in a cell as the error that the notebook shows."""
    kind, _, said = error.message.partition(": ")
    ours = isinstance(getattr(errors, kind, None), type) and bool(said)  # its message says what, where and the way out
    text = said if ours else error.message
    where = ", ".join(filter(None, [error.cell, f"line {error.line}" if error.line else ""]))
    tells = not ours and error.cell and error.cell in error.detail  # frames of libraries alone tell nothing
    shown = error.detail if tells else ""
    return CellError(f"{where}: {text}" if where else text, detail=shown)


def notebook_path(user_ns: Mapping[str, Any], environ: Mapping[str, str]) -> Path | None:
    """The notebook that this kernel serves, as far as the front end says: Jupyter Server does, VS Code does."""
    for said in (user_ns.get("__vsc_ipynb_file__"), environ.get("JPY_SESSION_NAME")):
        if isinstance(said, str) and said.endswith(".ipynb"):
            return Path(os.path.abspath(said))
    return None


def saved_source(path: Path | None, dag_id: str) -> DagSource | None:
    """The DAG's cell in the saved notebook, with what is wrong with it; None where it is not there."""
    if path is None:
        return None
    try:
        cells = notebook_cells(path.read_text("utf-8"), str(path))
    except (OSError, ValueError, NbflowError):
        return None
    return next((one for one in dag_sources(cells) if one.dag_id == dag_id), None)
