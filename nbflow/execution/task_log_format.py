"""How a task's log lines look: ``2024-01-01T00:00:00.123+00:00 INFO nbflow.task | message``."""

from __future__ import annotations

import logging
import sys
import warnings
from datetime import UTC, datetime
from typing import TextIO


class LineFormatter(logging.Formatter):
    """Time (UTC, milliseconds), level, logger, message; a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s | %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class _CurrentOut(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stdout`` is at that moment, so that lines and prints keep their order."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


def setup_logging(stream: TextIO | None = None, *, level: str | int = "INFO") -> logging.Handler:
    """Let all logging of this process, and Python's warnings, go to ``stream`` (default: standard output) in our form.

    For a process that runs one try: the stream there is the try's log, which masks secrets and keeps its size. Handlers
    that the DAG file put on the root logger while it was loaded are taken off, or every line would come twice.
    """
    root = logging.getLogger()
    if stream is None and [type(one) for one in root.handlers] == [_CurrentOut] and root.level == _number(level):
        return root.handlers[0]  # a template did it for all its children: doing it again costs each of them 0.4 ms
    handler = _CurrentOut() if stream is None else logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    from nbflow.authoring.context import OldNameWarning

    warnings.filterwarnings("default", category=OldNameWarning)
    return handler


def _number(level: str | int) -> int:
    return level if isinstance(level, int) else logging.getLevelNamesMapping()[level]
