"""Progress of a learner, tries and passed items: one JSON file in NBFLOW_HOME.

The learner may read and delete the file; nothing else in nbflow depends on it. An unreadable file is renamed to
``progress.unreadable``, so that a lab or quiz goes on without it.
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
    """One exercise or question: number of tries, and when it was first passed (ISO 8601; None: not yet)."""

    tries: int = 0
    passed_at: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress file of one home. Each call reads the file, so that two notebooks see each other's progress."""

    home: Path

    @property
    def path(self) -> Path:
        return self.home / FILE_NAME

    def items(self, kind: str, name: str) -> Mapping[str, Item]:
        """Map item ids to items. ``kind`` is ``lab`` or ``quiz``; ``name`` that of the lab or quiz."""
        rows = self._read().get(kind, {}).get(name, {})
        return {key: Item(row["tries"], row["passed_at"]) for key, row in rows.items()}

    def note(self, kind: str, name: str, item: str, *, passed: bool, now: datetime) -> Item:
        """Count a try and write the file. An item once passed stays passed."""
        content = self._read()
        rows = content.setdefault(kind, {}).setdefault(name, {})
        previous = rows.get(item, {"tries": 0, "passed_at": None})
        passed_at = previous["passed_at"] or (now.isoformat(timespec="seconds") if passed else None)
        rows[item] = {"tries": previous["tries"] + 1, "passed_at": passed_at}
        self._write(content)
        return Item(previous["tries"] + 1, passed_at)

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            self.path.replace(self.path.with_suffix(".unreadable"))
            return {}
        return content if isinstance(content, dict) else {}

    def _write(self, content: Mapping[str, Any]) -> None:
        """Replace the file atomically: a kernel that is killed here leaves the old file."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.home, prefix=f".{FILE_NAME}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, sort_keys=True)
        os.replace(temporary, self.path)
