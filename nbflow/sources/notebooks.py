"""Notebooks as DAG files: the cells that define DAGs, and the code that runs with each of them. No kernel, no IPython.

A ``%%dag`` cell must stand alone, like a file. Each DAG cell runs in a separate namespace, after the code it needs:

1. the import statements at the top level of earlier cells that bind a name which the cell uses;
2. every earlier ``%%dag --shared`` cell, with the imports that it uses;
3. the cell's body, inside the DAG that the magic's line describes (:mod:`nbflow.sources.cell_options`). If the body
   defines a DAG itself, with ``DAG(...)`` or ``@dag``, that DAG is used, and the line must not have options.

Nothing else in the notebook runs. A name that none of the three defines is an error, which names the cell that has it.
The ``%%dag`` magic runs the same parts in the same order, so that a cell that works in the kernel works in the
scheduler.

Files in the percent format (``.py`` with ``# %%`` cells and commented magics, as jupytext writes them) are read in the
same way, without jupytext: it does not report the lines of cells, ends a cell at a marker inside a block, and takes ten
times as long to import as this module. The tests compare the beginnings of cells with it.
The text of a version has only the parts that run: outputs, prose and experiments do not create a new version.
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
from typing import Any

from nbflow.authoring import current_dag
from nbflow.authoring.current_dag import Place
from nbflow.authoring.dag import DAG, DagFactory
from nbflow.errors import InvalidDag, NbflowError, did_you_mean
from nbflow.sources.cell_options import CellMagic, parse_magic
from nbflow.sources.code_units import SourceError, Unit
from nbflow.sources.free_names import (
    BUILTINS,
    IPYTHON_NAMES,
    Code,
    Import,
    python_lines,
    read_code,
    unresolved,
)
from nbflow.sources.unseen_dags import dag_names, unseen_dags

_DAG_LINE = re.compile(r"%%dag(?:\s+(?P<rest>.*?))?\s*")
_PERCENT_DAG = re.compile(r"#\s?(%%dag(?:\s.*)?)$")
_PERCENT_CELL = re.compile(r"#\s*%%%*(?:[\s\[].*)?$")
_PROSE = re.compile(r".*\[(markdown|md|raw)\]")
#: Cell magics whose body is Python code of the notebook; cells with other magics are skipped.
PYTHON_MAGICS = frozenset({"time", "capture", "prun"})


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A code cell of a notebook."""

    index: int
    """Position among the cells, from 0."""
    name: str
    """Display name: "cell 3"."""
    source: str
    filename: str
    """The name of the source in tracebacks."""
    first_line: int = 1
    """Line of ``filename`` at which ``source`` begins."""
    shown: str | None = None
    """``Unit.cell``; None if line numbers are those of the whole file."""

    @cached_property
    def kind(self) -> str:
        """ "dag", "plain", or "other" (a cell in another language)."""
        first = self._first[1]
        if _DAG_LINE.fullmatch(first):
            return "dag"
        if first.startswith("%%"):
            magic = re.split(r"\W", first[2:], maxsplit=1)[0]
            return "plain" if magic in PYTHON_MAGICS else "other"
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
        """The text after ``%%dag``."""
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
class CellPart:
    """The code of a cell that runs with a DAG: ``imports`` of a plain cell, otherwise the whole cell."""

    cell: Cell
    code: Code
    imports: tuple[Import, ...] = ()
    shared: bool = False

    @property
    def text(self) -> str:
        """Its text in a version."""
        if self.imports:
            return "\n".join(statement.text for statement in self.imports)
        return self.cell.source.strip("\n")


