"""The notebook as DAG file: which of its cells make a DAG, and what travels with them. No kernel, no IPython.

A ``%%dag`` cell must stand alone, as a file would. What it runs with, each DAG cell in a namespace of its own:

1. the import statements at the top level of earlier cells, those whose names it uses;
2. every earlier ``%%dag --shared`` cell, whole, with the imports that it uses itself;
3. its body, inside the DAG that the magic's line describes (:mod:`nbflow.sources.cell_options`). A body that makes its
   own DAG, with ``DAG(...)`` or ``@dag``, may do so; then that one counts, and the line may not give options.

All else in the notebook never runs. A name that none of the three gives is a fault that says which cell has it. The
same pieces, in the same order, are run by the ``%%dag`` magic, so that what works in the kernel works in the scheduler.

Files in the percent format (``.py`` with ``# %%`` cells and commented magics, as jupytext writes them) are read alike.
jupytext does not read them: it returns no line numbers, ends a cell at a marker inside a block, and takes ten times as
long to import as this module. The tests use it as the oracle for where cells begin.
The text kept for a version holds the pieces alone: outputs, prose and experiments make no new version.
"""

from __future__ import annotations

import io
import json
import re
import tokenize
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from nbflow.errors import InvalidDag, NbflowError, did_you_mean
from nbflow.sources.cell_options import CellMagic, parse_magic
from nbflow.sources.free_names import (
    BUILTINS,
    IPYTHON_NAMES,
    Code,
    Import,
    python_lines,
    read_code,
    unresolved,
)
from nbflow.sources.loading import Fault, Unit

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG

_DAG_LINE = re.compile(r"%%dag(?:\s+(?P<rest>.*?))?\s*")
_PERCENT_DAG = re.compile(r"#\s?(%%dag(?:\s.*)?)$")
_PERCENT_CELL = re.compile(r"#\s*%%%*(?:[\s\[].*)?$")
_PROSE = re.compile(r".*\[(markdown|md|raw)\]")
#: Cell magics whose body is Python in the notebook's own namespace; the body of others is none of our business.
PYTHON_MAGICS = frozenset({"time", "capture", "prun"})


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One code cell as it stands in the notebook."""

    index: int
    """Its place among the cells."""
    name: str
    """For people: "cell 3"."""
    source: str
    filename: str
    """What tracebacks show."""
    first_line: int = 1
    """Line of ``filename`` at which ``source`` begins."""
    shown: str | None = None
    """``Unit.cell``: None where the line numbers are those of a whole file."""

    @cached_property
    def kind(self) -> str:
        """dag, plain, or other (a cell of another language)."""
        first = self._first[1]
        if _DAG_LINE.fullmatch(first):
            return "dag"
        if first.startswith("%%"):
            word = re.split(r"\W", first[2:], maxsplit=1)[0]
            return "plain" if word in PYTHON_MAGICS else "other"
        return "plain"

    @cached_property
    def _first(self) -> tuple[int, str]:
        """Index and text of the first line that is not empty."""
        for index, line in enumerate(python_lines(self.source)):
            if line.strip():
                return index, line.rstrip()
        return 0, ""

    @property
    def magic_line(self) -> str:
        """What stands behind ``%%dag``."""
        match = _DAG_LINE.fullmatch(self._first[1])
        return (match and match["rest"]) or ""

    @property
    def body_line(self) -> int:
        """Line of ``filename`` at which the body begins."""
        return self.first_line + (self._first[0] + 1 if self._first[1].startswith("%%") else 0)

    @property
    def body(self) -> str:
        return "\n".join(python_lines(self.source)[self.body_line - self.first_line :])


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Something of a cell that runs with a DAG. ``imports`` are of a plain cell; else the whole cell runs."""

    cell: Cell
    code: Code
    imports: tuple[Import, ...] = ()
    shared: bool = False

    @property
    def text(self) -> str:
        """Its part of the version's text."""
        return "\n".join(one.text for one in self.imports) if self.imports else self.cell.source.strip("\n")


