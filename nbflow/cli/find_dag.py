"""Finds the DAG of a command: in a file that the command loads, in the metastore, or in the DAGs folder.

With ``-S FILE``, the file is loaded in this process. Without it, the DAG is read from the metastore, which the
scheduler keeps up to date with the DAGs folder. A DAG that is not in the metastore, since no scheduler has parsed its
file yet, is loaded from the folder, and a note is printed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nbflow.cli import output
from nbflow.errors import DagNotFound, NbflowError, did_you_mean
from nbflow.suggested_commands import SEE_DAGS, START_SCHEDULER, nearest

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG
    from nbflow.cli.invocation import Call
    from nbflow.core.spec import DagSpec
    from nbflow.services.operations import Operations
    from nbflow.sources.code_units import SourceError
    from nbflow.sources.loading import Loaded
    from nbflow.store.base import DagRow, DagVersion


class DagFileError(NbflowError):
    """A DAG file has import errors; the message is the first of them, with its position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DagData:
    """The spec of a DAG and its file. ``version`` is None if this process loaded the DAG from the file."""

    spec: DagSpec
    fileloc: str
    version: DagVersion | None = None


# -------------------------------------------------------------------------------------------- loading in this process


def load(call: Call, path: str | os.PathLike[str], *, keep_imports: bool = False) -> Loaded:
    """Load a DAG file in this process, with access to variables and connections."""
    from nbflow.sources.loading import load_source

    app = call.app
    with app.providing_secrets():
        return load_source(
            path, folder=app.settings.core.dags_folder, options=app.compile_options(), keep_imports=keep_imports
        )


def files_of(call: Call, subdir: str | None) -> list[str]:
    """The file ``subdir``, or the DAG files in the folder ``subdir``; None: the files that a scheduler parses."""
    from nbflow.sources.discovery import configured_dag_files, find_dag_files

    syntax = call.settings.core.dag_ignore_file_syntax
    if subdir is None:
        return configured_dag_files(call.settings)
    path = Path(subdir).expanduser()
    in_dags_folder = call.settings.core.dags_folder / path
    if not path.exists() and not path.is_absolute() and in_dags_folder.exists():
        path = in_dags_folder
    if path.is_dir():
        return find_dag_files(path, syntax)
    if not path.exists():
        raise NbflowError(f"There is no file {subdir}.")
    return [str(path)]


def load_all(call: Call, subdir: str | None) -> Iterator[Loaded]:
    """Load the DAG files of ``subdir``; None: the files that a scheduler parses."""
    return (load(call, path) for path in dag_files_of(call, subdir))


def dag_files_of(call: Call, subdir: str | None) -> list[str]:
    """The files of :func:`files_of`, without files of a folder that cannot define DAGs."""
    from nbflow.sources.discovery import is_dag_file

    is_file = subdir is not None and not Path(subdir).is_dir()
    return [path for path in files_of(call, subdir) if is_file or is_dag_file(path)]


def error_lines(path: str, import_errors: Iterable[SourceError]) -> list[str]:
    """``file:line: message`` of each error."""
    return [f"{position_of(path, error.line, error.cell)}: {error.message}" for error in import_errors]


def position_of(path: str, line: int | None, cell: str | None = None) -> str:
    """``file:12``, or ``file cell 3:12`` in a notebook."""
    source = path if cell is None else f"{path} {cell}"
    return source if line is None else f"{source}:{line}"


def dag_of(call: Call, dag_id: str, subdir: str | None) -> tuple[DAG, Loaded]:
    """The DAG as an object, to run its code in this process. Raises DagFileError or DagNotFound."""
    for path, version in _candidates(call, dag_id, subdir):
        loaded = load(call, path, keep_imports=True) if version is None else _load_version(call, version)
        for dag in loaded.dags:
            if dag.dag_id == dag_id:
                _refuse_second_definition(call, dag_id, loaded, subdir)
                return dag, loaded
        errors = [error for error in loaded.import_errors if error.dag_id in (None, dag_id)]
        if errors and (subdir is not None or version is not None or mentions(path, dag_id)):
            raise DagFileError(f"{error_lines(loaded.path, errors)[0]}")
    raise _not_found(call, dag_id, subdir)


def _refuse_second_definition(call: Call, dag_id: str, loaded: Loaded, subdir: str | None) -> None:
    """Raise DagFileError if this file, or another file of the folder ``subdir``, defines the DAG again."""
    from nbflow.sources.loading import DUPLICATE

    twice = [error for error in loaded.import_errors if error.dag_id == dag_id and error.message.startswith(DUPLICATE)]
    if twice:
        raise DagFileError(error_lines(loaded.path, twice)[0])
    others = (
        [path for path in files_of(call, subdir) if path != loaded.path and mentions(path, dag_id)] if subdir else []
    )
    for path in others:
        if any(dag.dag_id == dag_id for dag in load(call, path).dags):
            raise DagFileError(
                f"{DUPLICATE}: both {loaded.path} and {path} define the DAG {dag_id!r}.",
                hint="Pass one of the files with -S, or rename one of the DAGs.",
            )


def _candidates(call: Call, dag_id: str, subdir: str | None) -> Iterator[tuple[str, DagVersion | None]]:
    """(path, None) for files on disk, the most likely first; (path, version) for a version whose file was deleted."""
    if subdir is not None:
        yield from ((path, None) for path in files_of(call, subdir))
        return
    version = call.app.store.version(dag_id)
    if version is not None and Path(version.fileloc).is_file():
        yield version.fileloc, None
        return
    if version is not None and version.files:
        yield version.fileloc, version
        return
    paths = files_of(call, None)
    yield from ((path, None) for path in sorted(paths, key=lambda path: not mentions(path, dag_id)))