@dataclass(frozen=True, kw_only=True)
class DagSource:
    """A ``%%dag`` cell with the code that runs with it."""

    cell: Cell
    magic: CellMagic
    parts: tuple[CellPart, ...] = ()
    """In the order of the notebook; the cell itself is the last one."""
    error: SourceError | None = None

    @property
    def dag_id(self) -> str | None:
        return self.magic.dag_id

    @property
    def dependencies(self) -> tuple[tuple[str, str], ...]:
        """The code from other cells: (import statement or "helpers", name of the cell)."""
        dependencies: list[tuple[str, str]] = []
        for part in self.parts[:-1]:
            texts = [statement.text for statement in part.imports] or ["helpers"]
            dependencies += [(text, part.cell.name) for text in texts]
        return tuple(dependencies)

    @property
    def text(self) -> str:
        """The code that defines the DAG, without locations: equal texts define equal DAGs."""
        return "\n\n".join(part.text for part in self.parts)

    def units(self, path: str) -> list[Unit]:
        """The units for the loader."""
        if self.error is not None:
            return [self._unit(self.cell, "", error=self.error)]
        return [self._unit_of(part, path) for part in self.parts]

    def _unit_of(self, part: CellPart, path: str) -> Unit:
        if part.imports:
            return self._unit(part.cell, _imports_at_lines(part), line=part.cell.first_line)
        code, line = part.cell.body, part.cell.body_line
        if part.code.postponed:  # the line above the body is that of the magic
            code, line = f"from __future__ import annotations\n{code}", line - 1
        if part.shared:
            return self._unit(part.cell, code, line=line)
        place = (part.cell.filename, part.cell.body_line - 1)
        return self._unit(part.cell, code, line=line, around=partial(dag_of_cell, self.magic, place, path))

    def _unit(self, cell: Cell, code: str, *, line: int = 1, **options: Any) -> Unit:
        return Unit(
            code=code,
            filename=cell.filename,
            first_line=line,
            cell=cell.shown,
            namespace=f"cell{self.cell.index}",
            source=cell.source if cell.shown else "",
            **options,
        )


# ---------------------------------------------------------------------------------------------------- reading the files


def read_notebook(text: str, path: str) -> Sequence[Unit]:
    """Reader of ``.ipynb`` files. Raises InvalidDag for a file that is not a notebook."""
    cells = notebook_cells(text, path)
    units = [unit for source in dag_sources(cells) for unit in source.units(path)]
    return [*units, *_unseen_dag_units(cells)]


def _unseen_dag_units(cells: Sequence[Cell]) -> Iterator[Unit]:
    """A unit with an error for each DAG outside of ``%%dag`` cells."""
    codes = [(cell, read_code(cell.source)) for cell in cells if cell.kind == "plain"]
    names = dag_names(code for _, code in codes)
    for cell, code in codes:
        for line, message in unseen_dags(code, names):
            error = SourceError(line=line, message=f"InvalidDag: {message}", cell=cell.shown)
            yield Unit(
                code="", filename=cell.filename, cell=cell.shown, namespace=f"unseen_{cell.index}_{line}", error=error
            )


def read_percent(text: str, path: str) -> Sequence[Unit] | None:
    """Reader of percent-format ``.py`` files. Returns None for a file without a ``# %%dag`` cell."""
    cells = percent_cells(text, path)
    if not any(cell.kind == "dag" for cell in cells):
        return None
    return [unit for source in dag_sources(cells) for unit in source.units(path)]


def notebook_cells(text: str, path: str) -> list[Cell]:
    """The code cells of a notebook, numbered from 1."""
    name = path.rsplit("/", 1)[-1]
    if not text.strip():  # a new notebook of Jupyter is an empty file
        return []
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise TypeError(f"it is a {type(raw).__name__}")
        if "worksheets" in raw:
            raise InvalidDag(
                f"{name} has the old notebook format {raw.get('nbformat', 3)}.", hint="Save it with Jupyter 4."
            )
        sources = [_text(cell["source"]) for cell in raw["cells"] if cell["cell_type"] == "code"]
    except json.JSONDecodeError as error:
        raise InvalidDag(
            f"{name} is not a notebook: {error.msg} at line {error.lineno}.", hint="Save it again."
        ) from None
    except (KeyError, TypeError, RecursionError) as error:
        problem = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidDag(f"{name} is not a notebook: {problem}.", hint="Save it with Jupyter.") from None
    is_version = _is_version(raw)
    labels = _version_labels(sources) if is_version else [f"cell {number}" for number in range(1, len(sources) + 1)]
    file = name if is_version else path  # the path of an unpacked version does not help the user
    return [
        Cell(index=index, name=label, source=source, filename=f"{file}#{label}", shown=label)
        for index, (label, source) in enumerate(zip(labels, sources, strict=True))
    ]


