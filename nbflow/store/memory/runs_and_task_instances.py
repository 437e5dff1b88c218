"""Runs, task instances and history: what the scheduler reads (snapshot, usage), ``apply``, and the other queries."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from nbflow.core.plan import Plan
from nbflow.core.run_ids import RunType
from nbflow.core.snapshot import Instance, PreviousRun, Run, RunKey, Snapshot, TaskKey
from nbflow.core.spec import DagSpec, needs_previous_run
from nbflow.core.states import OCCUPYING, RUN_FINISHED, RunState, TaskState
from nbflow.errors import DagRunAlreadyExists
from nbflow.store.base import DEAD_AFTER, Attempt, Cursor, History, PendingCallback, TaskEvent, Usage
from nbflow.store.history_cursor import Head, make_history, parse_cursor
from nbflow.store.json_text import as_stored, clean_text
from nbflow.store.memory.tables import Tables, locked
from nbflow.store.plan_effects import (
    DEFAULT_STORE_COLUMNS,
    UNIQUE_DATE_RUN_TYPES,
    Effects,
    NewEvent,
    StoreColumns,
    check_new_runs,
    compute_effects,
    lease_is_due,
    touched_runs,
    utc,
)


class Runs(Tables):
    # --- scheduling
    @locked
    def snapshot(self, run: RunKey) -> Snapshot | None:
        stored = self._runs.get(run)
        if stored is None:
            return None
        dag = self._specs[run.dag_id, stored.version]
        row = self._dags.get(run.dag_id)
        return Snapshot(
            dag=dag,
            run=stored,
            instances=dict(self._instances[run]),
            previous=self._previous(stored, dag) if needs_previous_run(dag) else None,
            paused=row.paused if row else False,
        )

    def _previous(self, run: Run, dag: DagSpec) -> PreviousRun | None:
        date = run.logical_date
        candidates = (before for before in self._runs_before(run) if not dag.catchup or before.run_type != "manual")
        previous = next(candidates, None)
        if previous is None or date is None:
            return None
        states: dict[str, list[TaskState]] = {}
        for _, ti in sorted(self._instances[previous.key].items()):
            states.setdefault(ti.task_id, []).append(ti.state)
        return PreviousRun(
            run_id=previous.run_id,
            states={task_id: tuple(ti_states) for task_id, ti_states in states.items()},
            known_tasks=frozenset(
                task for (dag_id, task), first in self._first_dates.items() if dag_id == run.dag_id and first < date
            ),
        )

    @locked
    def active_runs(self, dag_id: str | None = None) -> list[Run]:
        keys = sorted(self._active, key=lambda key: (self._runs[key].run_after, self._run_numbers[key]))
        return [self._runs[key] for key in keys if dag_id is None or key.dag_id == dag_id]

    @locked
    def latest_run(self, dag_id: str, *, automated: bool = True) -> Run | None:
        runs = (self._runs[key] for _, _, key in reversed(self._dated.get(dag_id, ())))
        dated = (run for run in runs if run.logical_date is not None)
        return next((run for run in dated if not automated or run.run_type == "scheduled"), None)

    @locked
    def usage(self, *, without: Mapping[RunKey, int] = {}) -> Usage:
        pools: Counter[str] = Counter()
        dags: Counter[str] = Counter()
        runs: Counter[RunKey] = Counter()
        tasks: Counter[tuple[str, str]] = Counter()
        tasks_in_runs: Counter[tuple[RunKey, str]] = Counter()
        for (run, key), ti in self._live.items():
            if without.get(run) == self._runs[run].revision:
                continue
            columns = self._store_columns[run][key]
            occupies = ti.state in OCCUPYING
            pool = self._pools.get(columns.pool)
            if occupies or (ti.state is TaskState.DEFERRED and pool is not None and pool.include_deferred):
                pools[columns.pool] += columns.pool_slots
            if occupies:
                dags[run.dag_id] += 1
                runs[run] += 1
                tasks[run.dag_id, key.task_id] += 1
                tasks_in_runs[run, key.task_id] += 1
        return Usage(
            pools=dict(pools),
            dags=dict(dags),
            runs=dict(runs),
            tasks=dict(tasks),
            tasks_in_runs=dict(tasks_in_runs),
            total=runs.total(),
        )

    def apply(self, plans: Sequence[Plan], *, actor: str, expect: Mapping[RunKey, int] | None = None) -> list[Attempt]:
        with self._rows_locked({*touched_runs(plans), *(expect or ())}):
            return self._apply(plans, actor, expect)

    def _rows_locked(self, runs: Iterable[RunKey]) -> AbstractContextManager[None]:
        """Hold the locks of the rows of these runs, as a transaction of Postgres does until its end."""
        return self.locks.held([("run", key) for key in sorted(runs)]) if self.shared else nullcontext()

    @locked
    def _apply(self, plans: Sequence[Plan], actor: str, expect: Mapping[RunKey, int] | None) -> list[Attempt]:
        check_new_runs(plans)
        effects = compute_effects(
            plans,
            find_run=self._runs.get,
            find_instance=self._find_instance,
            find_spec=lambda dag_id, version: self._specs.get((dag_id, version)),
            new_id=self._new_id,
            expect=expect,
        )
        self._check_dates(effects)
        history = [event._replace(detail=as_stored(event.detail)) for event in effects.history]
        self._write(effects, history, actor)
        self._nudge()
        return [row.attempt for row in effects.attempts if row.attempt]

    def _find_instance(self, run: RunKey, key: TaskKey) -> tuple[Instance, StoreColumns] | None:
        ti = self._instances.get(run, {}).get(key)
        return (ti, self._store_columns[run].get(key, DEFAULT_STORE_COLUMNS)) if ti else None

    def _check_dates(self, effects: Effects) -> None:
        run_of_date: dict[tuple[str, datetime], RunKey] = {}
        for key, row in effects.runs.items():
            date = row.after.logical_date
            if row.after.run_type not in UNIQUE_DATE_RUN_TYPES or date is None:
                continue
            existing = run_of_date.setdefault((key.dag_id, date), self._run_of_date.get((key.dag_id, date), key))
            if existing != key:
                raise DagRunAlreadyExists(
                    f"DAG {key.dag_id} already has a scheduled or backfill run of {date.isoformat()}:"
                    f" {existing.run_id}."
                )

    def _write(self, effects: Effects, history: list[NewEvent], actor: str) -> None:
        for row in effects.runs.values():
            if row.after is not row.before:
                self._put_run(row.after)
        for ti_key in effects.ended_triggers:
            ended = [n for n, trigger in self._triggers.items() if (trigger["run"], trigger["key"]) == ti_key]
            for trigger_id in ended:
                del self._triggers[trigger_id]
        for trigger in effects.new_triggers:
            trigger_id = self._next("trigger")
            self._triggers[trigger_id] = {
                "trigger_id": trigger_id,
                "attempt_id": trigger.attempt_id,
                "run": trigger.run,
                "key": trigger.key,
                "trigger": trigger.trigger,
                "timeout_at": trigger.timeout_at,
            }
            ti_row = effects.rows[trigger.run, trigger.key]
            if ti_row.after is not None and ti_row.after.state is TaskState.DEFERRED:
                ti_row.after = replace(ti_row.after, trigger_id=trigger_id)
        for (run, key), ti_row in effects.rows.items():
            self._put_instance(run, key, ti_row.after, ti_row.store_columns)
        for (dag_id, task_id), first in effects.added_tasks.items():
            self._first_dates[dag_id, task_id] = min(first, self._first_dates.get((dag_id, task_id), first))
        self._write_attempts(effects)
        for new_event in history:
            event = TaskEvent(seq=self._next("event"), actor=actor, **new_event._asdict())
            self._events.append(event)
            self._events_of[event.run].append(event)
        for callback in effects.callbacks:
            callback_id = self._next("callback")
            self._callbacks[callback_id] = PendingCallback(callback_id=callback_id, **callback._asdict())

    def _write_attempts(self, effects: Effects) -> None:
        for run, key in effects.cleared_xcoms:
            self._xcoms[run].pop(key, None)
        for attempt_id, at in effects.started.items():
            attempt = self._attempts.get(attempt_id)
            if attempt is not None and attempt.state != "ended":
                self._put_attempt(replace(attempt, state="running", started_at=at))
        for end in effects.ended_attempts:
            attempt = self._attempts.get(end.attempt_id)
            if attempt is not None and attempt.state != "ended":
                self._put_attempt(
                    replace(
                        attempt,
                        state="ended",
                        ended_at=end.at,
                        outcome=end.outcome,
                        error=clean_text(end.error) if end.error else None,
                        started_at=attempt.started_at or end.started_at,
                        lease_until=None,
                    )
                )
        for row in effects.attempts:
            if row.attempt is not None:
                self._put_attempt(row.attempt)
                self._attempts_of[row.attempt.run].append(row.attempt.attempt_id)

    # --- reading
    @locked
    def run(self, run: RunKey) -> Run | None:
        return self._runs.get(run)

    @locked
    def runs(
        self,
        dag_id: str | None = None,
        *,
        states: Iterable[RunState] | None = None,
        run_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        newest_first: bool = True,
    ) -> list[Run]:
        wanted_states = None if states is None else frozenset(states)
        if dag_id is not None:
            dated = self._dated.get(dag_id, [])
            dated = dated[0 if since is None else bisect_left(dated, since, key=lambda entry: entry[0]) :]
        else:
            dated = sorted(entry for entries in self._dated.values() for entry in entries)
        matches: list[Run] = []
        for _, _, key in reversed(dated) if newest_first else dated:
            run = self._runs[key]
            date = run.logical_date
            if wanted_states is not None and run.state not in wanted_states:
                continue
            if run_type is not None and run.run_type != run_type:
                continue
            if since is not None and (date is None or date < since):
                continue
            if until is not None and (date is None or date > until):
                continue
            matches.append(run)
            if len(matches) >= limit:
                break
        return matches

    @locked
    def recent_runs(self, dag_ids: Iterable[str], *, limit: int) -> Mapping[str, list[Run]]:
        recent = {dag_id: self.runs(dag_id, limit=limit) for dag_id in dag_ids}
        return {dag_id: runs for dag_id, runs in recent.items() if runs}

    @locked
    def run_states(self, runs: Iterable[RunKey]) -> Mapping[RunKey, RunState]:
        return {key: self._runs[key].state for key in runs if key in self._runs}

    @locked
    def newest_runs(self, dag_ids: Iterable[str]) -> Mapping[str, Run]:
        newest: dict[str, tuple[datetime, int, Run]] = {}
        wanted = set(dag_ids)
        for run in self._runs.values():
            if run.dag_id in wanted and run.queued_at is not None:
                entry = (run.queued_at, self._run_numbers[run.key], run)
                newest[run.dag_id] = max(newest.get(run.dag_id, entry), entry, key=lambda entry: entry[:2])
        return {dag_id: run for dag_id, (_, _, run) in newest.items()}

    @locked
    def instances(self, run: RunKey) -> list[Instance]:
        return [ti for _, ti in sorted(self._instances.get(run, {}).items())]

    @locked
    def instances_of_runs(self, runs: Iterable[RunKey]) -> Mapping[RunKey, list[Instance]]:
        return {run: self.instances(run) for run in runs}

    @locked
    def events(
        self,
        *,
        run: RunKey | None = None,
        dag_id: str | None = None,
        key: TaskKey | None = None,
        after: int = 0,
        limit: int = 10_000,
    ) -> list[TaskEvent]:
        matches: list[TaskEvent] = []
        events = self._events if run is None else self._events_of.get(run, [])
        for event in events[bisect_right(events, after, key=lambda event: event.seq) :]:
            if dag_id is not None and event.run.dag_id != dag_id:
                continue
            if key is not None and event.key != key:
                continue
            matches.append(event)
            if len(matches) >= limit:
                break
        return matches

    @locked
    def last_seq(self) -> int:
        return self._events[-1].seq if self._events else 0

    @locked
    def history(self, after: Cursor | None = None, *, limit: int = 1000) -> History:
        position = parse_cursor(after)
        return make_history(position, self._head(), self.events(after=position.seq if position else 0, limit=limit))

    @locked
    def history_end(self) -> Cursor:
        return self._head().end.cursor

    def _head(self) -> Head:
        counts = self._counts
        return Head(self._store_id, counts.other_changes, counts.pruned_seq, counts.pruned_at, self.last_seq() or None)

    @locked
    def previous_success(self, run: RunKey) -> Run | None:
        stored = self._runs.get(run)
        earlier = self._runs_before(stored) if stored else iter(())
        return next((before for before in earlier if before.state is RunState.SUCCESS), None)

    @locked
    def counts(self, runs: Sequence[RunKey]) -> Mapping[RunKey, Mapping[TaskState, int]]:
        return {run: dict(Counter(ti.state for ti in self._instances.get(run, {}).values())) for run in runs}

    @locked
    def prune(
        self,
        *,
        before: datetime,
        dag_ids: Sequence[str] = (),
        tables: Sequence[str] = ("dag_run",),
        archive: datetime | None = None,
        dry_run: bool = False,
    ) -> Mapping[str, int]:
        deleted: Counter[str] = Counter()
        runs = list(self._prunable_runs(utc(before), frozenset(dag_ids)))
        for run in runs:
            counts = self._row_counts(run)
            deleted.update(counts if "dag_run" in tables else {name: counts[name] for name in tables if name in counts})
        if not dry_run:
            for run in runs:
                self._prune_run(run, tables)
        for table in tables:
            if table in ("job", "audit"):
                deleted[table] += self._prune_table(table, utc(before), dry_run)
        if deleted and not dry_run:
            self._change()
        return dict(+deleted)

    def _prune_run(self, run: RunKey, tables: Sequence[str]) -> None:
        if "dag_run" in tables:
            self._delete_run(run)
            return
        if "xcom" in tables:
            self._xcoms.pop(run, None)
        if "rendered" in tables:
            for key in [key for key in self._rendered if key[0] == run]:
                del self._rendered[key]

    def _prune_table(self, table: str, before: datetime, dry_run: bool) -> int:
        if table == "audit":
            remaining = [row for row in self._audit if row["at"] >= before]
            count = len(self._audit) - len(remaining)
            if not dry_run:
                self._audit[:] = remaining
            return count
        dead = [job.job_id for job in self._jobs.values() if (job.ended_at or job.heartbeat_at + DEAD_AFTER) < before]
        if not dry_run:
            for job_id in dead:
                del self._jobs[job_id]
        return len(dead)

    @locked
    def row_counts(self) -> Mapping[str, int]:
        return {
            "dag": len(self._dags),
            "dag_run": len(self._runs),
            "task_instance": sum(map(len, self._instances.values())),
            "xcom": sum(len(keys) for of_run in self._xcoms.values() for keys in of_run.values()),
            "backfill": len(self._backfills),
            "variable": len(self._variables),
            "connection": len(self._connections),
            "pool": len(self._pools),
            "audit": len(self._audit),
        }

    def archives(self) -> Mapping[str, int]:
        return {}  # an archive would not outlive the process

    def archived(self, name: str) -> Iterator[Sequence[Any]]:
        return iter(())

    def drop_archives(self, names: Sequence[str]) -> None:
        """Nothing to do: there are no archives."""

    def _prunable_runs(self, before: datetime, dag_ids: frozenset[str]) -> Iterator[RunKey]:
        for dag_id, dated in self._dated.items():
            if dag_ids and dag_id not in dag_ids:
                continue
            latest = self.latest_run(dag_id)
            for _, _, key in dated:
                run = self._runs[key]
                if (
                    run.state in RUN_FINISHED
                    and (run.end_date or run.run_after) < before
                    and run != latest
                    and not _counts_as_scheduled(run, latest)
                ):
                    yield key

    # --- leases of runs
    def lease_runs(
        self, owner: str, runs: Iterable[RunKey], *, lease: timedelta, now: datetime, leave: Collection[RunKey] = ()
    ) -> list[RunKey]:
        run_keys, now = list(runs), utc(now)
        with self._lock:
            held = {run: self._run_leases.get(run, (None, None)) for run in run_keys if run in self._runs}
            leased = {run for run, (holder, until) in held.items() if holder == owner and until and until >= now}
            due = [run for run, old in held.items() if lease_is_due(owner, old[0], old[1], run in leave, now, lease)]
            unlocked = [run for run in due if not self.locks.is_taken(("run", run))]  # as SKIP LOCKED
            self._run_leases.update(dict.fromkeys(unlocked, (owner, now + lease)))
        return [run for run in run_keys if run in leased or run in unlocked]

    @locked
    def release_runs(self, owner: str) -> None:
        for run in [run for run, (holder, _) in self._run_leases.items() if holder == owner and run in self._active]:
            del self._run_leases[run]
        self._nudge()


def _counts_as_scheduled(run: Run, latest: Run | None) -> bool:
    """Whether the run of a backfill stands for a scheduled run: without it, the schedule, which continues after
    ``latest``, would run its interval again."""
    if run.run_type != RunType.BACKFILL or run.logical_date is None:
        return False
    return latest is None or latest.logical_date is None or run.logical_date > latest.logical_date
