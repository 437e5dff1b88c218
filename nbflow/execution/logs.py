"""Logs of tries: their paths, how they are opened, and the stream through which a child writes.

``<logs>/<dag_id>/<run_id>/<task_id>[.map_index=<n>].attempt=<try>.log``, folders 0700, files 0600. There is a folder
for a run and not for a task, because creating a folder costs as much as all other operations on a log (and an id may
contain dots, but no ``=``). Each id becomes one path component: characters that a file system or a shell could
interpret are percent-encoded, and the resolved folder must lie inside the log folder, so that neither ``..`` nor a
planted symlink leads out of it.

A child writes directly to the file. That costs no copy and no wake-up of the supervisor, and written lines survive the
death of any process. The size limit of a try's log is therefore enforced twice: the stream of ``print`` and ``logging``
stops at it at once; :meth:`LogFile.trim`, which the supervisor calls while a try runs, cuts off what a subprocess
writes past it.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import io
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.secrets_masker import Masker

MAX_ID_BYTES = 200
"""Length of one id in a file name; file systems allow 255 bytes for the whole name."""
MAX_CHECKED_FOLDERS = 1000
"""Size of the cache of folders that exist and lie inside the log folder."""


def safe_name(text: str) -> str:
    """A path component for any id: readable, and never ``.``, ``..``, hidden, empty or too long."""
    name = quote(text, safe="+@:=,~ ").replace(" ", "%20")
    if name.startswith(".") or not name:
        name = "%2E" + name[1:] if name else "%"
    if len(name) > MAX_ID_BYTES:
        name = f"{name[: MAX_ID_BYTES - 17]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return name


def make_private(folder: str | os.PathLike[str]) -> None:
    """Create a folder and its missing parents with mode 0700 (``os.makedirs`` applies a mode only to the last one)."""
    if not os.path.isdir(folder):
        make_private(os.path.dirname(os.path.abspath(folder)))
        with contextlib.suppress(FileExistsError):  # another process has created it meanwhile
            os.mkdir(folder, mode=0o700)


class LogFolder:
    """The folder of all logs. ``max_bytes`` is the size limit of one try's log."""

    def __init__(self, root: Path, max_bytes: int = 16 * 1024 * 1024) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self._checked: set[str] = set()

    def path(self, run: RunKey, key: TaskKey, try_number: int) -> Path:
        """Path of a try's log (which need not exist)."""
        return Path(self._folder(run), self._name(key, try_number))

    def _folder(self, run: RunKey) -> str:
        return os.path.join(self.root, safe_name(run.dag_id), safe_name(run.run_id))

    @staticmethod
    def _name(key: TaskKey, try_number: int) -> str:
        mapped = f".map_index={int(key.map_index)}" if key.map_index >= 0 else ""
        return f"{safe_name(key.task_id)}{mapped}.attempt={int(try_number)}.log"

    def open(self, run: RunKey, key: TaskKey, try_number: int) -> LogFile:
        """Open a try's log to append: a try that resumes after a reschedule or a deferral continues its log.

        Raises OSError, and NbflowError if a link leads out of the log folder."""
        folder = self._folder(run)
        path = os.path.join(folder, self._name(key, try_number))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        if folder not in self._checked:
            self._make(folder)
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError:  # the folder was deleted meanwhile
            self._make(folder)
            fd = os.open(path, flags, 0o600)
        return LogFile(path, fd, self.max_bytes)

    def _make(self, folder: str) -> None:
        make_private(folder)
        if not os.path.realpath(folder).startswith(os.path.realpath(self.root) + os.sep):
            raise NbflowError(
                f"the log folder {folder} would lie outside {self.root}", hint="Remove the link in its path."
            )
        if len(self._checked) > MAX_CHECKED_FOLDERS:
            self._checked.clear()
        self._checked.add(folder)


