"""XComs and rendered templates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from nbflow.core.identifiers import XCOM_KEY, check_id
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.errors import StaleAttempt
from nbflow.store.base import Attempt
from nbflow.store.json_text import as_stored
from nbflow.store.memory.tables import Tables, locked
from nbflow.store.plan_effects import utc


class XComs(Tables):
    def _current(self, attempt_id: str) -> Attempt:
        attempt = self._attempts.get(attempt_id)
        ti = self._instances.get(attempt.run, {}).get(attempt.key) if attempt else None
        if attempt is None or attempt.state == "ended" or ti is None or ti.attempt_id != attempt_id:
            raise StaleAttempt(f"Attempt {attempt_id} is not current any more; its write was rejected.")
        return attempt

    @locked
    def xcom_push(self, attempt_id: str, key: str, value: str, *, now: datetime) -> None:
        check_id(key, XCOM_KEY)
        utc(now)
        attempt = self._current(attempt_id)
        self._xcoms[attempt.run].setdefault(attempt.key, {})[key] = value

    @locked
    def xcom_get(
        self, run: RunKey, task_ids: Sequence[str], key: str, *, map_index: int | None = None, prior_dates: bool = False
    ) -> list[tuple[TaskKey, str]]:
        values: list[tuple[TaskKey, str]] = []
        for task_id in task_ids:
            for run_key in self._runs_to_search(run, prior_dates):
                values_of_run = [
                    (ti_key, texts[key])
                    for ti_key, texts in sorted(self._xcoms.get(run_key, {}).items())
                    if ti_key.task_id == task_id and key in texts and map_index in (None, ti_key.map_index)
                ]
                if values_of_run:
                    values += values_of_run
                    break
        return values

    def _runs_to_search(self, run: RunKey, prior_dates: bool) -> Iterator[RunKey]:
        yield run
        stored = self._runs.get(run)
        if prior_dates and stored is not None:
            yield from (before.key for before in self._runs_before(stored))

    @locked
    def xcoms(self, run: RunKey, key: TaskKey | None = None) -> list[tuple[TaskKey, str, str]]:
        return [
            (ti_key, xcom_key, text)
            for ti_key, texts in sorted(self._xcoms.get(run, {}).items())
            if key is None or ti_key == key
            for xcom_key, text in sorted(texts.items())
        ]

    @locked
    def put_rendered(self, attempt_id: str, fields: Mapping[str, Any]) -> None:
        attempt = self._current(attempt_id)
        self._rendered[attempt.run, attempt.key] = as_stored(dict(fields))

    @locked
    def rendered(self, run: RunKey, key: TaskKey) -> Mapping[str, Any] | None:
        return self._rendered.get((run, key))