def _version_labels(sources: Sequence[str]) -> list[str]:
    """Names of the cells of a stored version, which does not have the notebook's numbers: they change with every cell
    above."""
    labels: list[str] = []
    for source in sources:
        match = _DAG_LINE.fullmatch(source.partition("\n")[0].rstrip())
        label = f"cell %%dag {(match['rest'] or '').partition(' ')[0]}".rstrip() if match else "cell of imports"
        count = sum(existing.partition(" (")[0] == label for existing in labels)
        labels.append(f"{label} ({count + 1})" if count else label)
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
    """Whether the first line is a ``# %%dag`` line within a prose cell, which may only show an example."""


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
            source = "\n".join(_without_magic_comment(cell_lines))
            cells.append(Cell(index=len(cells), name=name, source=source, filename=path, first_line=start.line))
    return cells


def _without_magic_comment(lines: Sequence[str]) -> list[str]:
    """The lines of a cell, without the comment sign of ``# %%dag`` in the first line that is not empty."""
    first = next((index for index, line in enumerate(lines) if line.strip()), None)
    match = None if first is None else _PERCENT_DAG.match(lines[first].rstrip())
    return [match[1] if match and index == first else line for index, line in enumerate(lines)]


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of the comments at the beginning of a line, without text in strings that looks like a comment."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline=None).readline):
            if token.type == tokenize.COMMENT and token.start[1] == 0:
                yield token.start[0], token.string.rstrip()
    except (tokenize.TokenError, SyntaxError):  # running the last cell gives the error
        return


# -------------------------------------------------------------------------------------------------- code of other cells


@dataclass(slots=True)
class _Binding:
    """The cell that binds a top-level name."""

    cell: Cell
    imports: tuple[tuple[Cell, Import], ...] = ()
    """The imports that bind it; empty if another statement does."""


@dataclass(slots=True)
class _NotebookState:
    """The names, imports and shared cells at some cell of the notebook."""

    names: dict[str, _Binding] = field(default_factory=dict)
    shared: set[int] = field(default_factory=set)
    """Indexes of the shared cells."""
    chosen: dict[int, set[Import]] = field(default_factory=dict)
    """Index of a cell -> its imports that run with every DAG: those that shared cells need, and ``__future__``."""
    stars: list[tuple[Cell, str]] = field(default_factory=list)
    postponed: bool = False
    order: list[tuple[Cell, Code]] = field(default_factory=list)


def dag_sources(cells: Sequence[Cell]) -> list[DagSource]:
    """Every DAG cell of a notebook, with the code that runs with it, or with its error."""
    definitions = {name: cell for cell in reversed(cells) if cell.kind != "other" for name in _defines(cell)}
    sources: list[DagSource] = []
    for state, cell, code in _walk(cells):
        source = _dag_cell(state, cell, code, definitions) if cell.kind == "dag" else None
        if source is not None:
            sources.append(source)
    return sources


def shared_source(cells: Sequence[Cell]) -> DagSource:
    """The source of the last of ``cells``, a ``%%dag --shared`` cell. A name that no cell defines is not an error,
    because a later cell may define it; a name that only a plain cell defines is."""
    *_, (state, cell, code) = _walk(cells)
    error = _not_python_error(cell, code)
    parts = _parts(state, cell, code)
    if error is None:
        plain = {name: binding.cell for name, binding in state.names.items() if binding.cell.index not in state.shared}
        error = _missing_name_error(state, parts, plain, only=plain)
    parts = (*parts[:-1], replace(parts[-1], shared=True))
    return DagSource(cell=cell, magic=CellMagic(shared=True), parts=parts, error=error)


