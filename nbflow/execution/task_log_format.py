"""The format of a task's log lines: ``2024-01-01T00:00:00.123+00:00 INFO nbflow.task | message``."""

from __future__ import annotations

import logging
import sys
import warnings
from datetime import UTC, datetime
from typing import TextIO

from nbflow.authoring.context import OldNameWarning


class LineFormatter(logging.Formatter):
    """Time (UTC, milliseconds), level, logger, message; a traceback follows on separate lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s | %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class _CurrentStdoutHandler(logging.StreamHandler[TextIO]):
    """Writes to the current ``sys.stdout``, so that log lines and prints keep their order."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


def setup_logging(stream: TextIO | None = None, *, level: str | int = "INFO") -> logging.Handler:
    """Send all logging of this process, and Python's warnings, to ``stream`` (default: standard output), formatted.

    For a process that runs one try: its standard output is the try's log, which masks secrets and limits its size.
    Handlers that the DAG file added to the root logger are removed; otherwise every line would appear twice.
    """
    root = logging.getLogger()
    is_set_up = [type(handler) for handler in root.handlers] == [_CurrentStdoutHandler]
    if stream is None and is_set_up and root.level == _level_number(level):
        return root.handlers[0]  # set up by the fork server: repeating it would cost each of its children 0.4 ms
    handler = _CurrentStdoutHandler() if stream is None else logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    warnings.filterwarnings("default", category=OldNameWarning)
    return handler


def _level_number(level: str | int) -> int:
    return level if isinstance(level, int) else logging.getLevelNamesMapping()[level]
