"""Loading a DAG file: run its code, collect the DAGs that it defines, and the source texts of their version.

An error in the file becomes a :class:`SourceError` with line and message; loading does not raise it. The user's code
runs in this process and may hang or kill it, so daemons load files only in a child process with a time limit.

``Loaded.files`` is the source of a version (:mod:`nbflow.sources.version_files`). :data:`READERS` maps a suffix to the
function that splits a file's text into :class:`Unit` s of Python code: a ``.py`` file is one unit, a notebook has
several for each DAG cell (:mod:`nbflow.sources.notebooks`)."""

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

from nbflow.error_hints import error_hint
from nbflow.errors import AirflowException, NbflowError
from nbflow.secrets_backends import mask_given
from nbflow.sources.code_units import Reader, SourceError, Unit
from nbflow.sources.version_files import bundle, read_text, real_file, same_on_disk, write_version

if TYPE_CHECKING:
    from nbflow.authoring.compile import CompileOptions
    from nbflow.authoring.dag import DAG
    from nbflow.core.spec import DagSpec

DUPLICATE = "AirflowDagDuplicatedIdException"
"""Beginning of the error of a second DAG with the same id."""
MAX_OUTPUT_CHARACTERS = 64 * 1024
MAX_MESSAGE_CHARACTERS = 500
_NBFLOW_FOLDER = str(Path(__file__).resolve().parents[1]) + os.sep


def read_python(text: str, path: str) -> Sequence[Unit]:
    """Reader of ``.py`` files: modules, and notebooks in the percent format (with ``# %%dag`` cells)."""
    if "%%dag" in text:
        from nbflow.sources.notebooks import read_percent

        cells = read_percent(text, path)
        if cells is not None:
            return cells
    return (Unit(code=text, filename=path),)


def read_notebook(text: str, path: str) -> Sequence[Unit]:
    """Reader of ``.ipynb`` files."""
    from nbflow.sources.notebooks import read_notebook

    return read_notebook(text, path)


#: suffix -> reader.
READERS: dict[str, Reader] = {".py": read_python, ".ipynb": read_notebook}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The result of loading a DAG file. ``specs`` has an entry for each of ``dags``; a DAG with an error is in
    neither."""

    path: str
    dags: tuple[DAG, ...] = ()
    specs: Mapping[str, DagSpec] = field(default_factory=dict)
    import_errors: tuple[SourceError, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    """Path relative to the DAGs folder -> text; the DAG file first."""
    output: str = ""
    """The file's output on stdout and stderr."""
    warnings: tuple[str, ...] = ()
    """"line 12: DeprecationWarning: ..." """
    namespaces: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """The globals of each namespace after its units ran."""


