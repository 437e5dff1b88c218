"""The log of one try of a task."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nbflow.core.snapshot import INLINE, TaskKey
from nbflow.execution.logs import read_log
from nbflow.store.base import Store
from nbflow.views.base import Query, View
from nbflow.views.lookups import run_of, version_of
from nbflow.views.values import zone_of

if TYPE_CHECKING:
    from nbflow.config import Settings

LOG_BYTES = 1024 * 1024
"""Bytes shown of a log, its end. A search reads all of it."""
MOST_LINES = 1_000
_LOG_LINE = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:[+-]\d\d:\d\d|Z)) ([A-Z]+) (\S+) \| (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLogQuery(Query["TaskLogView"]):
    """``try_number``: by default the last try. ``search`` keeps the lines that hold the text, in any case."""

    NAME: ClassVar[str] = "task_log"

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    try_number: int | None = None
    search: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    message: str
    at: datetime | None = None
    level: str = "INFO"
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLogView(View):
    """``dropped`` lines came before the first line of ``lines``. ``searched``: number of lines that were searched."""

    NAME: ClassVar[str] = "task_log"

    title: str
    lines: tuple[LogLine, ...] = ()
    dropped: int = 0
    search: str = ""
    searched: int = 0


def fetch(store: Store, query: TaskLogQuery, now: datetime, settings: Settings) -> TaskLogView:
    run = run_of(store, query.dag_id, query.run_id)
    zone = zone_of(version_of(store, run.dag_id, run.version).spec)
    key = TaskKey(query.task_id, query.map_index)
    attempts = store.attempts(run.key, key)
    number = query.try_number or max((attempt.try_number for attempt in attempts), default=1)
    paths = [attempt.log_path for attempt in attempts if attempt.try_number == number and attempt.log_path]
    title = f"{key} of {run.run_id}, try {number}"
    if not paths and (run.triggered_by or "").startswith(INLINE):
        note = LogLine(message="A test run's tasks print into the cell that ran them.")
        return TaskLogView(title=title, lines=(note,))
    return log_view(title, _text(paths[-1], whole=bool(query.search)) if paths else "", zone, search=query.search)


def _text(path: str, *, whole: bool) -> str:
    """The log, or its end from the beginning of a line; empty where there is no file (yet, or on this machine)."""
    try:
        size = Path(path).stat().st_size
    except OSError:
        return ""
    start = 0 if whole else max(0, size - LOG_BYTES)
    text, _ = read_log(Path(path), start=start, max_bytes=size - start)
    return text.partition("\n")[2] if start else text


def log_view(title: str, text: str, zone: tzinfo, *, dropped: int = 0, search: str = "") -> TaskLogView:
    """The lines of a log's text. ``search`` keeps the lines that hold it, in upper or lower case."""
    lines = list(_lines(text, zone))
    kept = [line for line in lines if search.lower() in line.message.lower()] if search else lines
    return TaskLogView(
        title=title,
        lines=tuple(kept[-MOST_LINES:]),
        dropped=dropped + max(0, len(kept) - MOST_LINES),
        search=search,
        searched=len(lines) if search else 0,
    )


def _lines(text: str, zone: tzinfo) -> Iterator[LogLine]:
    """Lines of tracebacks are errors; the exception's own line ends a traceback."""
    traceback = False
    for raw in text.splitlines():
        match = _LOG_LINE.fullmatch(raw)
        if match is not None:
            at = datetime.fromisoformat(match[1]).astimezone(zone)
            yield LogLine(message=match[4], at=at, level=match[2], source=match[3])
            traceback = False
            continue
        begins = raw.startswith("Traceback (")
        traceback = traceback or begins
        yield LogLine(message=raw, level="ERROR" if traceback else "INFO")
        if traceback and raw[:1].strip() and not begins:
            traceback = False