def _load_version(call: Call, version: DagVersion) -> Loaded:
    with call.app.providing_secrets():
        return call.app.load_version(version, keep_imports=True).loaded


def mentions(path: str, dag_id: str) -> bool:
    """Whether the text of a file contains the id."""
    try:
        return dag_id in Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _not_found(call: Call, dag_id: str, subdir: str | None) -> DagNotFound:
    if subdir is not None:
        names = [dag.dag_id for path in files_of(call, subdir) for dag in load(call, path).dags]
        hint = did_you_mean(dag_id, names).strip() or f"It defines: {', '.join(names) or 'no DAG'}."
        return DagNotFound(f"{subdir} defines no DAG {dag_id!r}.", hint=hint)
    known = [row.dag_id for row in call.app.store.dags(include_stale=True)]
    return DagNotFound(f"There is no DAG {dag_id!r}.", **nearest(dag_id, known, *SEE_DAGS))


# ------------------------------------------------------------------------------------------------- read-only commands


def find(call: Call, dag_id: str, subdir: str | None) -> DagData:
    """The spec of a DAG, for read-only commands. Raises DagFileError or DagNotFound."""
    if subdir is None:
        version = call.app.store.version(dag_id)
        if version is not None:
            return DagData(spec=version.spec, fileloc=version.fileloc, version=version)
    _, loaded = dag_of(call, dag_id, subdir)
    if subdir is None:
        output.note(f"DAG {dag_id} is not in the metastore yet; it was loaded from {loaded.path}.")
    return DagData(spec=loaded.specs[dag_id], fileloc=loaded.path)


def note_unparsed_files(call: Call) -> None:
    """Print a note if no scheduler is running and there are DAG files that have not been parsed yet, so that a listing
    of the metastore lacks their DAGs."""
    if unparsed := unparsed_files(call):
        files, verb = ("1 new file", "has") if len(unparsed) == 1 else (f"{len(unparsed)} new files", "have")
        folder = call.settings.core.dags_folder
        place = f" in {folder}" if all(Path(path).is_relative_to(folder) for path in unparsed) else ""
        output.note(
            f"{files}{place} {verb} not been parsed yet: no scheduler is running. "
            f"Start one with: {START_SCHEDULER}. Or add --local."
        )


def unparsed_files(call: Call) -> list[str]:
    """DAG files that have not been parsed yet; empty while a scheduler is running, since it will parse them."""
    from nbflow.services.schedulers import running_schedulers
    from nbflow.sources.discovery import is_dag_file

    store = call.app.store
    if running_schedulers(store, call.settings, call.now()):
        return []
    parsed = {row.fileloc for row in store.dags(include_stale=True)}
    parsed |= {error.fileloc for error in store.import_errors()}
    return [path for path in files_of(call, None) if path not in parsed and is_dag_file(path)]


# -------------------------------------------------------------------------------------------------------- registration


def stored_version(call: Call, dag_id: str, subdir: str | None) -> DagVersion:
    """The version of the DAG for a command that changes the metastore. With ``-S``, the file is stored as a version for
    single runs; the scheduled version does not change. A DAG that is not in the metastore is first loaded from the DAGs
    folder."""
    store = call.app.store
    if subdir is not None:
        return _store_file(call, dag_id, subdir)
    version = store.version(dag_id)
    if version is None:
        _, loaded = dag_of(call, dag_id, None)
        output.note(f"DAG {dag_id} was not in the metastore yet; it was loaded from {loaded.path}.")
        version = store.version(dag_id) or register(call, loaded, [dag_id])[0]
    return version


def schedule_from_folder(call: Call, dag_id: str) -> bool:
    """Schedule a DAG that was registered only for single runs (``dags test``, ``dags trigger -S``), if a file in the
    DAGs folder defines it. Returns whether there is such a file."""
    for path in files_of(call, None):
        if mentions(path, dag_id):
            loaded = load(call, path)
            if dag_id in loaded.specs:
                register(call, loaded, [dag_id])
                return True
    return False


@dataclass(frozen=True, slots=True)
class FolderDags:
    """Looks up DAGs: first in the metastore, then in the DAGs folder."""

    call: Call

    def version(self, dag_id: str) -> DagVersion:
        return stored_version(self.call, dag_id, getattr(self.call.args, "subdir", None))

    def operations_on(self, version: DagVersion) -> Operations:
        return self.call.operations

    def scheduled(self, dag_id: str) -> DagRow:
        store = self.call.app.store
        stored_version(self.call, dag_id, None)
        row = store.dag(dag_id) or (schedule_from_folder(self.call, dag_id) and store.dag(dag_id))
        if not row:
            raise NbflowError(
                f"DAG {dag_id} is not scheduled: it was registered only for single runs.",
                hint="Save its file in the DAGs folder.",
            )
        return row


def _store_file(call: Call, dag_id: str, subdir: str) -> DagVersion:
    from nbflow.services.dag_registration import register_unscheduled
    from nbflow.store.base import DagVersion

    _, loaded = dag_of(call, dag_id, subdir)
    version = DagVersion(dag_id=dag_id, spec=loaded.specs[dag_id], fileloc=loaded.path, files=loaded.files)
    return register_unscheduled(call.app.store, version, call.now())


def register(call: Call, loaded: Loaded, dag_ids: Sequence[str]) -> list[DagVersion]:
    """Register and schedule DAGs of a file in the DAGs folder, as the DAG processor does for a new file."""
    from nbflow.services.dag_registration import register_scheduled
    from nbflow.store.base import DagVersion

    app, now = call.app, call.now()
    versions = [
        DagVersion(dag_id=dag_id, spec=loaded.specs[dag_id], fileloc=loaded.path, files=loaded.files)
        for dag_id in dag_ids
    ]
    return [register_scheduled(app.store, version, app.settings, now) for version in versions]
