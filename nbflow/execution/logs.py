"""Logs of tries: their paths, how they are opened, and the stream through which a child writes.

``<logs>/<dag_id>/<run_id>/<task_id>[.map_index=<n>].attempt=<try>.log``, folders 0700, files 0600. There is a folder
for a run and not for a task, because creating a folder costs as much as all other operations on a log (and an id may
contain dots, but no ``=``). Each id becomes one path component: characters that a file system or a shell could
interpret are percent-encoded, and the resolved folder must lie inside the log folder, so that neither ``..`` nor a
planted symlink leads out of it.

Everything that a try writes goes through a pipe
------------------------------------------------
A child's standard output and error are a pipe (:class:`LogPipe`). A thread of the supervisor (:class:`LogCopier`)
copies it to the file, masked: it knows every secret that the supervisor has given to the try, in whatever way the text
was written (``print``, a subprocess, ``os.write``, a crash in native code). The thread is independent of the
supervisor's loop, so that a metastore which does not answer stops no task that prints.

* Text that could be the start of a secret is held back until the rest arrives, for :data:`HOLD_SECONDS` at most, and
  never more than the length of the longest form of a secret.
* The end of a try does not wait for the end of the pipe, which a process that outlives the try may hold: what the pipe
  contains when the try ends is copied, and the pipe is closed.
* A full pipe only makes a writer wait. A try also holds the reading end of its pipe, so that no write fails when the
  supervisor has died: its fork server then ends the try.
* The supervisor also holds the writing end, so that the end of a try does not wake the thread.
* The size limit of a log applies to the file. ``print`` and ``logging`` stop at it in the child already: what would be
  dropped is not sent.
"""

from __future__ import annotations

import array
import codecs
import fcntl
import hashlib
import io
import os
import select
import selectors
import termios
import threading
import time
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from nbflow.config import make_private
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.errors import NbflowError
from nbflow.secrets_masker import Masker, StreamMasker

MAX_ID_BYTES = 200
"""Length of one id in a file name; file systems allow 255 bytes for the whole name."""
READ_BYTES = 64 * 1024
"""The capacity of a pipe on Linux."""
GATHER_SECONDS = 0.002
"""How long the copying thread waits for more text after a short one."""
HOLD_SECONDS = 5.0
"""How long text that could be the start of a secret is held back."""
FULL = b"\n*** the log is full; further output is dropped ([logging] max_log_bytes_per_try)\n"
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

    def open(self, run: RunKey, key: TaskKey, try_number: int, *, masker: Masker | None = None) -> LogFile:
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
        return LogFile(path, fd, self.max_bytes, masker)

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
    """One try's log: masks what is written to it, and stops at the size limit. Thread-safe.

    If the file cannot be written (its disk is full), the text is dropped; once the file can be written again, it states
    how many bytes were dropped."""

    def __init__(self, path: str, fd: int, max_bytes: int, masker: Masker | None = None) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.masker = masker or Masker()
        self.pipe: LogPipe | None = None
        self._fd = fd
        self._lock = threading.RLock()
        self._stream = StreamMasker(self.masker)
        self._room = max_bytes - os.fstat(fd).st_size
        """How many bytes may still be written; negative if the log is full, and says so."""
        self._lost_bytes = 0

    @property
    def room(self) -> int:
        return max(0, self._room)

    def open_pipe(self) -> LogPipe:
        """The pipe for a process that writes this log."""
        self.pipe = LogPipe()
        return self.pipe

    def copy_pipe(self) -> int:
        """Copy up to READ_BYTES bytes that the pipe contains. Returns their number."""
        with self._lock:
            data = b"" if self.pipe is None else self.pipe.read()
            if data and self._room >= 0:
                self._write(self._stream.feed(data))
            return len(data)

    @property
    def holding(self) -> bool:
        """Whether text is held back, because it could be the start of a secret."""
        return self._stream.holding

    def release(self) -> None:
        """Write the text that is held back."""
        with self._lock:
            self._write(self._stream.release())

    def finish(self) -> None:
        """Write everything that has been written to the pipe until now."""
        with self._lock:
            waiting = 0 if self.pipe is None else self.pipe.waiting()
            while waiting > 0:  # not what is written meanwhile: a daemon of the task may write for ever
                waiting -= self.copy_pipe() or waiting
            self._write(self._stream.flush())

    def note(self, text: str) -> None:
        """Append lines of nbflow itself, which begin with ``***``."""
        with self._lock:
            self.finish()
            self._write_bytes(
                "".join(f"*** {line}\n" for line in self.masker.mask(text).splitlines()).encode("utf-8", "replace")
            )

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        if not data or self._room < 0:
            return
        self._room -= len(data)
        if self._room < 0:
            data = data[: self._room + len(data)] + FULL
        self._write_bytes(data)

    def _write_bytes(self, data: bytes) -> None:
        if self._lost_bytes:
            data = f"\n*** {self._lost_bytes} bytes could not be written here\n".encode() + data
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            self._lost_bytes = 0
        except OSError:
            self._lost_bytes += len(view)

    def close(self) -> None:
        """Write what the pipe contains, and close it and the file."""
        with self._lock:
            self.finish()
            if self.pipe is not None:
                self.pipe.close()
                self.pipe = None
            os.close(self._fd)


