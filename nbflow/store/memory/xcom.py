"""XComs and rendered templates: what an attempt leaves behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.errors import StaleAttempt
from nbflow.store.base import Attempt
from nbflow.store.codec import as_stored
from nbflow.store.memory.tables import Tables, locked
from nbflow.store.plan_effects import utc


class XComs(Tables):
    def _current(self, attempt_id: str) -> Attempt:
        attempt = self._attempts.get(attempt_id)
        one = self._instances.get(attempt.run, {}).get(attempt.key) if attempt else None
        if attempt is None or attempt.state == "ended" or one is None or one.attempt_id != attempt_id:
            raise StaleAttempt(f"Attempt {attempt_id} is no longer current; what it wrote is refused.")
        return attempt

    @locked
    def xcom_push(self, attempt_id: str, key: str, value: str, *, now: datetime) -> None:
        utc(now)
        attempt = self._current(attempt_id)
        self._xcoms[attempt.run].setdefault(attempt.key, {})[key] = value

    @locked
    def xcom_get(
        self, run: RunKey, task_ids: Sequence[str], key: str, *, map_index: int | None = None, prior_dates: bool = False
    ) -> list[tuple[TaskKey, str]]:
        found: list[tuple[TaskKey, str]] = []
        for task_id in task_ids:
            for here in self._places(run, prior_dates):
                values = [
                    (name, texts[key])
                    for name, texts in sorted(self._xcoms.get(here, {}).items())
                    if name.task_id == task_id and key in texts and map_index in (None, name.map_index)
                ]
                if values:
                    found += values
                    break
        return found

    def _places(self, run: RunKey, prior_dates: bool) -> Iterator[RunKey]:
        yield run
        found = self._runs.get(run)
        if prior_dates and found is not None:
            yield from (one.key for one in self._runs_before(found))

    @locked
    def xcoms(self, run: RunKey, key: TaskKey | None = None) -> list[tuple[TaskKey, str, str]]:
        return [
            (name, label, text)
            for name, texts in sorted(self._xcoms.get(run, {}).items())
            if key is None or name == key
            for label, text in sorted(texts.items())
        ]

    @locked
    def put_rendered(self, attempt_id: str, fields: Mapping[str, Any]) -> None:
        attempt = self._current(attempt_id)
        self._rendered[attempt.run, attempt.key] = as_stored(dict(fields))

    @locked
    def rendered(self, run: RunKey, key: TaskKey) -> Mapping[str, Any] | None:
        return self._rendered.get((run, key))
