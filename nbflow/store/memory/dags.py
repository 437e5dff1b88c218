"""DAGs, their versions, and import errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from nbflow.core.snapshot import RunKey
from nbflow.core.states import RunState
from nbflow.errors import NbflowError
from nbflow.store.base import DagImportError, DagLimits, DagRow, DagVersion
from nbflow.store.memory.tables import Tables, locked
from nbflow.store.plan_effects import utc
from nbflow.store.value_checks import check_spec
from nbflow.store.version_rows import dag_row, unscheduled_row, update_stored, with_digest


class Dags(Tables):
    @locked
    def register(self, version: DagVersion, *, now: datetime, paused: bool, activate: bool = True) -> DagVersion:
        now = utc(now)
        check_spec(version.spec)
        parsed = with_digest(version)
        versions = self._versions.setdefault(version.dag_id, [])
        stored = next((version for version in versions if version.digest == parsed.digest), None)
        if stored is None:
            stored = replace(parsed, number=len(versions) + 1, created_at=now)
            versions.append(stored)
            self._specs[version.dag_id, stored.number] = version.spec
        elif activate:
            stored = update_stored(stored, parsed)
            self._specs[version.dag_id, stored.number] = stored.spec
            versions[stored.number - 1] = stored
        if activate:
            self._dags[version.dag_id] = dag_row(stored, self._dags.get(version.dag_id), paused=paused, now=now)
        self._change()
        return stored

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
        return row and replace(row, has_import_errors=bool(self._import_errors.get(row.fileloc)))

    @locked
    def dags(self, *, include_stale: bool = False) -> list[DagRow]:
        rows = (self.dag(dag_id) for dag_id in sorted(self._dags))
        return [row for row in rows if row and (include_stale or not row.stale)]

    @locked
    def dag_limits(self, dag_ids: Iterable[str]) -> Mapping[str, DagLimits]:
        versions = ((dag_id, self._dags.get(dag_id), self.version(dag_id)) for dag_id in dag_ids)
        return {
            dag_id: DagLimits(row is not None and row.paused, version.spec.max_active_runs)
            for dag_id, row, version in versions
            if version is not None
        }

    @locked
    def unscheduled_dags(self, dag_ids: Iterable[str]) -> list[DagRow]:
        versions_by_dag = (self._versions.get(dag_id) for dag_id in sorted(set(dag_ids)) if dag_id not in self._dags)
        return [unscheduled_row(versions[-1]) for versions in versions_by_dag if versions]

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
    def next_due(self, *, after: datetime | None = None) -> datetime | None:
        return next((at for at, _ in self._schedulable() if after is None or at > after), None)

    @locked
    def delete_dag(self, dag_id: str, *, actor: str, now: datetime, dry_run: bool = False) -> int:
        runs = [key for key in self._runs if key.dag_id == dag_id]
        if any(self._runs[key].state is RunState.RUNNING for key in runs):
            raise NbflowError(
                f"DAG {dag_id} has a running run.", hint="Wait until it ends, or mark it failed, and try again."
            )
        tasks = [key for key in self._first_dates if key[0] == dag_id]
        backfills = [backfill_id for backfill_id, row in self._backfills.items() if row.dag_id == dag_id]
        versions = self._versions.get(dag_id, [])
        count = sum(sum(self._row_counts(key).values()) for key in runs)
        count += len(versions) + len(tasks) + len(backfills) + (dag_id in self._dags)
        if dry_run:
            return count
        for key in runs:
            self._delete_run(key)
        for version in self._versions.pop(dag_id, []):
            self._specs.pop((dag_id, version.number), None)
        for task in tasks:
            del self._first_dates[task]
        for backfill_id in backfills:
            del self._backfills[backfill_id]
        self._dags.pop(dag_id, None)
        self._write_audit("delete_dag", actor, utc(now), {"dag_id": dag_id, "rows": count})
        self._change()
        return count

    @locked
    def delete_run(self, run: RunKey, *, actor: str, now: datetime) -> int:
        count = sum(self._row_counts(run).values()) if run in self._runs else 0
        if count:
            self._delete_run(run)
        self._write_audit("delete_run", actor, utc(now), {"dag_id": run.dag_id, "run_id": run.run_id}, count > 0)
        self._change()
        return count

    @locked
    def put_import_errors(self, fileloc: str, errors: Sequence[DagImportError], *, now: datetime) -> None:
        self._import_errors.pop(fileloc, None)
        if errors:
            self._import_errors[fileloc] = [
                replace(error, fileloc=fileloc, at=error.at or utc(now)) for error in errors
            ]
        self._change()

    @locked
    def import_errors(self) -> list[DagImportError]:
        return [error for fileloc in sorted(self._import_errors) for error in self._import_errors[fileloc]]
