"""The log of one try of a task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nbflow.core.snapshot import Run, TaskKey
from nbflow.core.states import FAILED_STATES, TaskState
from nbflow.errors import NbflowError
from nbflow.execution.logs import read_log
from nbflow.store.base import Store
from nbflow.suggested_commands import suggest
from nbflow.views.base import Query, View
from nbflow.views.lookups import check_task, run_of, version_of
from nbflow.views.shared import count, zone_of

if TYPE_CHECKING:
    from nbflow.config import Settings

LOG_BYTES = 1024 * 1024
"""Number of bytes shown, from the end of the log. A search reads the whole log."""
MAX_LINES = 1_000
_LOG_LINE = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:[+-]\d\d:\d\d|Z)) ([A-Z]+) (\S+) \| (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLogQuery(Query["TaskLogView"]):
    """``try_number``: by default the last try. ``search`` selects the lines that contain the text, ignoring case."""

    NAME: ClassVar[str] = "task_log"

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    try_number: int | None = None
    search: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line. Lines that a task printed have no time and no source."""

    message: str
    at: datetime | None = None
    level: str = "INFO"
    source: str = ""

    @property
    def text(self) -> str:
        """The line as in the file, but with its time in the view's time zone."""
        if self.at is None:
            return self.message
        return f"{self.at.isoformat(timespec='milliseconds')} {self.level} {self.source} | {self.message}"

    def contains(self, word: str) -> bool:
        """Whether the message contains ``word``, ignoring case."""
        return word.lower() in self.message.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLogView(View):
    """``dropped``: number of lines before ``lines`` that are not shown. ``searched``: number of lines searched."""

    NAME: ClassVar[str] = "task_log"

    title: str
    lines: tuple[LogLine, ...] = ()
    dropped: int = 0
    search: str = ""
    searched: int = 0

    @property
    def empty(self) -> str:
        """The text to show if there are no lines."""
        if not self.search:
            return "The log is empty so far."
        verb = "was" if self.searched == 1 else "were"
        return f"No line contains {self.search!r}; {count(self.searched, 'line')} {verb} searched."


def fetch(store: Store, query: TaskLogQuery, now: datetime, settings: Settings) -> TaskLogView:
    run = run_of(store, query.dag_id, query.run_id)
    zone = zone_of(version_of(store, run.dag_id, run.version).spec)
    key = TaskKey(query.task_id, query.map_index)
    attempts = store.attempts(run.key, key)
    number = query.try_number or max((attempt.try_number for attempt in attempts), default=1)
    paths = [attempt.log_path for attempt in attempts if attempt.try_number == number and attempt.log_path]
    title = log_title(run.run_id, key, number)
    if not paths and has_no_logs(run):
        note = LogLine(message="Tasks of a test run have no log files; they print to the cell or terminal of the test.")
        return TaskLogView(title=title, lines=(note,))
    return log_view(title, _text(paths[-1], whole=bool(query.search)) if paths else "", zone, search=query.search)


def log_title(run_id: str, key: TaskKey, try_number: int) -> str:
    """The heading of a log."""
    return f"{key} of {run_id}, try {try_number}"


def has_no_logs(run: Run) -> bool:
    """Whether the run is a DAG test, whose tasks run in the calling process and print there."""
    return run.is_inline


def find_logged(store: Store, run: Run, task: str | None = None) -> TaskKey:
    """The task instance whose log is shown for ``task`` (``load`` or ``load[1]``). For a mapped task: the first failed
    instance, otherwise the first instance. Without ``task``: the last instance that failed, otherwise the last that
    started. Raises TaskNotFound, or NbflowError if no task has started."""
    tis = store.instances(run.key)
    if task is not None:
        check_task(run.dag_id, task, version_of(store, run.dag_id, run.version).spec.tasks)
        tis = [ti for ti in tis if task in (ti.task_id, str(ti.key))]
        if tis:
            return next((ti.key for ti in tis if ti.state in FAILED_STATES), tis[0].key)
    started = [ti for ti in tis if ti.try_number > 0]
    if not started:
        why = suggest("why", run.dag_id)
        raise NbflowError(f"No task of run {run.run_id} has started yet.", hint=f"See: {why}.", suggestions=(why,))
    failed = [ti for ti in started if ti.state is TaskState.FAILED]
    return max(failed or started, key=lambda ti: ti.start_date or run.run_after).key


def _text(path: str, *, whole: bool) -> str:
    """The log, or its end from the start of a line. Empty if the file does not exist (yet, or on this machine)."""
    try:
        size = Path(path).stat().st_size
    except OSError:
        return ""
    start = 0 if whole else max(0, size - LOG_BYTES)
    text, _ = read_log(Path(path), start=start, max_bytes=size - start)
    return text.partition("\n")[2] if start else text


def log_view(title: str, text: str, zone: tzinfo, *, dropped: int = 0, search: str = "") -> TaskLogView:
    """The lines of a log's text. ``search`` selects the lines that contain it, ignoring case."""
    lines = list(log_lines(text.splitlines(), zone))
    matching = [line for line in lines if line.contains(search)]
    return TaskLogView(
        title=title,
        lines=tuple(matching[-MAX_LINES:]),
        dropped=dropped + max(0, len(matching) - MAX_LINES),
        search=search,
        searched=len(lines) if search else 0,
    )


def log_lines(raw_lines: Iterable[str], zone: tzinfo) -> Iterator[LogLine]:
    """Parse the lines of a log. Lines of a traceback, up to the line of the exception, have the level ERROR."""
    in_traceback = False
    for raw in raw_lines:
        match = _LOG_LINE.fullmatch(raw)
        if match is not None:
            at = datetime.fromisoformat(match[1]).astimezone(zone)
            yield LogLine(message=match[4], at=at, level=match[2], source=match[3])
            in_traceback = False
            continue
        starts_traceback = raw.startswith("Traceback (")
        in_traceback = in_traceback or starts_traceback
        yield LogLine(message=raw, level="ERROR" if in_traceback else "INFO")
        if in_traceback and raw[:1].strip() and not starts_traceback:
            in_traceback = False
