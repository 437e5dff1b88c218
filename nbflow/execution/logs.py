"""Logs of tries: where they lie, how they are opened, and the stream through which a child writes.

``<logs>/<dag_id>/<run_id>/<task_id>[.map_index=<n>].attempt=<try>.log``, folders 0700, files 0600: a folder for a run
and not for a task, because making one costs as much as all else about a log (and an id may hold dots, but no ``=``).
Ids become one name each: what a file system or a shell could take for something else is percent-encoded, and the
resolved folder must lie inside the log folder, so that neither ``..`` nor a planted symlink leads out of it.

A child writes straight to the file. It costs no copy and no wake-up of the supervisor, and what was written survives
anybody's death. The cap on a try's log is therefore kept twice: the stream of ``print`` and ``logging`` stops at it at
once; what a subprocess writes past it is cut off by :meth:`LogFile.trim`, which the supervisor calls while a try runs.
"""

from __future__ import annotations

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
    from nbflow.secrets import Masker

MOST_NAME_BYTES = 200
"""Of one id in a name; file systems allow 255 for the whole."""
MOST_REMEMBERED = 1000
"""Folders that are known to exist and to lie where they should."""


def safe_name(text: str) -> str:
    """One folder name for any id: readable, and never ``.``, ``..``, hidden, empty or too long."""
    name = quote(text, safe="+@:=,~ ").replace(" ", "%20")
    if name.startswith(".") or not name:
        name = "%2E" + name[1:] if name else "%"
    if len(name) > MOST_NAME_BYTES:
        name = f"{name[: MOST_NAME_BYTES - 17]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return name


def make_private(folder: str | os.PathLike[str]) -> None:
    """Make a folder with all that lies above it, for its owner alone (``os.makedirs`` leaves what lies above open)."""
    if not os.path.isdir(folder):
        make_private(os.path.dirname(os.path.abspath(folder)))
        with contextlib.suppress(FileExistsError):  # another process was quicker
            os.mkdir(folder, mode=0o700)


class LogFolder:
    """The folder of all logs. ``most_bytes`` is the cap of one try's log."""

    def __init__(self, root: Path, most_bytes: int = 16 * 1024 * 1024) -> None:
        self.root = root
        self.most_bytes = most_bytes
        self._checked: set[str] = set()

    def path(self, run: RunKey, key: TaskKey, try_number: int) -> Path:
        """Where a try's log lies (it need not exist)."""
        return Path(self._folder(run), self._name(key, try_number))

    def _folder(self, run: RunKey) -> str:
        return os.path.join(self.root, safe_name(run.dag_id), safe_name(run.run_id))

    @staticmethod
    def _name(key: TaskKey, try_number: int) -> str:
        mapped = f".map_index={int(key.map_index)}" if key.map_index >= 0 else ""
        return f"{safe_name(key.task_id)}{mapped}.attempt={int(try_number)}.log"

    def open(self, run: RunKey, key: TaskKey, try_number: int) -> LogFile:
        """Open a try's log to append. A try that goes on after a reschedule or a deferral finds its own lines there.
        Raises OSError, and NbflowError where a link leads out of the log folder."""
        folder = self._folder(run)
        path = os.path.join(folder, self._name(key, try_number))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        if folder not in self._checked:
            self._make(folder)
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError:  # somebody cleaned up meanwhile
            self._make(folder)
            fd = os.open(path, flags, 0o600)
        return LogFile(path, fd, self.most_bytes)

    def _make(self, folder: str) -> None:
        make_private(folder)
        if not os.path.realpath(folder).startswith(os.path.realpath(self.root) + os.sep):
            raise NbflowError(
                f"the log folder {folder} would lie outside {self.root}", hint="Remove the link in its path."
            )
        if len(self._checked) > MOST_REMEMBERED:
            self._checked.clear()
        self._checked.add(folder)


class LogFile:
    """The supervisor's handle on one try's log."""

    __slots__ = ("_fd", "most_bytes", "path", "trimmed")

    def __init__(self, path: str, fd: int, most_bytes: int) -> None:
        self.path = path
        self._fd = fd
        self.most_bytes = most_bytes
        self.trimmed = 0

    def fileno(self) -> int:
        return self._fd

    def note(self, text: str) -> None:
        """Append lines of nbflow's own."""
        os.write(self._fd, "".join(f"*** {line}\n" for line in text.splitlines()).encode(errors="replace"))

    def trim(self) -> int:
        """Cut what lies beyond the cap (with room for our own closing lines); returns how many bytes went.

        Writers have the file open to append, so they go on at its new end."""
        slack = self.most_bytes + 4096
        beyond = os.fstat(self._fd).st_size - slack
        if beyond <= 0:
            return 0
        os.ftruncate(self._fd, self.most_bytes)
        self.trimmed += beyond
        return beyond

    def close(self) -> None:
        if self.trim() or self.trimmed:
            self.note(f"log cut at {self.most_bytes:,} bytes; {self.trimmed:,} more were dropped")
        os.close(self._fd)


class LogStream(io.TextIOBase):
    """``sys.stdout`` and ``sys.stderr`` of a child: secrets masked, the cap kept, each line out at once.

    A log that cannot be written (its disk is full) costs what was printed, which the log says once it can be written
    again; it costs no task."""

    def __init__(self, fd: int, *, room: int, masker: Masker | None = None) -> None:
        self._fd = fd
        self._room = [room]
        self._masker = masker
        self._pending = ""
        self._lost = 0

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
        """Another stream into the same log and under the same cap (stderr beside stdout)."""
        other = LogStream(self._fd, room=0, masker=self._masker)
        other._room = self._room
        return other

    def write(self, text: str) -> int:
        self._pending += text
        cut = self._pending.rfind("\n") + 1
        if cut:
            self._out(self._pending[:cut])
            self._pending = self._pending[cut:]
        elif len(self._pending) > 8192:
            self.flush()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        self.write("".join(lines))

    def flush(self) -> None:
        if self._pending:
            text, self._pending = self._pending, ""
            self._out(text)

    def _out(self, text: str) -> None:
        left = self._room[0]
        if left < 0:
            return
        if self._masker is not None and self._masker.forms:
            text = self._masker.mask(text)
        data = text.encode("utf-8", "backslashreplace")
        self._room[0] = left - len(data)  # below zero: that was said, and the rest is dropped
        if len(data) > left:
            data = data[:left] + b"\n*** the log is full: what follows is dropped ([logging] max_log_bytes_per_try)\n"
        if self._lost:
            data = f"\n*** {self._lost} bytes could not be written here\n".encode() + data
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            self._lost = 0
        except OSError:
            self._lost += len(view)


class _Buffer(io.RawIOBase):
    """``sys.stdout.buffer``: bytes go the way of the text."""

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


def read_log(path: Path, *, start: int = 0, most_bytes: int = 1024 * 1024) -> tuple[str, int]:
    """Text of a log from byte ``start`` on, at most ``most_bytes``, and the byte to go on from. ("", start) if there is
    no such log (yet)."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            data = file.read(most_bytes)
    except FileNotFoundError:
        return "", start
    return data.decode("utf-8", "replace"), start + len(data)
