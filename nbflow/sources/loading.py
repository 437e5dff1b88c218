"""From a DAG file to DAG objects: run the source, collect what it defines, keep the text it came from.

Whatever the user got wrong becomes a :class:`Fault` with file, line and gist; it never comes out as an exception of
ours. What can hang or kill a process (it is the user's code that runs here) is the caller's affair: daemons load only
in a process that is forked for it and has a time limit.

``Loaded.files`` is all that a version needs to be run again; :mod:`nbflow.sources.version_source` says how.
:data:`READERS` maps a suffix to the function that turns a file's text into :class:`Unit` s of Python, each with the
place that it came from: a ``.py`` file is one unit, a notebook some for each of its DAG cells
(:mod:`nbflow.sources.notebooks`)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from nbflow.airflow_names import advice
from nbflow.errors import AirflowException, NbflowError
from nbflow.sources.version_source import bundle, read_text, real_file, same_on_disk, write_version

if TYPE_CHECKING:
    from nbflow.authoring.compile import CompileOptions
    from nbflow.authoring.dag import DAG
    from nbflow.core.spec import DagSpec

MOST_OUTPUT_CHARACTERS = 64 * 1024
MOST_GIST_CHARACTERS = 500
_OURS = str(Path(__file__).resolve().parents[1]) + os.sep


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A mistake in a DAG file, as data. ``line`` counts from 1 in the DAG file (or in ``cell``)."""

    line: int | None
    error: str
    """One line: the exception's class and gist."""
    detail: str = ""
    """The user's part of the traceback."""
    cell: str | None = None
    dag_id: str | None = None
    """Where only this DAG of the file is concerned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A piece of Python and where it stands. ``filename`` is what tracebacks show."""

    code: str
    filename: str
    first_line: int = 1
    """Line of the file (or cell) at which ``code`` begins."""
    cell: str | None = None
    """Of a notebook: which cell, for people ("cell 3")."""
    namespace: str = ""
    """Units of one namespace share their globals, and share none with others; a fault ends its own namespace only."""
    around: Callable[[Mapping[str, object]], contextlib.AbstractContextManager[object]] | None = None
    """Makes what is entered while the code runs; it is given the globals."""
    source: str = ""
    """The whole text behind ``filename``, where that is no file."""
    fault: Fault | None = None
    """Why the reader refuses it: it is reported, and does not run."""


Reader = Callable[[str, str], Sequence[Unit]]
"""(text, path) -> units. Raises SyntaxError or NbflowError for a file that cannot be read."""


def read_python(text: str, path: str) -> Sequence[Unit]:
    """A module; or, with ``# %%dag`` cells, a notebook in the percent format."""
    if "%%dag" in text:
        from nbflow.sources.notebooks import read_percent

        cells = read_percent(text, path)
        if cells is not None:
            return cells
    return (Unit(code=text, filename=path),)


def read_notebook(text: str, path: str) -> Sequence[Unit]:
    from nbflow.sources.notebooks import read_notebook

    return read_notebook(text, path)


