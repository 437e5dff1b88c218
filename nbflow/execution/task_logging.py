"""The format of a task's log lines: ``2024-01-01T00:00:00.123+00:00 INFO nbflow.task | message``."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from nbflow.authoring.context import OldNameWarning
from nbflow.secrets_backends import mask_given
from nbflow.secrets_masker import Masker


class LineFormatter(logging.Formatter):
    """Time (UTC, milliseconds), level, logger, message; a traceback follows on separate lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s | %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """In a process that runs more than a try (``dags test``), a line that goes to the terminal is masked here."""
        return mask_given(super().format(record))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class _CurrentStdoutHandler(logging.StreamHandler[TextIO]):
    """Writes to the current ``sys.stdout``, so that log lines and prints keep their order."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


class _MaskedStream:
    """Masks the text of each ``write``; everything else is that of ``stream``."""

    def __init__(self, stream: TextIO, masker: Masker) -> None:
        self._stream = stream
        self._masker = masker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._stream.write(self._masker.mask(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))


@contextmanager
def masked_output(masker: Masker) -> Iterator[None]:
    """Mask what code in the block prints, for a try in a process that runs more (``dags test``, ``%dag test``): its
    output is that of the terminal or cell, and not a log. Bytes and the output of subprocesses are not masked."""
    stdout, stderr = (cast("TextIO", _MaskedStream(stream, masker)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(stdout), redirect_stderr(stderr):
        yield


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
