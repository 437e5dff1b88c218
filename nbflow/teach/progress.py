"""What a learner has tried and passed: one small JSON file in NBFLOW_HOME.

It is theirs to read and to delete; nothing in nbflow depends on it, so what is wrong with it is never a reason to stop
a lesson. Writers take turns by a lock and replace the file whole: notebooks side by side lose nothing of each other's,
and a kernel that is killed leaves the file of before. What cannot be read of a file is told once, and the file is kept
as it was under another name, before what can be read of it is written anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

FILE_NAME = "progress.json"
log = logging.getLogger(__name__)


class Item(NamedTuple):
    """One exercise or question: how often it was tried, and when it was first passed (ISO 8601; None: not yet)."""

    tries: int = 0
    passed_at: str | None = None


Key = tuple[str, str, str]
"""(kind, name, item)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress file of one home. Each call reads it anew, so that two notebooks see each other's."""

    home: Path

    @property
    def path(self) -> Path:
        return self.home / FILE_NAME

    def items(self, kind: str, name: str) -> Mapping[str, Item]:
        """Item id -> what is known of it. ``kind`` is ``lab`` or ``quiz``."""
        known, odd = self._read()
        if odd:
            with self._told(), self._locked():
                known = self._mended()
        return {key[2]: item for key, item in known.items() if key[:2] == (kind, name)}

    def note(self, kind: str, name: str, item: str, *, passed: bool, now: datetime) -> Item:
        """Count a try. What was passed once stays passed."""
        noted = Item(1, now.isoformat(timespec="seconds") if passed else None)
        with self._told(), self._locked():
            known = self._mended()
            before = known.get((kind, name, item), Item())
            noted = Item(before.tries + 1, before.passed_at or noted.passed_at)
            self._write({**known, (kind, name, item): noted})
        return noted

    # --- the file

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """A home that cannot be written costs the record, and not the lesson."""
        try:
            yield
        except OSError as error:
            log.warning("Progress is not kept: %s: %s", error.strerror, error.filename)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, among all processes; a lock of a process that dies is gone with it."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.home / f".{FILE_NAME}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _mended(self) -> dict[Key, Item]:
        """What is known; a file that is odd is first kept under another name. To be called under the lock."""
        known, odd = self._read()
        if odd:
            kept = next(path for path in self._spare_names() if not path.exists())
            os.rename(self.path, kept)
            self._write(known)
            log.warning("%s cannot be read whole: %s. It is kept as %s.", self.path, odd, kept.name)
        return known

    def _spare_names(self) -> Iterator[Path]:
        yield self.path.with_suffix(".unreadable")
        yield from (self.path.with_suffix(f".unreadable-{number}") for number in count(2))

    def _read(self) -> tuple[dict[Key, Item], str]:
        """What can be read, and what is wrong with the rest."""
        try:
            return _parsed(json.loads(self.path.read_text("utf-8")))
        except FileNotFoundError:
            return {}, ""
        except OSError as error:
            return {}, str(error.strerror)
        except (ValueError, RecursionError):
            return {}, "it is not JSON"

    def _write(self, known: Mapping[Key, Item]) -> None:
        """Whole or not at all: a kernel that is killed here leaves the old file."""
        whole: dict[str, dict[str, dict[str, Any]]] = {}
        for (kind, name, item), row in known.items():
            whole.setdefault(kind, {}).setdefault(name, {})[item] = row._asdict()
        handle, temporary = tempfile.mkstemp(dir=self.home, prefix=f".{FILE_NAME}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(whole, file, indent=1, sort_keys=True)
        os.replace(temporary, self.path)


def _parsed(whole: Any) -> tuple[dict[Key, Item], str]:
    """The rows of a file's content that are as they should be, and where the first other one stands."""
    known: dict[Key, Item] = {}
    odd: list[str] = []

    def members(value: Any, place: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            yield from value.items()
        else:
            odd.append(f"{place or 'it'} is no object")

    for kind, names in members(whole, ""):
        for name, items in members(names, kind):
            for item, row in members(items, f"{kind}.{name}"):
                match row:
                    case {"tries": int(tries), "passed_at": str() | None as passed_at} if not isinstance(tries, bool):
                        known[kind, name, item] = Item(tries, passed_at)
                    case _:
                        odd.append(f"{kind}.{name}.{item} is no row of tries and passed_at")
    return known, odd[0] if odd else ""