#: suffix -> reader. A new kind of DAG file is a line here.
READERS: dict[str, Reader] = {".py": read_python, ".ipynb": read_notebook}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a DAG file gave. ``specs`` has one entry for each of ``dags``; a DAG with a fault is in neither."""

    path: str
    dags: tuple[DAG, ...] = ()
    specs: Mapping[str, DagSpec] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    """Path relative to the DAGs folder -> text; the DAG file first."""
    output: str = ""
    """What the file printed."""
    warnings: tuple[str, ...] = ()
    """"line 12: DeprecationWarning: ..." """
    namespaces: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """The globals of each namespace after it ran."""


def load_source(
    path: str | os.PathLike[str],
    files: Mapping[str, str] | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    versions_folder: str | os.PathLike[str] | None = None,
    options: CompileOptions | None = None,
    keep: bool = False,
) -> Loaded:
    """Run the DAG file at ``path`` (or the version of it in ``files``) and return what it defines.

    ``folder``: the DAGs folder; modules are imported from it (default: the file's own folder). ``keep``: leave the
    folder on ``sys.path`` and its modules in ``sys.modules``, for code that imports while its tasks run: in a process
    that loads one DAG only. Never raises for what is wrong with the file.
    """
    path = os.path.abspath(path) if not str(path).startswith("<") else str(path)
    root = os.path.abspath(folder) if folder is not None else os.path.dirname(path)
    if not os.path.realpath(path).startswith(os.path.realpath(root) + os.sep):
        root = os.path.dirname(path)
    try:
        if files and not same_on_disk(path, root, files):
            path, root = write_version(files, versions_folder)
        reader = _reader(path)
        text = read_text(path)
        units = reader(text, path)
    except (OSError, SyntaxError, ValueError, NbflowError) as error:
        return Loaded(path=path, faults=(fault_from(error, path, ()),))
    return load_units(units, path=path, root=root, text=text, options=options, keep=keep)


def _reader(path: str) -> Reader:
    suffix = os.path.splitext(path)[1]
    if suffix == ".zip":
        raise NbflowError("DAGs in a ZIP file are not read.", hint="Unpack it into a folder.")
    if suffix not in READERS:
        raise NbflowError(f"{os.path.basename(path)} is no DAG file.", hint=f"Known kinds: {', '.join(READERS)}.")
    return READERS[suffix]


def load_units(
    units: Sequence[Unit],
    *,
    path: str,
    root: str,
    text: str,
    options: CompileOptions | None = None,
    keep: bool = False,
) -> Loaded:
    """Run what a reader made of a file's ``text``; see :func:`load_source`."""
    printed, faults = _Printed(), []
    found: list[DAG] = []
    spaces: dict[str, list[Unit]] = {}
    for unit in units:
        spaces.setdefault(unit.namespace, []).append(unit)
    modules: dict[str, ModuleType] = {}
    with _importing(root, keep=keep) as imported, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            for space, members in spaces.items():
                modules[space] = _new_module(path, space)
                dags, fault = _execute(members, modules[space], units)
                found += dags
                if fault is not None and fault not in faults:  # a fault of shared code is one, however many share it
                    faults.append(fault)
        dags, specs, wrong = _compiled(found, options, units)
        files = bundle(path, root, text, imported(), code=[unit.code for unit in units])
    return Loaded(
        path=path,
        dags=tuple(dags),
        specs=specs,
        faults=(*faults, *wrong),
        files=files,
        output=printed.getvalue(),
        warnings=tuple(_warning(one) for one in warned),
        namespaces={space: vars(module) for space, module in modules.items()},
    )


class _Printed(io.StringIO):
    """What a file prints, as far as anybody will read it: it may be hundreds of megabytes."""

    def write(self, text: str) -> int:
        room = MOST_OUTPUT_CHARACTERS - self.tell()
        if room > 0:
            super().write(text[:room])
        return len(text)


def _new_module(path: str, space: str = "") -> ModuleType:
    """A module with a name of its own: two files ``a/etl.py`` and ``b/etl.py`` are two modules, and neither shadows a
    package called ``etl``. It stays in ``sys.modules``, where typing and dataclasses look a class's module up."""
    digest = hashlib.sha256(path.encode()).hexdigest()[:12]
    stem = re.sub(r"\W", "_", os.path.splitext(os.path.basename(path))[0])
    module = ModuleType("_".join(filter(None, ["nbflow_file", digest, stem, space])))
    module.__file__ = path
    sys.modules[module.__name__] = module
    return module


@contextlib.contextmanager
def _importing(root: str, *, keep: bool) -> Iterator[Callable[[], list[ModuleType]]]:
    """Import from ``root`` inside the ``with`` block; yields what lists the modules that came from there.

    Without ``keep``, ``sys.path`` and ``sys.modules`` are put back afterwards, so that the next load sees what was
    edited meanwhile."""
    before = set(sys.modules)
    path_before = list(sys.path)
    inside = os.path.realpath(root) + os.sep
    sys.path.insert(0, root)

    def from_root() -> list[ModuleType]:
        fresh = [sys.modules[name] for name in sys.modules.keys() - before]
        return [module for module in fresh if real_file(module).startswith(inside)]

    try:
        yield from_root
    finally:
        if not keep:
            sys.path[:] = path_before
            for module in from_root():
                if not module.__name__.startswith("nbflow_file_"):
                    sys.modules.pop(module.__name__, None)


def _execute(members: Sequence[Unit], module: ModuleType, units: Sequence[Unit]) -> tuple[list[DAG], Fault | None]:
    """Run the units of one namespace; returns the DAGs that it registers, or what is wrong with it."""
    from nbflow.authoring.current_dag import collect_dags
    from nbflow.authoring.dag import registered_dags

    with collect_dags() as made:
        for unit in members:
            if unit.fault is not None:
                return [], unit.fault
            try:
                code = compiled(unit)
                with unit.around(vars(module)) if unit.around is not None else contextlib.nullcontext():
                    exec(code, vars(module))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # sys.exit() at import is a mistake of the file's, too
                return [], fault_from(error, unit.filename, units, cell=unit.cell)
        return registered_dags(vars(module), made), None


def compiled(unit: Unit) -> CodeType:
    """The code of a unit, at its lines; tracebacks will show its source. Raises SyntaxError."""
    if unit.source:
        import linecache

        lines = io.StringIO(unit.source, newline=None).readlines()  # as Python counts lines
        linecache.cache[unit.filename] = (len(unit.source), None, lines, unit.filename)
    return compile("\n" * (unit.first_line - 1) + unit.code, unit.filename, "exec", dont_inherit=True)


def _compiled(
    found: Sequence[DAG], options: CompileOptions | None, units: Sequence[Unit]
) -> tuple[list[DAG], dict[str, DagSpec], list[Fault]]:
    """Check each DAG by itself: a mistake in one does not take the others of the file along."""
    specs: dict[str, DagSpec] = {}
    dags: list[DAG] = []
    faults: list[Fault] = []
    for dag in found:
        line, cell = _where(getattr(dag, "place", None), units) or (getattr(dag.place, "line", None), None)
        if dag.dag_id in specs:
            error = f"AirflowDagDuplicatedIdException: this file defines the DAG {dag.dag_id!r} twice"
            faults.append(Fault(line=line, error=error, cell=cell, dag_id=dag.dag_id))
            continue
        try:
            specs[dag.dag_id] = dag.to_spec(options)
            dags.append(dag)
        except Exception as first:
            for one in _all_faults(dag, options, first):
                at, of = _where(getattr(one, "place", None), units) or (line, cell)
                faults.append(Fault(line=at, error=_gist(one), detail=_detail(one), cell=of, dag_id=dag.dag_id))
    return dags, specs, faults


def _all_faults(dag: DAG, options: CompileOptions | None, first: Exception) -> Sequence[Exception]:
    """What kept the DAG from being compiled, and whatever else would have."""
    from nbflow.authoring.compile import CompileOptions, compile_errors

    return (isinstance(first, AirflowException) and compile_errors(dag, options or CompileOptions())) or [first]


def _where(place: Any, units: Sequence[Unit]) -> tuple[int, str | None] | None:
    """Line and cell of a place in this file; None for a place elsewhere."""
    return next(((place.line, unit.cell) for unit in units if place is not None and unit.filename == place.file), None)


# --------------------------------------------------------------------------------------------------------------- faults


def fault_from(error: BaseException, filename: str, units: Sequence[Unit], *, cell: str | None = None) -> Fault:
    """An error that came out of these units as a fault: its innermost line among them, its gist, the user's frames."""
    line: int | None = None
    names = {unit.filename: unit.cell for unit in units} | {filename: cell}
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename in names:  # the innermost line of the DAG file; what it called lies in the detail
            line, cell = frame.lineno, names[frame.filename]
    if isinstance(error, SyntaxError) and error.filename in (None, filename):
        line = error.lineno
    return Fault(line=line, error=_gist(error), detail=_detail(error), cell=cell)


def _gist(error: BaseException) -> str:
    """One line: class and message."""
    if isinstance(error, SyntaxError):
        where = f" ({os.path.basename(error.filename)}, line {error.lineno})" if error.filename and error.lineno else ""
        return f"{type(error).__name__}: {error.msg}{where}"
    text = " ".join(f"{type(error).__name__}: {_text(error)}{advice(error)}".split()).rstrip(": ")
    return text if len(text) <= MOST_GIST_CHARACTERS else text[: MOST_GIST_CHARACTERS - 3] + "..."


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:  # a __str__ of the user's own
        return f"<its text could not be made: {type(fault).__name__}>"


def _detail(error: BaseException) -> str:
    """The traceback, our own frames left out; nothing but the message where all frames are ours."""
    try:
        whole = traceback.TracebackException.from_exception(error, compact=True)
    except Exception:
        return _gist(error)
    _strip(whole)
    return "".join(whole.format()).rstrip()


def _strip(one: traceback.TracebackException) -> None:
    users = [frame for frame in one.stack if not frame.filename.startswith((_OURS, "<frozen importlib"))]
    one.stack = traceback.StackSummary.from_list(users)
    for other in (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())):
        if other is not None:
            _strip(other)


def _warning(one: warnings.WarningMessage) -> str:
    return f"{os.path.basename(one.filename)}, line {one.lineno}: {one.category.__name__}: {one.message}"