class LogPipe:
    """The pipe through which a try writes its log. Its ends are ``reader`` and ``writer``."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def read(self) -> bytes:
        """Up to READ_BYTES bytes; empty if there are none now."""
        try:
            return os.read(self.reader, READ_BYTES)
        except BlockingIOError:
            return b""

    def waiting(self) -> int:
        """The number of bytes in the pipe."""
        count = array.array("i", [0])
        fcntl.ioctl(self.reader, termios.FIONREAD, count)
        return count[0]

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class LogCopier:
    """A thread that copies the pipes of running tries to their logs."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wakeup = os.pipe()
        self._held: dict[LogFile, float] = {}
        """Log that holds text back -> when it must be written (``time.monotonic``)."""
        self._thread: threading.Thread | None = None

    def add(self, log: LogFile) -> None:
        """Copy this log's pipe until :meth:`remove`."""
        if log.pipe is None:
            return
        self._selector.register(log.pipe.reader, selectors.EVENT_READ, log)
        if self._thread is None:
            self._selector.register(self._wakeup[0], selectors.EVENT_READ)
            self._thread = threading.Thread(target=self._run, name="nbflow-logs", daemon=True)
            self._thread.start()

    def remove(self, log: LogFile) -> None:
        """Must precede the closing of the log."""
        if log.pipe is not None:
            self._selector.unregister(log.pipe.reader)

    def stop(self) -> None:
        if self._thread is not None:
            os.write(self._wakeup[1], b"x")
            self._thread.join()
        self._selector.close()
        for end in self._wakeup:
            os.close(end)

    def _run(self) -> None:
        while True:
            timeout = max(0.0, min(self._held.values()) - time.monotonic()) if self._held else None
            copied = 0
            for key, _ in self._selector.select(timeout):
                if key.fd == self._wakeup[0]:
                    return
                copied = max(copied, self._copy(key.data))
            self._release_due()
            if 0 < copied < READ_BYTES // 4:  # a task that prints line by line must not wake this thread for each line
                time.sleep(GATHER_SECONDS)

    def _copy(self, log: LogFile) -> int:
        copied = log.copy_pipe()
        if log.holding:
            self._held.setdefault(log, time.monotonic() + HOLD_SECONDS)
        else:
            self._held.pop(log, None)
        return copied

    def _release_due(self) -> None:
        now = time.monotonic()
        for log in [log for log, due in self._held.items() if due <= now]:
            del self._held[log]
            log.release()


class LogStream(io.TextIOBase):
    """``sys.stdout`` and ``sys.stderr`` of a child: writes each line at once, and stops after ``max_bytes``."""

    def __init__(self, fd: int, *, max_bytes: int) -> None:
        self._fd = fd
        self._remaining_bytes = [max_bytes]
        """A list, because stdout and stderr share it."""
        self._pending = ""

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
        twin = LogStream(self._fd, max_bytes=0)
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
        data = text.encode("utf-8", "backslashreplace")
        self._remaining_bytes[0] = remaining - len(data)
        if len(data) > remaining:
            # The supervisor cuts the text at the limit. The line is for a log that masking made shorter than the limit.
            data += FULL
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # a program that shares the pipe has made it non-blocking
                select.select([], [self._fd], [])
            except OSError:
                return


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
