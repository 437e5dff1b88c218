"""Parsing DAG files in processes of their own: what a file defines and what is wrong with it, as data.

The processes are those of :mod:`nbflow.execution.template` with another program: a warm base forks a child for each
file; the child runs the file, reports specs, faults and the source bundle, and is gone. So a file that hangs, kills its
process or eats its memory costs its own parse and nothing else, and no user code runs beside the scheduler.

A user's own timetable is asked for its next runs there too, and they are stored with the spec.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from nbflow.core.spec import DagSpec
from nbflow.dag.compile import CompileOptions
from nbflow.execution.loop import Loop
from nbflow.execution.nursery import Child, Gone, Nursery, NurseryOptions, answer_ask
from nbflow.execution.template import Program
from nbflow.store.base import ImportFault

_ROOT = str(Path(__file__).resolve().parents[2])
COMMAND = (
    sys.executable,
    "-P",
    "-c",
    f"import sys; sys.path.append({_ROOT!r})\nfrom nbflow.services.parsing import main; main()",
)


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
    faults: tuple[ImportFault, ...] = ()
    output: str = ""
    seconds: float = 0.0


# ------------------------------------------------------------------------------------------------------- in the child


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """What the child says; it has no DAG to run."""

    content: dict[str, Any]
    dag: None = None

    def report(self) -> dict[str, Any]:
        return self.content


def _parse(source: Mapping[str, Any]) -> _Report:
    from nbflow.dag.loading import load_source

    options = CompileOptions(**source["options"])
    loaded = load_source(source["path"], folder=source["folder"], options=options)
    dags = []
    for dag in loaded.dags:
        spec = _with_recorded_runs(dag, loaded.specs[dag.dag_id], datetime.fromisoformat(source["now"]))
        place = getattr(dag, "place", None)
        dags.append({"spec": spec.to_dict(), "cell": _cell_of(place)})
    faults = [asdict(fault) for fault in loaded.faults]
    return _Report(content={"dags": dags, "files": dict(loaded.files), "faults": faults, "output": loaded.output})


def _cell_of(place: Any) -> str | None:
    """Notebook units are compiled under names like ``path#cell 3``."""
    name = getattr(place, "file", "") or ""
    return name.rpartition("#")[2] if "#cell" in name else None


def _with_recorded_runs(dag: Any, spec: DagSpec, now: datetime) -> DagSpec:
    if spec.schedule.get("kind") != "custom":
        return spec
    from nbflow.core.timetables import RecordedTimetable, TimeRestriction

    restriction = TimeRestriction(spec.start_date, spec.end_date, spec.catchup)
    recorded = RecordedTimetable.record(dag.timetable, None, restriction, now)
    return replace(spec, schedule=recorded.to_spec())


def _no_tries(*_: Any) -> NoReturn:
    raise RuntimeError("this process parses files; it runs no tasks")


def main() -> NoReturn:
    """Entry point of the parsing base."""
    import nbflow.dag.decorators
    import nbflow.dag.loading  # noqa: F401  (once, for all children)
    from nbflow.execution.template import main as serve

    serve(Program(load=_parse, run=_no_tries))


# --------------------------------------------------------------------------------------------------- in the processor


class Parser:
    """Parses files on request; results come by callback from :attr:`loop`."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        answer: Callable[[str, Mapping[str, Any]], Any],
        options: CompileOptions,
        folder: Path,
        seconds: float,
        now: Callable[[], datetime],
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.loop = Loop()
        self.options, self.folder, self.seconds, self.now = options, folder, seconds, now
        self._answer = answer
        nursery = NurseryOptions(environment=environment, command=COMMAND)
        self._nursery = Nursery(self.loop, nursery, answer_parsing=answer, log=log)

    def start(self) -> None:
        """Start the warm base."""
        self._nursery.start()

    def stop(self) -> None:
        """End every process."""
        self._nursery.stop()
        self.loop.close()

    def parse(self, path: str, done: Callable[[Parsed], None]) -> None:
        """Parse one file; ``done`` is called once, from the loop."""
        _Parse(self, path, done).begin()


class _Parse:
    """One file on its way through a child."""

    def __init__(self, parser: Parser, path: str, done: Callable[[Parsed], None]) -> None:
        self.parser, self.path, self.done = parser, path, done
        self.result: Parsed | None = None
        self.began = parser.loop.monotonic()
        self.too_slow = False

    def begin(self) -> None:
        self.parser._nursery.take_spare(self._taken)

    def _taken(self, child: Child | None, lost: str) -> None:
        if child is None:
            self._finish(f"NoProcess: {lost}")
            return
        seconds = self.parser.seconds
        timer = self.parser.loop.after(seconds, lambda: self._give_up(child))
        child.on_message = lambda message, fds: self._heard(child, message)
        child.on_hangup = lambda reason: child.kill(signal.SIGKILL)

        def gone(how: Gone) -> None:
            timer.cancel()
            if self.too_slow:
                self._finish(
                    f"AirflowTaskTimeout: importing the file took longer than {seconds:g} s "
                    "([core] dagbag_import_timeout). Move slow work from the top level into tasks."
                )
            else:
                self._finish(f"ProcessDied: importing the file ended its process: {how.text}")

        child.on_gone = gone
        options = asdict(self.parser.options)
        payload = {
            "path": self.path,
            "folder": str(self.parser.folder),
            "options": options,
            "now": self.parser.now().isoformat(),
        }
        child.send({"load": payload})

    def _give_up(self, child: Child) -> None:
        self.too_slow = True
        child.kill(signal.SIGKILL)

    def _heard(self, child: Child, message: Mapping[str, Any]) -> None:
        if "ask" in message:
            answer_ask(child, dict(message), self.parser._answer)
        elif "loaded" in message:
            self.result = _read(self.path, message["loaded"], self.parser.now())
            child.hang_up()  # it has said all: it ends by itself, and its group with it
            child.kill(signal.SIGKILL)

    def _finish(self, fault: str) -> None:
        parsed = self.result
        if parsed is None:
            error = ImportFault(fileloc=self.path, line=None, error=fault, at=self.parser.now())
            parsed = Parsed(path=self.path, faults=(error,))
        self.done(replace(parsed, seconds=self.parser.loop.monotonic() - self.began))


def _read(path: str, said: Mapping[str, Any], now: datetime) -> Parsed:
    """The report of a child, taken apart. It comes from user code's process: anything odd is a fault of the file."""
    try:
        dags = tuple(ParsedDag(spec=DagSpec.from_dict(one["spec"]), cell=one["cell"]) for one in said["dags"])
        faults = tuple(
            ImportFault(
                fileloc=path,
                line=fault["line"],
                error=fault["error"],
                detail=fault["detail"],
                cell=fault["cell"],
                at=now,
            )
            for fault in said["faults"]
        )
        return Parsed(path=path, dags=dags, files=dict(said["files"]), faults=faults, output=str(said["output"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        fault = ImportFault(fileloc=path, line=None, error=f"the parse gave no readable result: {error}", at=now)
        return Parsed(path=path, faults=(fault,))
