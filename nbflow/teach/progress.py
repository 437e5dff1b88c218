"""What a learner has tried and passed: one small JSON file in NBFLOW_HOME.

It is theirs to read and to delete; nothing in nbflow depends on it. A file that cannot be read is put aside, never a
reason to stop a lesson.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

FILE_NAME = "progress.json"


class Item(NamedTuple):
    """One exercise or question: how often it was tried, and when it was first passed (ISO 8601; None: not yet)."""

    tries: int = 0
    passed_at: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress file of one home. Each call reads it anew, so that two notebooks do not lose each other's."""

    home: Path

    @property
    def path(self) -> Path:
        return self.home / FILE_NAME

    def items(self, kind: str, name: str) -> Mapping[str, Item]:
        """Item id -> what is known of it. ``kind`` is ``lab`` or ``quiz``."""
        rows = self._read().get(kind, {}).get(name, {})
        return {key: Item(row["tries"], row["passed_at"]) for key, row in rows.items()}

    def note(self, kind: str, name: str, item: str, *, passed: bool, now: datetime) -> Item:
        """Count a try. What was passed once stays passed."""
        whole = self._read()
        rows = whole.setdefault(kind, {}).setdefault(name, {})
        before = rows.get(item, {"tries": 0, "passed_at": None})
        passed_at = before["passed_at"] or (now.isoformat(timespec="seconds") if passed else None)
        rows[item] = {"tries": before["tries"] + 1, "passed_at": passed_at}
        self._write(whole)
        return Item(before["tries"] + 1, passed_at)

    def _read(self) -> dict[str, Any]:
        try:
            whole = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            self.path.replace(self.path.with_suffix(".unreadable"))
            return {}
        return whole if isinstance(whole, dict) else {}

    def _write(self, whole: Mapping[str, Any]) -> None:
        """Whole or not at all: a kernel that is killed here leaves the old file."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.home, prefix=f".{FILE_NAME}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(whole, file, indent=1, sort_keys=True)
        os.replace(temporary, self.path)