def _walk(cells: Sequence[Cell]) -> Iterator[tuple[_NotebookState, Cell, Code]]:
    """Each cell with its code, and the state of the notebook above it."""
    state = _NotebookState()
    for cell in cells:
        if cell.kind != "other":
            code = read_code(cell.body, postponed_annotations=state.postponed)
            yield state, cell, code
            _update(state, cell, code)


def _defines(cell: Cell) -> frozenset[str]:
    return read_code(cell.body).defined


def _dag_cell(state: _NotebookState, cell: Cell, code: Code, definitions: Mapping[str, Cell]) -> DagSource | None:
    try:
        magic = parse_magic(cell.magic_line)
    except NbflowError as error:
        return DagSource(cell=cell, magic=CellMagic(), error=_source_error(cell, cell.body_line - 1, error))
    syntax_error = _not_python_error(cell, code)
    if syntax_error is not None:
        return DagSource(cell=cell, magic=magic, error=syntax_error)
    if magic.shared:
        _add_shared(state, cell, code)
        return None
    parts = _parts(state, cell, code)
    return DagSource(cell=cell, magic=magic, parts=parts, error=_missing_name_error(state, parts, definitions))


def _not_python_error(cell: Cell, code: Code) -> SourceError | None:
    """The error of a cell that is not plain Python, or has a star import."""
    start = cell.body_line - 1
    if code.error is not None:
        line = start + (code.error.lineno or 1)
        return SourceError(line=line, message=f"SyntaxError: {code.error.msg}", cell=cell.shown)
    if code.magics:
        number, text = code.magics[0]
        instead = "Use BashOperator or @task.bash" if "!" in text[:1] or "= !" in text else "Leave it out"
        error = InvalidDag(
            f"`{text}` is IPython syntax, but the scheduler runs a DAG cell as plain Python.",
            hint=f"{instead}, or move it to another cell.",
        )
        return _source_error(cell, start + number, error)
    if code.star_imports:
        number, text = code.star_imports[0]
        message = f"`{text}` hides which names the DAG cell defines."
        return _source_error(cell, start + number, InvalidDag(message, hint="Import the names that you use."))
    return None


def _add_shared(state: _NotebookState, cell: Cell, code: Code) -> None:
    state.shared.add(cell.index)
    _add_used_imports(state, code, state.chosen)


def _add_used_imports(state: _NotebookState, code: Code, chosen: dict[int, set[Import]]) -> None:
    """Add the imports that ``code`` uses to ``chosen`` (index of the cell -> imports)."""
    for name in code.mentioned - code.defined:
        binding = state.names.get(name)
        for cell, statement in binding.imports if binding is not None else ():
            chosen.setdefault(cell.index, set()).add(statement)


def _update(state: _NotebookState, cell: Cell, code: Code) -> None:
    """Update the state by the names, imports and deletions of a cell."""
    shared = cell.index in state.shared
    state.order.append((cell, code))
    state.stars += [(cell, text) for _, text in code.star_imports]
    if shared or cell.kind == "plain":
        state.postponed = state.postponed or code.postpones
    if cell.kind == "plain":
        futures = {statement for statement in code.imports if statement.future}
        if futures:
            state.chosen.setdefault(cell.index, set()).update(futures)
    for name, statement, bound in code.changes:
        previous = state.names.pop(name, None)
        if not bound:
            continue
        if statement is None or shared:
            state.names[name] = _Binding(cell)
            continue
        earlier = previous.imports if previous is not None and statement.dotted else ()
        if not all(imported.dotted for _, imported in earlier):
            earlier = ()
        state.names[name] = _Binding(cell, (*earlier, (cell, statement)))