class LogFile:
    """The supervisor's handle on one try's log."""

    __slots__ = ("_fd", "max_bytes", "path", "trimmed")

    def __init__(self, path: str, fd: int, max_bytes: int) -> None:
        self.path = path
        self._fd = fd
        self.max_bytes = max_bytes
        self.trimmed = 0

    def fileno(self) -> int:
        return self._fd

    def note(self, text: str) -> None:
        """Append lines of nbflow itself, which begin with ``***``."""
        os.write(self._fd, "".join(f"*** {line}\n" for line in text.splitlines()).encode(errors="replace"))

    def trim(self) -> int:
        """Truncate the file to the size limit, once it exceeds it by 4 KiB (room for nbflow's closing lines).

        Returns the number of bytes dropped. Writers have the file open to append, so they continue at its new end."""
        excess = os.fstat(self._fd).st_size - (self.max_bytes + 4096)
        if excess <= 0:
            return 0
        os.ftruncate(self._fd, self.max_bytes)
        self.trimmed += excess
        return excess

    def close(self) -> None:
        if self.trim() or self.trimmed:
            limit = f"{self.max_bytes:,} bytes ([logging] max_log_bytes_per_try)"
            self.note(f"log truncated at {limit}; {self.trimmed:,} more were dropped")
        os.close(self._fd)


class LogStream(io.TextIOBase):
    """``sys.stdout`` and ``sys.stderr`` of a child: masks secrets, stops after ``max_bytes``, writes each line at once.

    If the log cannot be written (its disk is full), the output is dropped and the task continues; once the log can be
    written again, it states how many bytes were dropped."""

    def __init__(self, fd: int, *, max_bytes: int, masker: Masker | None = None) -> None:
        self._fd = fd
        self._remaining_bytes = [max_bytes]
        """A list, because stdout and stderr share it."""
        self._masker = masker
        self._pending = ""
        self._lost_bytes = 0

    @cached_property
    def buffer(self) -> _Buffer:
        return _Buffer(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def twin(self) -> LogStream:
        """Another stream into the same log under the same size limit (stderr beside stdout)."""
        twin = LogStream(self._fd, max_bytes=0, masker=self._masker)
        twin._remaining_bytes = self._remaining_bytes
        return twin

    def write(self, text: str) -> int:
        self._pending += text
        line_end = self._pending.rfind("\n") + 1
        if line_end:
            self._write_out(self._pending[:line_end])
            self._pending = self._pending[line_end:]
        elif len(self._pending) > 8192:
            self.flush()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        self.write("".join(lines))

    def flush(self) -> None:
        if self._pending:
            text, self._pending = self._pending, ""
            self._write_out(text)

    def _write_out(self, text: str) -> None:
        remaining = self._remaining_bytes[0]
        if remaining < 0:
            return
        if self._masker is not None and self._masker.forms:
            text = self._masker.mask(text)
        data = text.encode("utf-8", "backslashreplace")
        self._remaining_bytes[0] = remaining - len(data)  # negative: the log is full, and its last line states that
        if len(data) > remaining:
            full = b"\n*** the log is full; further output is dropped ([logging] max_log_bytes_per_try)\n"
            data = data[:remaining] + full
        if self._lost_bytes:
            data = f"\n*** {self._lost_bytes} bytes could not be written here\n".encode() + data
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            self._lost_bytes = 0
        except OSError:
            self._lost_bytes += len(view)


class _Buffer(io.RawIOBase):
    """``sys.stdout.buffer``: decodes bytes and writes them through the text stream."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raw = bytes(data)  # type: ignore[call-overload]
        self._stream.write(raw.decode("utf-8", "replace"))
        return len(raw)

    def flush(self) -> None:
        self._stream.flush()


def read_log(path: Path, *, start: int = 0, max_bytes: int = 1024 * 1024) -> tuple[str, int]:
    """Up to ``max_bytes`` of a log from byte ``start`` on, as text, and the byte to continue from. ("", start) if the
    log does not exist (yet)."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            data = file.read(max_bytes)
    except FileNotFoundError:
        return "", start
    return data.decode("utf-8", "replace"), start + len(data)


class LogTail:
    """Reads a log while it grows. A character is returned once all its bytes have been written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self) -> str:
        """The text that was written since the last call, at most 1 MiB; empty if there is none, or if the log does not
        exist (yet)."""
        try:
            with open(self.path, "rb") as file:
                # A log that was truncated is shorter than what was read; its writers continue at its new end.
                self._at = min(self._at, os.fstat(file.fileno()).st_size)
                file.seek(self._at)
                data = file.read(1024 * 1024)
        except FileNotFoundError:
            return ""
        self._at += len(data)
        return self._decoder.decode(data)