@dataclass(frozen=True, kw_only=True)
class DagSource:
    """One ``%%dag`` cell with all that it runs with."""

    cell: Cell
    magic: CellMagic
    pieces: tuple[Piece, ...] = ()
    """In order; the cell itself comes last."""
    fault: Fault | None = None

    @property
    def dag_id(self) -> str | None:
        return self.magic.dag_id

    @property
    def travels(self) -> tuple[tuple[str, str], ...]:
        """What runs with it: (import statement or "helpers", name of its cell)."""
        found: list[tuple[str, str]] = []
        for piece in self.pieces[:-1]:
            texts = [one.text for one in piece.imports] or ["helpers"]
            found += [(text, piece.cell.name) for text in texts]
        return tuple(found)

    @property
    def text(self) -> str:
        """What the DAG is made of, without the places: equal texts make equal DAGs."""
        return "\n\n".join(piece.text for piece in self.pieces)

    def units(self, path: str) -> list[Unit]:
        """What the loader runs, or reports."""
        if self.fault is not None:
            return [self._unit(self.cell, "", fault=self.fault)]
        return [self._of(piece, path) for piece in self.pieces]

    def _of(self, piece: Piece, path: str) -> Unit:
        if piece.imports:
            return self._unit(piece.cell, _at_their_lines(piece), line=piece.cell.first_line)
        code, line = piece.cell.body, piece.cell.body_line
        if piece.code.postponed:  # the line above the body is the magic's, which is no Python
            code, line = f"from __future__ import annotations\n{code}", line - 1
        if piece.shared:
            return self._unit(piece.cell, code, line=line)
        place = (piece.cell.filename, piece.cell.body_line - 1)
        return self._unit(piece.cell, code, line=line, around=partial(dag_of_cell, self.magic, place, path))

    def _unit(self, cell: Cell, code: str, *, line: int = 1, **more: Any) -> Unit:
        return Unit(
            code=code,
            filename=cell.filename,
            first_line=line,
            cell=cell.shown,
            namespace=f"cell{self.cell.index}",
            source=cell.source if cell.shown else "",
            **more,
        )


# ---------------------------------------------------------------------------------------- reading the files


def read_notebook(text: str, path: str) -> Sequence[Unit]:
    """Reader of ``.ipynb`` files. Raises InvalidDag for a file that is no notebook."""
    return [unit for source in dag_sources(notebook_cells(text, path)) for unit in source.units(path)]


def read_percent(text: str, path: str) -> Sequence[Unit] | None:
    """Reader of percent-format ``.py`` files; None for a file that has no ``# %%dag`` cell."""
    cells = percent_cells(text, path)
    if not any(cell.kind == "dag" for cell in cells):
        return None
    return [unit for source in dag_sources(cells) for unit in source.units(path)]


def notebook_cells(text: str, path: str) -> list[Cell]:
    """The code cells of a notebook, numbered from 1."""
    name = path.rsplit("/", 1)[-1]
    if not text.strip():  # as Jupyter makes a new one
        return []
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise TypeError(f"it holds a {type(raw).__name__}")
        if "worksheets" in raw:
            raise InvalidDag(f"{name} is in notebook format {raw.get('nbformat', 3)}.", hint="Save it with Jupyter 4.")
        sources = [_text(cell["source"]) for cell in raw["cells"] if cell["cell_type"] == "code"]
    except json.JSONDecodeError as error:
        raise InvalidDag(
            f"{name} is not a notebook: {error.msg} at line {error.lineno}.", hint="Save it anew."
        ) from None
    except (KeyError, TypeError, RecursionError) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidDag(f"{name} is not a notebook: {said}.", hint="Save it with Jupyter.") from None
    kept = _is_version(raw)
    labels = _kept_labels(sources) if kept else [f"cell {number}" for number in range(1, len(sources) + 1)]
    place = name if kept else path  # where a version was unpacked tells nobody anything
    return [
        Cell(index=index, name=label, source=source, filename=f"{place}#{label}", shown=label)
        for index, (label, source) in enumerate(zip(labels, sources, strict=True))
    ]