def _parts(state: _NotebookState, cell: Cell, code: Code) -> tuple[CellPart, ...]:
    """The code that runs with a DAG cell, and the cell, in the order of the notebook."""
    chosen = {index: set(imports) for index, imports in state.chosen.items()}
    _add_used_imports(state, code, chosen)
    parts = []
    for earlier, earlier_code in state.order:
        if earlier.index in state.shared:
            parts.append(CellPart(cell=earlier, code=earlier_code, shared=True))
        elif used := chosen.get(earlier.index):
            imports = tuple(statement for statement in earlier_code.imports if statement in used)
            parts.append(CellPart(cell=earlier, code=earlier_code, imports=imports))
    parts.append(CellPart(cell=cell, code=code))
    return tuple(parts)


def _imports_at_lines(part: CellPart) -> str:
    """A plain cell's imports, each at its line in the cell."""
    offset = part.cell.body_line - part.cell.first_line
    lines: dict[int, list[str]] = {}
    for statement in part.imports:
        lines.setdefault(statement.line + offset, []).append(statement.text)
    return "\n".join("; ".join(lines.get(number, ())) for number in range(1, max(lines) + 1))


# -------------------------------------------------------------------------------------------------------- missing names


def _missing_name_error(
    state: _NotebookState,
    parts: Sequence[CellPart],
    definitions: Mapping[str, Cell],
    *,
    only: Collection[str] | None = None,
) -> SourceError | None:
    """The error for the first name (of ``only``) that a DAG cell or its helpers use and none of the parts defines.

    ``definitions``: name -> cell of the notebook that defines it."""
    available: set[str] = set()
    for part in parts:
        imported = {name for statement in part.imports for name in statement.names}
        available |= imported if part.imports else part.code.defined
    for part in reversed(parts):
        if part.imports:
            continue
        missing = [name for name in unresolved(part.code, available) if only is None or name in only]
        if missing:
            error = _missing_name(state, part, missing, available, definitions)
            line = part.cell.body_line - 1 + (part.code.line_of(missing[0]) or 1)
            return _source_error(part.cell, line, error)
    return None


def _missing_name(
    state: _NotebookState, part: CellPart, missing: Sequence[str], available: set[str], definitions: Mapping[str, Cell]
) -> InvalidDag:
    name = missing[0]
    also = f" (also {', '.join(map(repr, missing[1:4]))})" if len(missing) > 1 else ""
    binding = state.names.get(name)
    definer = binding.cell if binding is not None else definitions.get(name)
    if binding is None and definer is not None and definer.index < part.cell.index:
        message = f"This cell uses {name!r}, which {definer.name} defines and a later cell deletes{also}."
        return InvalidDag(message, hint="Define it here.")
    if definer is not None and definer.index != part.cell.index:
        below = " below" if binding is None else ""
        above = ", above this one" if binding is None else ""
        share = f"begin {definer.name} with %%dag --shared{above}"
        if definer.kind == "dag":
            share = "move it to a cell that begins with %%dag --shared"
        return InvalidDag(
            f"This cell uses {name!r}, which only {definer.name}{below} defines{also}. A DAG cell must stand alone.",
            hint=f"Define it here, or {share}.",
        )
    if name in IPYTHON_NAMES:
        return InvalidDag(f"This cell uses {name!r}, which only IPython defines{also}.", hint=IPYTHON_NAMES[name])
    if state.stars:
        cell, text = state.stars[-1]
        return InvalidDag(
            f"This cell uses {name!r}, which is not defined{also}; `{text}` of {cell.name} does not run with it.",
            hint=f"Import {name} by name.",
        )
    hint = did_you_mean(name, {*available, *BUILTINS}).strip() or "Define or import it in this cell."
    return InvalidDag(f"This cell uses {name!r}, which is not defined{also}.", hint=hint)


