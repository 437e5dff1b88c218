"""Parsing DAG files in processes of their own: what a file defines and what is wrong with it, as data.

Each file is an job (:mod:`nbflow.services.subprocess_jobs`): a child runs it, reports specs, faults and the source
bundle, and is gone. So a file that hangs, kills its process or eats its memory costs its own parse and nothing else.

A user's own timetable is asked for its next runs there too, and they are stored with the spec.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nbflow.authoring.compile import CompileOptions
from nbflow.core.spec import DagSpec
from nbflow.core.timetables import DataInterval, RecordedTimetable, TimeRestriction
from nbflow.services.subprocess_jobs import JobResult, SubprocessJobs
from nbflow.sources.discovery import is_dag_file
from nbflow.sources.loading import load_source
from nbflow.store.base import DagImportError


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDag:
    """One DAG of a file."""

    spec: DagSpec
    cell: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What parsing a file gave."""

    path: str
    dags: tuple[ParsedDag, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[DagImportError, ...] = ()
    output: str = ""


# ------------------------------------------------------------------------------------------------------- in the child


def parse(source: Mapping[str, Any]) -> dict[str, Any]:
    """In the child: run the file and say what it gave. Never raises for a mistake of the file's."""
    if not is_dag_file(source["path"]):
        return {"dags": [], "files": {}, "import_errors": [], "output": ""}
    options = CompileOptions(**source["options"])
    loaded = load_source(source["path"], folder=source["folder"], options=options)
    dags = []
    for dag in loaded.dags:
        spec = with_recorded_runs(
            dag, loaded.specs[dag.dag_id], datetime.fromisoformat(source["now"]), source["last"].get(dag.dag_id)
        )
        place = getattr(dag, "place", None)
        dags.append({"spec": spec.to_dict(), "cell": _cell_of(place)})
    import_errors = [asdict(error) for error in loaded.import_errors]
    return {"dags": dags, "files": dict(loaded.files), "import_errors": import_errors, "output": loaded.output}


def _cell_of(place: Any) -> str | None:
    """Notebook units are compiled under names like ``path#cell 3``."""
    name = getattr(place, "file", "") or ""
    return name.rpartition("#")[2] if "#cell" in name else None


def with_recorded_runs(dag: Any, spec: DagSpec, now: datetime, last: Sequence[str] | None = None) -> DagSpec:
    """The spec of a DAG with a timetable of the user's, and in it the runs to come; any other spec as it is.

    To be called where user code may run. ``last``: start and end (ISO 8601) of its last scheduled run's interval.
    """
    if spec.schedule.get("kind") != "custom":
        return spec
    restriction = TimeRestriction(spec.start_date, spec.end_date, spec.catchup)
    after = DataInterval(*map(datetime.fromisoformat, last)) if last else None
    recorded = RecordedTimetable.record(dag.timetable, after, restriction, now)
    return replace(spec, schedule=recorded.to_spec())


# --------------------------------------------------------------------------------------------------- in the processor


class Parser:
    """Parses files on request; results come by callback from the subprocess jobs' loop."""

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
        self, path: str, done: Callable[[Parsed], None], *, last: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Parse one file; ``done`` is called once. ``last``: dag_id -> interval of the last scheduled run, for DAGs
        with a timetable of the user's."""
        payload = {
            "job": "parse",
            "path": path,
            "folder": str(self.folder),
            "options": asdict(self.options),
            "now": self.now().isoformat(),
            "last": last or {},
        }
        self.subprocess_jobs.send(payload, seconds=self.seconds, done=lambda end: done(self._parsed(path, end)))

    def _parsed(self, path: str, end: JobResult) -> Parsed:
        if end.result is not None:
            return _read(path, end.result, self.now())
        error = f"ProcessDied: importing the file ended its process: {end.fault}"
        if end.too_slow:
            error = (
                f"AirflowTaskTimeout: importing the file took longer than {self.seconds:g} s "
                "([core] dagbag_import_timeout). Move slow work from the top level into tasks."
            )
        return Parsed(path=path, faults=(DagImportError(fileloc=path, line=None, error=error, at=self.now()),))


def _read(path: str, said: Mapping[str, Any], now: datetime) -> Parsed:
    """The report of a child, taken apart. It comes from user code's process: anything odd is a fault of the file."""
    try:
        dags = tuple(ParsedDag(spec=DagSpec.from_dict(one["spec"]), cell=one["cell"]) for one in said["dags"])
        faults = tuple(
            DagImportError(
                fileloc=path,
                line=error["line"],
                error=error["message"],
                detail=error["detail"],
                cell=error["cell"],
                at=now,
            )
            for error in said["import_errors"]
        )
        return Parsed(path=path, dags=dags, files=dict(said["files"]), faults=faults, output=str(said["output"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        fault = DagImportError(fileloc=path, line=None, error=f"the parse gave no readable result: {error}", at=now)
        return Parsed(path=path, faults=(fault,))