def _kept_labels(sources: Sequence[str]) -> list[str]:
    """A kept version does not know its cells' numbers, which change with every cell above: named by what they are."""
    labels: list[str] = []
    for source in sources:
        match = _DAG_LINE.fullmatch(source.partition("\n")[0].rstrip())
        label = f"cell %%dag {(match['rest'] or '').partition(' ')[0]}".rstrip() if match else "cell of imports"
        taken = sum(other.partition(" (")[0] == label for other in labels)
        labels.append(f"{label} ({taken + 1})" if taken else label)
    return labels


def _is_version(raw: Mapping[str, Any]) -> bool:
    metadata = raw.get("metadata")
    return isinstance(metadata, dict) and metadata.get("nbflow") == _VERSION_MARK


def _text(source: Any) -> str:
    if isinstance(source, list):
        source = "".join(source)
    if not isinstance(source, str):
        raise TypeError(f"a cell's source is a {type(source).__name__}")
    return source


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """Where a cell of a percent file begins. ``line``: its first line."""

    line: int
    previous_end: int
    """Last line of the previous cell."""
    is_code: bool = True
    in_prose: bool = False
    """Its first line is a ``# %%dag`` line within a prose cell, which may only show an example."""


def percent_cells(text: str, path: str) -> list[Cell]:
    """Return the code cells of a percent-format file. The lines before the first marker are a cell. A ``# %%dag`` line
    starts a cell without a marker too; in prose only if code follows."""
    lines = python_lines(text)
    starts = [_Start(line=1, previous_end=0)]
    for number, comment in _comments(text):
        last = starts[-1]
        if _PERCENT_CELL.match(comment):
            starts.append(_Start(line=number + 1, previous_end=number - 1, is_code=not _PROSE.match(comment)))
        elif _PERCENT_DAG.match(comment) and any(line.strip() for line in lines[last.line - 1 : number - 1]):
            in_prose = last.in_prose or not last.is_code
            starts.append(_Start(line=number, previous_end=number - 1, in_prose=in_prose))
    cells: list[Cell] = []
    for start, following in zip(starts, [*starts[1:], _Start(line=0, previous_end=len(lines))], strict=True):
        cell_lines = lines[start.line - 1 : following.previous_end]
        is_example = start.in_prose and all(line.startswith("#") or not line.strip() for line in cell_lines)
        if start.is_code and not is_example:
            name = f"the cell at line {start.line}"
            source = "\n".join(_magic_uncommented(cell_lines))
            cells.append(Cell(index=len(cells), name=name, source=source, filename=path, first_line=start.line))
    return cells


def _magic_uncommented(lines: Sequence[str]) -> list[str]:
    """Uncomment ``# %%dag`` if it is the first line that is not blank."""
    first = next((index for index, line in enumerate(lines) if line.strip()), None)
    match = None if first is None else _PERCENT_DAG.match(lines[first].rstrip())
    return [match[1] if match and index == first else line for index, line in enumerate(lines)]


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of the comments that begin a line: what looks like one inside a string is none."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline=None).readline):
            if token.type == tokenize.COMMENT and token.start[1] == 0:
                yield token.start[0], token.string.rstrip()
    except (tokenize.TokenError, SyntaxError):  # the cells up to there are known; what is wrong is found when it runs
        return


# ---------------------------------------------------------------------------------------- what travels


@dataclass(slots=True)
class _Name:
    """Who has a top-level name at some point of the notebook."""

    cell: Cell
    imports: tuple[tuple[Cell, Import], ...] = ()
    """The imports that bind it; none where something else does."""


@dataclass(slots=True)
class _Notebook:
    """What is known while walking down the cells."""

    names: dict[str, _Name] = field(default_factory=dict)
    shared: set[int] = field(default_factory=set)
    """Indexes of the shared cells."""
    chosen: dict[int, set[Import]] = field(default_factory=dict)
    """Imports that travel in any case, by index of the cell: those that shared cells need, and ``__future__``."""
    stars: list[tuple[Cell, str]] = field(default_factory=list)
    postponed: bool = False
    order: list[tuple[Cell, Code]] = field(default_factory=list)


def dag_sources(cells: Sequence[Cell]) -> list[DagSource]:
    """Every DAG cell of a notebook, with what travels with it or with what is wrong with it."""
    later = {name: cell for cell in reversed(cells) if cell.kind != "other" for name in _defines(cell)}
    found: list[DagSource] = []
    for book, cell, code in _walk(cells):
        source = _dag_cell(book, cell, code, later) if cell.kind == "dag" else None
        if source is not None:
            found.append(source)
    return found


