"""Progress of a learner, tries and passed items: one JSON file in NBFLOW_HOME.

The learner may read and delete the file; nothing else in nbflow depends on it, so an error in it never stops a lab or a
quiz. Writers hold a lock and replace the file atomically: two notebooks do not overwrite each other's progress, and a
kernel that is killed leaves the previous file. A file with invalid parts is renamed (``progress.unreadable``), logged
once, and written again with its valid parts.
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
    """One exercise or question: number of tries, and when it was first passed (ISO 8601; None: not yet)."""

    tries: int = 0
    passed_at: str | None = None


def answered_right(item: Item | None) -> bool | None:
    """True: answered right at least once; False: tried; None: not tried."""
    return None if item is None else item.passed_at is not None


Key = tuple[str, str, str]
"""(kind, name, item)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress file of one home. Each call reads the file, so that two notebooks see each other's progress."""

    home: Path

    @property
    def path(self) -> Path:
        return self.home / FILE_NAME

    def items(self, kind: str, name: str) -> Mapping[str, Item]:
        """Map item ids to items. ``kind`` is ``lab`` or ``quiz``; ``name`` that of the lab or quiz."""
        rows, error = self._read()
        if error:
            with self._os_errors_logged(), self._locked():
                rows = self._repair()
        return {key[2]: item for key, item in rows.items() if key[:2] == (kind, name)}

    def record_try(self, kind: str, name: str, item: str, *, passed: bool, now: datetime) -> Item:
        """Count a try and write the file. A passed item stays passed."""
        updated = Item(1, now.isoformat(timespec="seconds") if passed else None)
        with self._os_errors_logged(), self._locked():
            rows = self._repair()
            previous = rows.get((kind, name, item), Item())
            updated = Item(previous.tries + 1, previous.passed_at or updated.passed_at)
            self._write({**rows, (kind, name, item): updated})
        return updated

    # --- the file

    @contextlib.contextmanager
    def _os_errors_logged(self) -> Iterator[None]:
        """Log an OSError: in a home that is not writable, a lab or quiz goes on without stored progress."""
        try:
            yield
        except OSError as error:
            log.warning("The progress cannot be stored: %s: %s", error.strerror, error.filename)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the file's lock among processes; the OS releases the lock of a process that dies."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.home / f".{FILE_NAME}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _repair(self) -> dict[Key, Item]:
        """Read the rows; rename a file with invalid parts and write the valid ones. Call under the lock."""
        rows, error = self._read()
        if error:
            backup = next(path for path in self._backup_paths() if not path.exists())
            os.rename(self.path, backup)
            self._write(rows)
            log.warning("%s is invalid: %s. It was renamed to %s.", self.path, error, backup.name)
        return rows

    def _backup_paths(self) -> Iterator[Path]:
        yield self.path.with_suffix(".unreadable")
        yield from (self.path.with_suffix(f".unreadable-{number}") for number in count(2))

    def _read(self) -> tuple[dict[Key, Item], str]:
        """The valid rows, and the first error in the file ("" for none)."""
        try:
            return _parse(json.loads(self.path.read_text("utf-8")))
        except FileNotFoundError:
            return {}, ""
        except OSError as error:
            return {}, str(error.strerror)
        except (ValueError, RecursionError):
            return {}, "it is not JSON"

    def _write(self, rows: Mapping[Key, Item]) -> None:
        """Replace the file atomically: a kernel that is killed here leaves the old file."""
        content: dict[str, dict[str, dict[str, Any]]] = {}
        for (kind, name, item), row in rows.items():
            content.setdefault(kind, {}).setdefault(name, {})[item] = row._asdict()
        handle, temporary = tempfile.mkstemp(dir=self.home, prefix=f".{FILE_NAME}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, sort_keys=True)
        os.replace(temporary, self.path)


def _parse(content: Any) -> tuple[dict[Key, Item], str]:
    """The valid rows of the file's content, and the first error ("" for none)."""
    rows: dict[Key, Item] = {}
    errors: list[str] = []

    def members(value: Any, place: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            yield from value.items()
        else:
            errors.append(f"{place or 'it'} is not an object")

    for kind, names in members(content, ""):
        for name, items in members(names, kind):
            for item, row in members(items, f"{kind}.{name}"):
                match row:
                    case {"tries": int(tries), "passed_at": str() | None as passed_at} if not isinstance(tries, bool):
                        rows[kind, name, item] = Item(tries, passed_at)
                    case _:
                        errors.append(f"{kind}.{name}.{item} is not an object with tries and passed_at")
    return rows, errors[0] if errors else ""