def _source_error(cell: Cell, line: int, error: NbflowError) -> SourceError:
    return SourceError(line=max(line, 1), message=f"{type(error).__name__}: {error}", cell=cell.shown)


# ---------------------------------------------------------------------------------------------------- the DAG of a cell


@contextmanager
def dag_of_cell(
    magic: CellMagic, place: tuple[str, int], path: str, namespace: Mapping[str, Any]
) -> Iterator[DAG | None]:
    """Open the DAG that the line of a ``%%dag`` cell describes, while the body runs.

    If the body defines DAGs itself, these are registered instead. Raises InvalidDag if line and body contradict each
    other, or neither defines a DAG.
    """
    with current_dag.collect_dags() as created:
        if magic.dag_id is None:
            dag = None
            yield None
        else:
            dag = dag_of_magic(magic, place)
            with dag:
                yield dag
    of_body = [other for other in created if other is not dag]
    if of_body and dag is not None:
        _refuse_conflict(dag, of_body, magic)
    elif not of_body:
        _refuse_no_dag(dag, namespace)
    for registered in of_body or [dag]:
        if registered is not None:
            registered.fileloc = path
            current_dag.record_dag(registered)


def dag_of_magic(magic: CellMagic, place: tuple[str, int]) -> DAG:
    """Create the DAG that a ``%%dag`` line describes."""
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


def _refuse_conflict(dag: DAG, of_body: Sequence[DAG], magic: CellMagic) -> None:
    names = ", ".join(repr(dag.dag_id) for dag in of_body)
    if dag.task_dict:
        raise InvalidDag(
            f"The cell defines DAG {names} itself, and the task {dag.task_ids[0]!r} outside of it.",
            hint="Move every task into the DAG, or leave out DAG(...), so that %%dag defines it.",
        )
    if magic.options:
        raise InvalidDag(
            f"The cell defines DAG {names} itself, so {' and '.join(magic.options)} of %%dag would have no effect.",
            hint="Pass it to DAG(...), or leave out DAG(...).",
        )
    if magic.dag_id not in {dag.dag_id for dag in of_body}:
        raise InvalidDag(
            f"%%dag names {magic.dag_id!r}, but the cell defines DAG {names}.", hint="Use the same name in both."
        )


def _refuse_no_dag(dag: DAG | None, namespace: Mapping[str, Any]) -> None:
    for name, value in namespace.items():
        if isinstance(value, DagFactory) and not value.called:
            raise InvalidDag(f"{name} is a @dag function that is never called.", hint=f"Call it: {name}()")
    if dag is None:
        raise InvalidDag("This cell does not define a DAG.", hint="Name it: %%dag NAME --schedule @daily")


# ---------------------------------------------------------------------------------------------------- text of a version

_VERSION_MARK = "version"


def notebook_version_text(text: str) -> str:
    """The part of a notebook's text that defines its DAGs, as a notebook; a version stores it and has its digest.

    A text that is not a notebook is returned as it is.
    """
    try:
        sources = dag_sources(notebook_cells(text, "notebook"))
    except NbflowError:
        return text
    return version_text(sources)


def version_text(sources: Sequence[DagSource]) -> str:
    """The parts of these DAG cells as a notebook, each part once, in the order of the notebook."""
    texts: dict[int, str] = {}
    imports: dict[int, set[Import]] = {}
    for source in sources:
        for part in source.parts if source.error is None else ():
            if part.imports:
                imports.setdefault(part.cell.index, set()).update(part.imports)
            else:
                texts[part.cell.index] = part.text
    for index, statements in imports.items():
        in_order = sorted(statements, key=lambda statement: statement.line)
        texts.setdefault(index, "\n".join(statement.text for statement in in_order))
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": texts[index]}
        for index in sorted(texts)
    ]
    raw = {"cells": cells, "metadata": {"nbflow": _VERSION_MARK}, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(raw, indent=1, sort_keys=True) + "\n"