def shared_source(cells: Sequence[Cell]) -> DagSource:
    """The last of ``cells``, a cell of helpers, on its own. A name that nothing defines may come from a later one; one
    that only a plain cell has is a fault already here."""
    *_, (book, cell, code) = _walk(cells)
    fault = _cannot_run(cell, code)
    pieces = _pieces(book, cell, code)
    if fault is None:
        home = {name: held.cell for name, held in book.names.items() if held.cell.index not in book.shared}
        fault = _stands_alone(book, pieces, home, only=home)
    pieces = (*pieces[:-1], replace(pieces[-1], shared=True))
    return DagSource(cell=cell, magic=CellMagic(shared=True), pieces=pieces, fault=fault)


def _walk(cells: Sequence[Cell]) -> Iterator[tuple[_Notebook, Cell, Code]]:
    """Each cell with its code and what is known above it."""
    book = _Notebook()
    for cell in cells:
        if cell.kind != "other":
            code = read_code(cell.body, postponed_annotations=book.postponed)
            yield book, cell, code
            _walk_on(book, cell, code)


def _defines(cell: Cell) -> frozenset[str]:
    return read_code(cell.body).defined


def _dag_cell(book: _Notebook, cell: Cell, code: Code, later: Mapping[str, Cell]) -> DagSource | None:
    try:
        magic = parse_magic(cell.magic_line)
    except NbflowError as error:
        return DagSource(cell=cell, magic=CellMagic(), fault=_fault(cell, cell.body_line - 1, error))
    fault = _cannot_run(cell, code)
    if magic.shared:
        if fault is not None:
            return DagSource(cell=cell, magic=magic, fault=fault)
        _share(book, cell, code)
        return None
    if fault is not None:
        return DagSource(cell=cell, magic=magic, fault=fault)
    pieces = _pieces(book, cell, code)
    fault = _stands_alone(book, pieces, later)
    return DagSource(cell=cell, magic=magic, pieces=pieces, fault=fault)


def _cannot_run(cell: Cell, code: Code) -> Fault | None:
    """What keeps a cell from being plain Python, whatever its names."""
    start = cell.body_line - 1
    if code.error is not None:
        line = start + (code.error.lineno or 1)
        return Fault(line=line, error=f"SyntaxError: {code.error.msg}", cell=cell.shown)
    if code.magics:
        number, text = code.magics[0]
        way = "Use BashOperator or @task.bash" if "!" in text[:1] or "= !" in text else "Leave it out"
        error = InvalidDag(
            f"`{text}` is IPython's, and a DAG cell is plain Python, as the scheduler runs it.",
            hint=f"{way}, or put it into another cell.",
        )
        return _fault(cell, start + number, error)
    if code.star_imports:
        number, text = code.star_imports[0]
        hint = "Import what you use by name."
        return _fault(cell, start + number, InvalidDag(f"`{text}` hides which names a DAG cell has.", hint=hint))
    return None


def _share(book: _Notebook, cell: Cell, code: Code) -> None:
    book.shared.add(cell.index)
    _choose(book, code, book.chosen)


def _choose(book: _Notebook, code: Code, chosen: dict[int, set[Import]]) -> None:
    """Add the imports that ``code`` makes use of."""
    for name in code.mentioned - code.defined:
        held = book.names.get(name)
        for home, one in held.imports if held is not None else ():
            chosen.setdefault(home.index, set()).add(one)


def _walk_on(book: _Notebook, cell: Cell, code: Code) -> None:
    """Take in what a cell leaves behind."""
    shared = cell.index in book.shared
    book.order.append((cell, code))
    book.stars += [(cell, text) for _, text in code.star_imports]
    if shared or cell.kind == "plain":
        book.postponed = book.postponed or code.postpones
    if cell.kind == "plain":
        future = {one for one in code.imports if one.future}
        if future:
            book.chosen.setdefault(cell.index, set()).update(future)
    for name, one, lasts in code.changes:
        before = book.names.pop(name, None)
        if not lasts:
            continue
        if one is None or shared:
            book.names[name] = _Name(cell)
            continue
        added = before.imports if before is not None and one.dotted and all(i.dotted for _, i in before.imports) else ()
        book.names[name] = _Name(cell, (*added, (cell, one)))


