"""Parsing DAG files in subprocesses: the DAGs of a file and its import errors, as data.

Each file is a job (:mod:`nbflow.services.subprocess_jobs`): a subprocess imports the file, reports specs, import errors
and the source files, and exits. So a file that hangs, kills its process or exhausts its memory affects only its own
parse.

The subprocess also computes the next runs of a custom timetable, which are stored with the spec.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import nbflow
from nbflow.authoring.compile import CompileOptions
from nbflow.core.spec import DagSpec
from nbflow.core.timetables import DataInterval, RecordedTimetable, TimeRestriction
from nbflow.errors import AirflowTimetableInvalid, shortened
from nbflow.services.subprocess_jobs import JobResult, SubprocessJobs
from nbflow.sources.code_units import SourceError
from nbflow.sources.discovery import is_dag_file
from nbflow.sources.loading import load_source
from nbflow.store.base import DagImportError


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDag:
    """One DAG of a file."""

    spec: DagSpec
    cell: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseResult:
    """The DAGs and import errors of a file. ``files``: relative path -> text, the file itself first."""

    path: str
    dags: tuple[ParsedDag, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    import_errors: tuple[DagImportError, ...] = ()
    output: str = ""


# -------------------------------------------------------------------------------------------------- in the subprocess


def parse(source: Mapping[str, Any]) -> dict[str, Any]:
    """In the subprocess: import the file and report its DAGs and import errors. Never raises for an error of the
    file."""
    if not is_dag_file(source["path"]):
        return {"dags": [], "files": {}, "import_errors": [], "output": ""}
    options = CompileOptions(**source["options"])
    loaded = load_source(source["path"], folder=source["folder"], options=options)
    dags, import_errors = [], [asdict(error) for error in loaded.import_errors]
    now = datetime.fromisoformat(source["now"])
    for dag in loaded.dags:
        place = getattr(dag, "place", None)
        try:
            spec = with_recorded_runs(dag, loaded.specs[dag.dag_id], now, source["last"].get(dag.dag_id))
        except AirflowTimetableInvalid as error:
            line = error.place[1] if error.place and error.place[0] == getattr(place, "file", "") else None
            line = line or getattr(place, "line", None)
            text = f"{type(error).__name__}: {error}"
            failure = SourceError(line=line, message=text, detail=text, cell=_cell_of(place), dag_id=dag.dag_id)
            import_errors.append(asdict(failure))
            continue
        dags.append({"spec": spec.to_dict(), "cell": _cell_of(place)})
    return {"dags": dags, "files": dict(loaded.files), "import_errors": import_errors, "output": loaded.output}


def _cell_of(place: Any) -> str | None:
    """The cell of a DAG in a notebook, whose cells are compiled under names like ``path#cell 3``."""
    name = getattr(place, "file", "") or ""
    return name.rpartition("#")[2] if "#cell" in name else None


def with_recorded_runs(dag: Any, spec: DagSpec, now: datetime, last: Sequence[str] | None = None) -> DagSpec:
    """The spec of a DAG with a custom timetable, with the timetable's next runs; any other spec unchanged.

    Calls user code. ``last``: start and end (ISO 8601) of the last scheduled run's data interval. Raises
    AirflowTimetableInvalid, which names the line that raised, for any error of the timetable.
    """
    if spec.schedule.get("kind") != "custom":
        return spec
    restriction = TimeRestriction(spec.start_date, spec.end_date, spec.catchup)
    after = DataInterval(*map(datetime.fromisoformat, last)) if last else None
    try:
        recorded = RecordedTimetable.record(dag.timetable, after, restriction, now)
        return replace(spec, schedule=recorded.to_spec())
    except (Exception, SystemExit) as error:
        raise _timetable_error(dag, error) from error


def _timetable_error(dag: Any, error: BaseException) -> AirflowTimetableInvalid:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_NBFLOW)]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    text = shortened(" ".join(f"{type(error).__name__}: {error}".split()), MAX_TIMETABLE_ERROR)
    name = type(getattr(dag, "schedule", None)).__name__
    failure = AirflowTimetableInvalid(f"The timetable {name} of DAG {dag.dag_id!r} raised {text}{where}.")
    failure.place = (frames[-1].filename, frames[-1].lineno) if frames else None
    return failure


_NBFLOW = os.path.dirname(nbflow.__file__) + os.sep
MAX_TIMETABLE_ERROR = 300
"""Maximum length of the shown error of a timetable, in characters."""


# ------------------------------------------------------------------------------------------------ in the DAG processor


class Parser:
    """Parses files as subprocess jobs, whose event loop calls back with the results."""

    def __init__(
        self,
        subprocess_jobs: SubprocessJobs,
        *,
        options: CompileOptions,
        folder: Path,
        seconds: float,
        now: Callable[[], datetime],
    ) -> None:
        self.subprocess_jobs, self.options, self.folder, self.seconds, self.now = (
            subprocess_jobs,
            options,
            folder,
            seconds,
            now,
        )

    def parse(
        self, path: str, done: Callable[[ParseResult], None], *, last: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Parse one file; ``done`` is called once. ``last``: dag_id -> data interval of the last scheduled run, for
        DAGs with a custom timetable."""
        payload = {
            "job": "parse",
            "path": path,
            "folder": str(self.folder),
            "options": asdict(self.options),
            "now": self.now().isoformat(),
            "last": last or {},
        }
        self.subprocess_jobs.send(
            payload, seconds=self.seconds, done=lambda result: done(self._parse_result(path, result))
        )

    def _parse_result(self, path: str, result: JobResult) -> ParseResult:
        if result.content is not None:
            return _read(path, result.content, self.now())
        error = f"ProcessDied: importing the file ended its process: {result.error}"
        if result.timed_out:
            error = (
                f"AirflowTaskTimeout: importing the file took longer than {self.seconds:g} s "
                "([core] dagbag_import_timeout). Move slow work from the top level into tasks."
            )
        import_error = DagImportError(fileloc=path, line=None, error=error, at=self.now())
        return ParseResult(path=path, import_errors=(import_error,))


def _read(path: str, content: Mapping[str, Any], now: datetime) -> ParseResult:
    """The parse result from a subprocess's report. User code ran in that process, so an invalid report is an import
    error of the file."""
    try:
        dags = tuple(ParsedDag(spec=DagSpec.from_dict(dag["spec"]), cell=dag["cell"]) for dag in content["dags"])
        import_errors = tuple(
            DagImportError(
                fileloc=path,
                line=error["line"],
                error=error["message"],
                detail=error["detail"],
                cell=error["cell"],
                at=now,
            )
            for error in content["import_errors"]
        )
        files, output = dict(content["files"]), str(content["output"])
        return ParseResult(path=path, dags=dags, files=files, import_errors=import_errors, output=output)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"the subprocess that parsed the file returned an invalid result: {error}"
        invalid = DagImportError(fileloc=path, line=None, error=message, at=now)
        return ParseResult(path=path, import_errors=(invalid,))