def load_source(
    path: str | os.PathLike[str],
    files: Mapping[str, str] | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    versions_folder: str | os.PathLike[str] | None = None,
    options: CompileOptions | None = None,
    keep_imports: bool = False,
) -> Loaded:
    """Run the DAG file at ``path`` (or the version of it in ``files``) and return its DAGs.

    ``folder``: the DAGs folder, from which modules are imported (default: the file's folder). ``keep_imports``: leave
    the folder on ``sys.path`` and its modules in ``sys.modules``, for tasks that import at run time; only for a process
    that loads one DAG. Does not raise for errors in the file.
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
        return Loaded(path=path, import_errors=(source_error(error, path, ()),))
    return load_units(units, path=path, root=root, text=text, options=options, keep_imports=keep_imports)


def _reader(path: str) -> Reader:
    suffix = os.path.splitext(path)[1]
    if suffix == ".zip":
        raise NbflowError("DAGs in a ZIP file are not supported.", hint="Unpack it into a folder.")
    if suffix not in READERS:
        raise NbflowError(f"{os.path.basename(path)} is not a DAG file.", hint=f"DAG files are {', '.join(READERS)}.")
    return READERS[suffix]


def load_units(
    units: Sequence[Unit],
    *,
    path: str,
    root: str,
    text: str,
    options: CompileOptions | None = None,
    keep_imports: bool = False,
) -> Loaded:
    """Run the units of a file with this ``text``; see :func:`load_source`."""
    output, errors = _LimitedOutput(), []
    registered: list[DAG] = []
    by_namespace: dict[str, list[Unit]] = {}
    for unit in units:
        by_namespace.setdefault(unit.namespace, []).append(unit)
    modules: dict[str, ModuleType] = {}
    with _importing(root, keep_imports=keep_imports) as imported, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            for namespace, members in by_namespace.items():
                modules[namespace] = _new_module(path, namespace)
                dags, error = _execute(members, modules[namespace], units)
                registered += dags
                if error is not None and error not in errors:  # an error in shared code is reported once
                    errors.append(error)
        dags, specs, compile_errors = _compiled(registered, options, units)
        files = bundle(path, root, text, imported(), code=[unit.code for unit in units])
    return Loaded(
        path=path,
        dags=tuple(dags),
        specs=specs,
        import_errors=(*errors, *compile_errors),
        files=files,
        output=mask_given(output.getvalue()),
        warnings=tuple(map(_warning_line, warned)),
        namespaces={namespace: vars(module) for namespace, module in modules.items()},
    )


class _LimitedOutput(io.StringIO):
    """Stores the first MAX_OUTPUT_CHARACTERS of the output, which may be hundreds of megabytes."""

    def write(self, text: str) -> int:
        room = MAX_OUTPUT_CHARACTERS - self.tell()
        if room > 0:
            super().write(text[:room])
        return len(text)


def _new_module(path: str, namespace: str = "") -> ModuleType:
    """A module with a unique name: ``a/etl.py`` and ``b/etl.py`` are different modules, and neither shadows a package
    ``etl``. It stays in ``sys.modules``, where typing and dataclasses look up the module of a class."""
    digest = hashlib.sha256(path.encode()).hexdigest()[:12]
    stem = re.sub(r"\W", "_", os.path.splitext(os.path.basename(path))[0])
    module = ModuleType("_".join(filter(None, ["nbflow_file", digest, stem, namespace])))
    module.__file__ = path
    sys.modules[module.__name__] = module
    return module


@contextlib.contextmanager
def _importing(root: str, *, keep_imports: bool) -> Iterator[Callable[[], list[ModuleType]]]:
    """Import from ``root`` inside the ``with`` block. Yields a function that lists the modules imported from there.

    Without ``keep_imports``, ``sys.path`` and ``sys.modules`` are restored afterwards, so that the next load imports
    edited modules again."""
    before = set(sys.modules)
    path_before = list(sys.path)
    inside = os.path.realpath(root) + os.sep
    sys.path.insert(0, root)

    def from_root() -> list[ModuleType]:
        new = [sys.modules[name] for name in sys.modules.keys() - before]
        return [module for module in new if real_file(module).startswith(inside)]

    try:
        yield from_root
    finally:
        if not keep_imports:
            sys.path[:] = path_before
            for module in from_root():
                if not module.__name__.startswith("nbflow_file_"):
                    sys.modules.pop(module.__name__, None)


def _execute(
    members: Sequence[Unit], module: ModuleType, units: Sequence[Unit]
) -> tuple[list[DAG], SourceError | None]:
    """Run the units of one namespace. Returns the DAGs that it registers, or its error."""
    from nbflow.authoring.current_dag import collect_dags
    from nbflow.authoring.dag import registered_dags

    with collect_dags() as created:
        for unit in members:
            if unit.error is not None:
                return [], unit.error
            try:
                code = compiled(unit)
                with unit.around(vars(module)) if unit.around is not None else contextlib.nullcontext():
                    exec(code, vars(module))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # sys.exit() at import is an error, too
                return [], source_error(error, unit.filename, units, cell=unit.cell)
        return registered_dags(vars(module), created), None


def compiled(unit: Unit) -> CodeType:
    """Compile a unit with the line numbers of its file; tracebacks show its source. Raises SyntaxError."""
    if unit.source:
        import linecache

        lines = io.StringIO(unit.source, newline=None).readlines()  # as Python counts lines
        linecache.cache[unit.filename] = (len(unit.source), None, lines, unit.filename)
    return compile("\n" * (unit.first_line - 1) + unit.code, unit.filename, "exec", dont_inherit=True)


def _compiled(
    registered: Sequence[DAG], options: CompileOptions | None, units: Sequence[Unit]
) -> tuple[list[DAG], dict[str, DagSpec], list[SourceError]]:
    """Compile each DAG. An error in one DAG does not affect the other DAGs of the file."""
    specs: dict[str, DagSpec] = {}
    dags: list[DAG] = []
    errors: list[SourceError] = []
    places: dict[str, tuple[int | None, str | None]] = {}
    for dag in registered:
        line, cell = _line_and_cell(getattr(dag, "place", None), units) or (getattr(dag.place, "line", None), None)
        if dag.dag_id in specs:
            first_line, first_cell = places[dag.dag_id]
            first = " ".join(filter(None, [first_cell, f"line {first_line}" if first_line else ""]))
            message = f"{DUPLICATE}: this file defines the DAG {dag.dag_id!r} twice, first at {first or 'another line'}"
            errors.append(SourceError(line=line, message=message, cell=cell, dag_id=dag.dag_id))
            continue
        places.setdefault(dag.dag_id, (line, cell))
        try:
            specs[dag.dag_id] = dag.to_spec(options)
            dags.append(dag)
        except Exception as first:
            for error in _all_errors(dag, options, first):
                error_line, error_cell = _line_and_cell(getattr(error, "place", None), units) or (line, cell)
                errors.append(
                    SourceError(
                        line=error_line,
                        message=_message(error),
                        detail=_detail(error),
                        cell=error_cell,
                        dag_id=dag.dag_id,
                    )
                )
    return dags, specs, errors


def _all_errors(dag: DAG, options: CompileOptions | None, first: Exception) -> Sequence[Exception]:
    """All errors of a DAG whose compilation raised ``first``."""
    from nbflow.authoring.compile import CompileOptions, compile_errors

    return (isinstance(first, AirflowException) and compile_errors(dag, options or CompileOptions())) or [first]


def _line_and_cell(place: Any, units: Sequence[Unit]) -> tuple[int, str | None] | None:
    """Line and cell of a place in these units; None for a place in another file."""
    return next(((place.line, unit.cell) for unit in units if place is not None and unit.filename == place.file), None)


# --------------------------------------------------------------------------------------------------------------- errors


def source_error(error: BaseException, filename: str, units: Sequence[Unit], *, cell: str | None = None) -> SourceError:
    """Convert an exception that these units raised: the innermost line in them, the message, the user's frames."""
    line: int | None = None
    names = {unit.filename: unit.cell for unit in units} | {filename: cell}
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename in names:  # ends with the innermost line of the DAG file; the detail has the calls below it
            line, cell = frame.lineno, names[frame.filename]
    if isinstance(error, SyntaxError) and error.filename in (None, filename):
        line = error.lineno
    return SourceError(line=line, message=_message(error), detail=_detail(error), cell=cell)