def _pieces(book: _Notebook, cell: Cell, code: Code) -> tuple[Piece, ...]:
    """What runs with a DAG cell, in the order of the notebook."""
    chosen = {index: set(imports) for index, imports in book.chosen.items()}
    _choose(book, code, chosen)
    pieces = []
    for earlier, earlier_code in book.order:
        if earlier.index in book.shared:
            pieces.append(Piece(cell=earlier, code=earlier_code, shared=True))
        elif wanted := chosen.get(earlier.index):
            imports = tuple(one for one in earlier_code.imports if one in wanted)
            pieces.append(Piece(cell=earlier, code=earlier_code, imports=imports))
    pieces.append(Piece(cell=cell, code=code))
    return tuple(pieces)


def _at_their_lines(piece: Piece) -> str:
    """A plain cell's imports, each at the line where it stands in the cell."""
    offset = piece.cell.body_line - piece.cell.first_line
    lines: dict[int, list[str]] = {}
    for one in piece.imports:
        lines.setdefault(one.line + offset, []).append(one.text)
    return "\n".join("; ".join(lines.get(number, ())) for number in range(1, max(lines) + 1))


# ---------------------------------------------------------------------------------------- the stand-alone check


def _stands_alone(
    book: _Notebook, pieces: Sequence[Piece], later: Mapping[str, Cell], *, only: Collection[str] | None = None
) -> Fault | None:
    """A fault for the first name (of ``only``) that a DAG cell or its helpers use and nothing of what travels has."""
    available: set[str] = set()
    for piece in pieces:
        available |= {name for one in piece.imports for name in one.names} if piece.imports else piece.code.defined
    for piece in reversed(pieces):
        if piece.imports:
            continue
        missing = [name for name in unresolved(piece.code, available) if only is None or name in only]
        if missing:
            error = _missing(book, piece, missing, available, later)
            line = piece.cell.body_line - 1 + (piece.code.line_of(missing[0]) or 1)
            return _fault(piece.cell, line, error)
    return None


def _missing(
    book: _Notebook, piece: Piece, missing: Sequence[str], available: set[str], later: Mapping[str, Cell]
) -> InvalidDag:
    name = missing[0]
    more = f" ({', '.join(map(repr, missing[1:4]))} too)" if len(missing) > 1 else ""
    held = book.names.get(name)
    home = held.cell if held is not None else later.get(name)
    if held is None and home is not None and home.index < piece.cell.index:
        gone = f"This cell uses {name!r}, which {home.name} defines and a later cell deletes{more}."
        return InvalidDag(gone, hint="Define it here.")
    if home is not None and home.index != piece.cell.index:
        where = " further down" if held is None else ""
        above = ", above this one" if held is None else ""
        share = f"begin {home.name} with %%dag --shared{above}"
        if home.kind == "dag":
            share = "move it to a cell that begins with %%dag --shared"
        return InvalidDag(
            f"This cell uses {name!r}, which only {home.name}{where} defines{more}. A DAG cell must stand alone.",
            hint=f"Define it here, or {share}.",
        )
    if name in IPYTHON_NAMES:
        return InvalidDag(f"This cell uses {name!r}, which is IPython's{more}.", hint=IPYTHON_NAMES[name])
    if book.stars:
        cell, text = book.stars[-1]
        return InvalidDag(
            f"This cell uses {name!r}, which nothing defines{more}; `{text}` of {cell.name} does not travel.",
            hint=f"Import {name} by name.",
        )
    hint = did_you_mean(name, {*available, *BUILTINS}).strip() or "Define or import it in this cell."
    return InvalidDag(f"This cell uses {name!r}, which nothing defines{more}.", hint=hint)


def _fault(cell: Cell, line: int, error: NbflowError) -> Fault:
    return Fault(line=max(line, 1), error=f"{type(error).__name__}: {error}", cell=cell.shown)


