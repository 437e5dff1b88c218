"""DAGs, their versions, and import errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from nbflow.core.states import RunState
from nbflow.errors import NbflowError
from nbflow.store.base import DagImportError, DagRow, DagVersion
from nbflow.store.codec import dag_row, seen_again, unscheduled_row, with_digest
from nbflow.store.memory.tables import Tables, locked
from nbflow.store.plan_effects import utc


class Definitions(Tables):
    @locked
    def register(self, version: DagVersion, *, now: datetime, paused: bool, activate: bool = True) -> DagVersion:
        now = utc(now)
        wanted = with_digest(version)
        versions = self._versions.setdefault(version.dag_id, [])
        known = next((one for one in versions if one.digest == wanted.digest), None)
        if known is None:
            known = replace(wanted, number=len(versions) + 1, created_at=now)
            versions.append(known)
            self._specs[version.dag_id, known.number] = version.spec
        elif activate:
            known = seen_again(known, wanted)
            self._specs[version.dag_id, known.number] = known.spec
            versions[known.number - 1] = known
        if activate:
            self._dags[version.dag_id] = dag_row(known, self._dags.get(version.dag_id), paused=paused, now=now)
        self._change()
        return known

    @locked
    def version(self, dag_id: str, number: int | None = None) -> DagVersion | None:
        versions = self._versions.get(dag_id, [])
        if number is None:
            row = self._dags.get(dag_id)
            number = row.version if row else len(versions)
        return versions[number - 1] if 1 <= number <= len(versions) else None

    @locked
    def versions(self, dag_id: str) -> list[DagVersion]:
        return list(self._versions.get(dag_id, ()))

    @locked
    def dag(self, dag_id: str) -> DagRow | None:
        row = self._dags.get(dag_id)
        return row and replace(row, has_import_errors=bool(self._faults.get(row.fileloc)))

    @locked
    def dags(self, *, include_stale: bool = False) -> list[DagRow]:
        rows = (self.dag(dag_id) for dag_id in sorted(self._dags))
        return [row for row in rows if row and (include_stale or not row.stale)]

    @locked
    def unscheduled_dags(self, dag_ids: Iterable[str]) -> list[DagRow]:
        found = (self._versions.get(dag_id) for dag_id in sorted(set(dag_ids)) if dag_id not in self._dags)
        return [unscheduled_row(versions[-1]) for versions in found if versions]

    @locked
    def set_paused(self, dag_id: str, paused: bool, *, actor: str, now: datetime) -> bool:
        row = self._dags.get(dag_id)
        if row is None:
            return False
        self._dags[dag_id] = replace(row, paused=paused)
        self._write_audit("pause" if paused else "unpause", actor, utc(now), {"dag_id": dag_id})
        self._change()
        return True

    @locked
    def set_stale(self, dag_ids: Iterable[str], stale: bool, *, now: datetime) -> None:
        for dag_id in dag_ids:
            if dag_id in self._dags:
                self._dags[dag_id] = replace(self._dags[dag_id], stale=stale, last_parsed_at=utc(now))
        self._change()

    @locked
    def set_next_run(
        self,
        dag_id: str,
        *,
        run_after: datetime | None,
        logical_date: datetime | None = None,
        interval: tuple[datetime, datetime] | None = None,
    ) -> None:
        if dag_id in self._dags:
            self._dags[dag_id] = replace(
                self._dags[dag_id],
                next_run_after=run_after and utc(run_after),
                next_logical_date=logical_date and utc(logical_date),
                next_interval=(utc(interval[0]), utc(interval[1])) if interval else None,
            )
        self._change(nudge=False)

    def _schedulable(self) -> list[tuple[datetime, str]]:
        return sorted(
            (row.next_run_after, row.dag_id)
            for row in self._dags.values()
            if row.next_run_after is not None and not row.paused and not row.stale
        )

    @locked
    def due_dags(self, now: datetime) -> list[DagRow]:
        due = (self.dag(dag_id) for at, dag_id in self._schedulable() if at <= now)
        return [row for row in due if row]

    @locked
    def next_due(self) -> datetime | None:
        return next((at for at, _ in self._schedulable()), None)

    @locked
    def delete_dag(self, dag_id: str, *, actor: str, now: datetime, dry_run: bool = False) -> int:
        runs = [key for key in self._runs if key.dag_id == dag_id]
        if any(self._runs[key].state is RunState.RUNNING for key in runs):
            raise NbflowError(f"DAG {dag_id} has a running run.", hint="Wait for it, or mark it failed, and try again.")
        seen = [name for name in self._first_seen if name[0] == dag_id]
        backfills = [number for number, row in self._backfills.items() if row.dag_id == dag_id]
        versions = self._versions.get(dag_id, [])
        gone = sum(sum(self._size_of(key).values()) for key in runs)
        gone += len(versions) + len(seen) + len(backfills) + (dag_id in self._dags)
        if dry_run:
            return gone
        for key in runs:
            self._delete_run(key)
        for one in self._versions.pop(dag_id, []):
            self._specs.pop((dag_id, one.number), None)
        for name in seen:
            del self._first_seen[name]
        for number in backfills:
            del self._backfills[number]
        self._dags.pop(dag_id, None)
        self._write_audit("delete_dag", actor, utc(now), {"dag_id": dag_id, "rows": gone})
        self._change()
        return gone

    @locked
    def put_import_errors(self, fileloc: str, faults: Sequence[DagImportError], *, now: datetime) -> None:
        self._faults.pop(fileloc, None)
        if faults:
            self._faults[fileloc] = [replace(fault, fileloc=fileloc, at=fault.at or utc(now)) for fault in faults]
        self._change()

    @locked
    def import_errors(self) -> list[DagImportError]:
        return [fault for fileloc in sorted(self._faults) for fault in self._faults[fileloc]]