def _message(error: BaseException) -> str:
    """One line: class and message."""
    if isinstance(error, SyntaxError):
        where = f" ({os.path.basename(error.filename)}, line {error.lineno})" if error.filename and error.lineno else ""
        return mask_given(f"{type(error).__name__}: {error.msg}{where}")
    text = mask_given(" ".join(f"{type(error).__name__}: {_text(error)}{error_hint(error)}".split()).rstrip(": "))
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 3] + "..."


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # in a user's __str__
        return f"<str() of it raised {type(failure).__name__}>"


def _detail(error: BaseException) -> str:
    """The traceback without nbflow's frames; only the message if all frames are nbflow's."""
    try:
        trace = traceback.TracebackException.from_exception(error, compact=True)
    except Exception:
        return _message(error)
    _remove_nbflow_frames(trace)
    return mask_given("".join(trace.format()).rstrip())


def _remove_nbflow_frames(trace: traceback.TracebackException) -> None:
    frames = [frame for frame in trace.stack if not frame.filename.startswith((_NBFLOW_FOLDER, "<frozen importlib"))]
    trace.stack = traceback.StackSummary.from_list(frames)
    for related in (trace.__cause__, trace.__context__, *(getattr(trace, "exceptions", None) or ())):
        if related is not None:
            _remove_nbflow_frames(related)


def _warning_line(warning: warnings.WarningMessage) -> str:
    name = os.path.basename(warning.filename)
    return mask_given(f"{name}, line {warning.lineno}: {warning.category.__name__}: {warning.message}")