# ---------------------------------------------------------------------------------------- the DAG of one cell


@contextmanager
def dag_of_cell(
    magic: CellMagic, place: tuple[str, int], path: str, namespace: Mapping[str, Any]
) -> Iterator[DAG | None]:
    """The DAG that the line of a ``%%dag`` cell describes, open while the body runs.

    Afterwards the DAGs that the body made itself take its place, if there are any. Raises InvalidDag where the two
    contradict each other, or neither makes one.
    """
    from nbflow.authoring import current_dag

    with current_dag.collect_dags() as made:
        if magic.dag_id is None:
            dag = None
            yield None
        else:
            dag = make_dag(magic, place)
            with dag:
                yield dag
    own = [one for one in made if one is not dag]
    if own and dag is not None:
        _only_one_speaks(dag, own, magic)
    elif not own:
        _not_forgotten(dag, namespace)
    for one in own or [dag]:
        if one is not None:
            one.fileloc = path
            current_dag.record_dag(one)


def make_dag(magic: CellMagic, place: tuple[str, int]) -> DAG:
    """The DAG of a ``%%dag`` line."""
    from nbflow.authoring.current_dag import Place
    from nbflow.authoring.dag import DAG

    arguments = dict(magic.arguments)
    zone: tzinfo | None = arguments.pop("timezone", None)
    if zone is not None:
        for name in ("start_date", "end_date"):
            moment = arguments.get(name)
            if isinstance(moment, datetime):
                arguments[name] = moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)
    dag = DAG(str(magic.dag_id), **arguments)
    if zone is not None:
        dag.zone = zone
    dag.place = Place(*place)
    return dag


def _only_one_speaks(dag: DAG, own: Sequence[DAG], magic: CellMagic) -> None:
    names = ", ".join(repr(one.dag_id) for one in own)
    if dag.task_dict:
        raise InvalidDag(
            f"The cell makes DAG {names} itself, and the task {dag.task_ids[0]!r} outside of it.",
            hint="Put every task inside, or leave DAG(...) out and let %%dag make it.",
        )
    if magic.given:
        raise InvalidDag(
            f"The cell makes DAG {names} itself, so {' and '.join(magic.given)} of %%dag would not count.",
            hint="Give it to DAG(...), or leave DAG(...) out.",
        )
    if magic.dag_id not in {one.dag_id for one in own}:
        raise InvalidDag(f"%%dag names {magic.dag_id!r}, but the cell makes DAG {names}.", hint="Give both one name.")


def _not_forgotten(dag: DAG | None, namespace: Mapping[str, Any]) -> None:
    from nbflow.authoring.dag import DagFactory

    for name, value in namespace.items():
        if isinstance(value, DagFactory) and not value.called:
            raise InvalidDag(f"{name} is a @dag function that is never called.", hint=f"Call it: {name}()")
    if dag is None:
        raise InvalidDag("This cell makes no DAG.", hint="Name it: %%dag NAME --schedule @daily")


# ---------------------------------------------------------------------------------------- the version's text

_VERSION_MARK = "version"


def essence(text: str) -> str:
    """The part of a notebook's text that makes its DAGs, as a notebook: what a version keeps, and is known by.

    A text that is no notebook is its own essence.
    """
    try:
        sources = dag_sources(notebook_cells(text, "notebook"))
    except NbflowError:
        return text
    return version_text(sources)


def version_text(sources: Sequence[DagSource]) -> str:
    """The pieces of some DAG cells as one notebook, each piece once, in the notebook's order."""
    whole: dict[int, str] = {}
    imports: dict[int, set[Import]] = {}
    for source in sources:
        for piece in source.pieces if source.fault is None else ():
            if piece.imports:
                imports.setdefault(piece.cell.index, set()).update(piece.imports)
            else:
                whole[piece.cell.index] = piece.text
    for index, found in imports.items():
        whole.setdefault(index, "\n".join(one.text for one in sorted(found, key=lambda one: one.line)))
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": whole[index]}
        for index in sorted(whole)
    ]
    raw = {"cells": cells, "metadata": {"nbflow": _VERSION_MARK}, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(raw, indent=1, sort_keys=True) + "\n"
