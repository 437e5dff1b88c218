"""Runs and their instances: deciding on them (snapshot, usage, apply) and reading them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from nbflow.core.plan import Plan
from nbflow.core.snapshot import Instance, PreviousRun, Run, RunKey, Snapshot, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import OCCUPYING, RUN_FINISHED, RunState, TaskState
from nbflow.errors import DagRunAlreadyExists
from nbflow.store.base import GONE_AFTER, Attempt, Cursor, History, PendingCallback, TaskEvent, Usage
from nbflow.store.codec import as_stored, clean_text, looks_at_past
from nbflow.store.cursor import Head, history_of, place_of
from nbflow.store.memory.tables import Tables, locked
from nbflow.store.plan_effects import NOTHING_HIDDEN, ONE_A_DATE, Effects, Hidden, Line, utc, work_out


class Runs(Tables):
    # --- deciding
    @locked
    def snapshot(self, run: RunKey) -> Snapshot | None:
        found = self._runs.get(run)
        if found is None:
            return None
        dag = self._specs[run.dag_id, found.version]
        row = self._dags.get(run.dag_id)
        return Snapshot(
            dag=dag,
            run=found,
            instances=dict(self._instances[run]),
            previous=self._previous(found, dag) if looks_at_past(dag) else None,
            paused=row.paused if row else False,
        )

    def _previous(self, run: Run, dag: DagSpec) -> PreviousRun | None:
        at = run.logical_date
        before = (one for one in self._runs_before(run) if not dag.catchup or one.run_type != "manual")
        previous = next(before, None)
        if previous is None or at is None:
            return None
        states: dict[str, list[TaskState]] = {}
        for _, one in sorted(self._instances[previous.key].items()):
            states.setdefault(one.task_id, []).append(one.state)
        return PreviousRun(
            run_id=previous.run_id,
            states={task_id: tuple(found) for task_id, found in states.items()},
            known_tasks=frozenset(
                task for (dag_id, task), first in self._first_seen.items() if dag_id == run.dag_id and first < at
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
    def usage(self) -> Usage:
        pools: Counter[str] = Counter()
        dags: Counter[str] = Counter()
        runs: Counter[RunKey] = Counter()
        tasks: Counter[tuple[str, str]] = Counter()
        tasks_in_runs: Counter[tuple[RunKey, str]] = Counter()
        for (run, key), one in self._live.items():
            hidden = self._hidden[run][key]
            occupies = one.state in OCCUPYING
            pool = self._pools.get(hidden.pool)
            if occupies or (one.state is TaskState.DEFERRED and pool is not None and pool.include_deferred):
                pools[hidden.pool] += hidden.pool_slots
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

    @locked
    def apply(self, plans: Sequence[Plan], *, actor: str, expect: Mapping[RunKey, int] | None = None) -> list[Attempt]:
        effects = work_out(
            plans,
            find_run=self._runs.get,
            find_row=self._find_row,
            find_spec=lambda dag_id, version: self._specs.get((dag_id, version)),
            new_id=self._new_id,
            expect=expect,
        )
        self._check_intervals(effects)
        history = [line._replace(detail=as_stored(line.detail)) for line in effects.history]
        self._carry_out(effects, history, actor)
        self._nudge()
        return [row.attempt for row in effects.attempts if row.attempt]

    def _find_row(self, run: RunKey, key: TaskKey) -> tuple[Instance, Hidden] | None:
        one = self._instances.get(run, {}).get(key)
        return (one, self._hidden[run].get(key, NOTHING_HIDDEN)) if one else None

    def _check_intervals(self, effects: Effects) -> None:
        taken: dict[tuple[str, datetime], RunKey] = {}
        for key, row in effects.runs.items():
            date = row.now.logical_date
            if row.now.run_type not in ONE_A_DATE or date is None:
                continue
            holder = taken.setdefault((key.dag_id, date), self._intervals.get((key.dag_id, date), key))
            if holder != key:
                raise DagRunAlreadyExists(
                    f"DAG {key.dag_id} has a scheduled or backfill run of {date.isoformat()} already: {holder.run_id}."
                )

    def _carry_out(self, effects: Effects, history: list[Line], actor: str) -> None:
        for row in effects.runs.values():
            if row.now is not row.found:
                self._put_run(row.now)
        for trigger_of in effects.ended_triggers:
            doomed = [n for n, trigger in self._triggers.items() if (trigger["run"], trigger["key"]) == trigger_of]
            for number in doomed:
                del self._triggers[number]
        for trigger in effects.new_triggers:
            number = self._next("trigger")
            self._triggers[number] = {
                "trigger_id": number,
                "attempt_id": trigger.attempt_id,
                "run": trigger.run,
                "key": trigger.key,
                "trigger": trigger.trigger,
                "timeout_at": trigger.timeout_at,
            }
            row_of = effects.rows[trigger.run, trigger.key]
            if row_of.now is not None and row_of.now.state is TaskState.DEFERRED:
                row_of.now = replace(row_of.now, trigger_id=number)
        for (run, key), one in effects.rows.items():
            self._put_instance(run, key, one.now, one.hidden)
        for (dag_id, task_id), first in effects.added_tasks.items():
            self._first_seen[dag_id, task_id] = min(first, self._first_seen.get((dag_id, task_id), first))
        self._carry_out_attempts(effects)
        for line in history:
            event = TaskEvent(
                seq=self._next("event"),
                run=line.run,
                key=line.key,
                source=line.source,
                target=line.target,
                cause=line.cause,
                actor=actor,
                at=line.at,
                try_number=line.try_number,
                attempt_id=line.attempt_id,
                detail=line.detail,
            )
            self._events.append(event)
            self._events_of[line.run].append(event)
        for callback in effects.callbacks:
            number = self._next("callback")
            self._callbacks[number] = PendingCallback(callback_id=number, **callback._asdict())

    def _carry_out_attempts(self, effects: Effects) -> None:
        for run, key in effects.forget_xcoms:
            self._xcoms[run].pop(key, None)
        for attempt_id, at in effects.started.items():
            attempt = self._attempts.get(attempt_id)
            if attempt is not None and attempt.state != "ended":
                self._put_attempt(replace(attempt, state="running", started_at=at))
        for end in effects.endings:
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
        wanted = None if states is None else frozenset(states)
        if dag_id is not None:
            dated = self._dated.get(dag_id, [])
            dated = dated[0 if since is None else bisect_left(dated, since, key=lambda entry: entry[0]) :]
        else:
            dated = sorted(entry for entries in self._dated.values() for entry in entries)
        found: list[Run] = []
        for _, _, key in reversed(dated) if newest_first else dated:
            run = self._runs[key]
            date = run.logical_date
            if wanted is not None and run.state not in wanted:
                continue
            if run_type is not None and run.run_type != run_type:
                continue
            if since is not None and (date is None or date < since):
                continue
            if until is not None and (date is None or date > until):
                continue
            found.append(run)
            if len(found) >= limit:
                break
        return found

    @locked
    def recent_runs(self, dag_ids: Iterable[str], *, limit: int) -> Mapping[str, list[Run]]:
        found = {dag_id: self.runs(dag_id, limit=limit) for dag_id in dag_ids}
        return {dag_id: runs for dag_id, runs in found.items() if runs}

    @locked
    def run_states(self, runs: Iterable[RunKey]) -> Mapping[RunKey, RunState]:
        return {key: self._runs[key].state for key in runs if key in self._runs}

    @locked
    def newest_runs(self, dag_ids: Iterable[str]) -> Mapping[str, Run]:
        newest: dict[str, tuple[datetime, int, Run]] = {}
        wanted = set(dag_ids)
        for run in self._runs.values():
            if run.dag_id in wanted and run.queued_at is not None:
                place = (run.queued_at, self._run_numbers[run.key], run)
                newest[run.dag_id] = max(newest.get(run.dag_id, place), place, key=lambda one: one[:2])
        return {dag_id: run for dag_id, (_, _, run) in newest.items()}

    @locked
    def instances(self, run: RunKey) -> list[Instance]:
        return [one for _, one in sorted(self._instances.get(run, {}).items())]

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
        found: list[TaskEvent] = []
        lines = self._events if run is None else self._events_of.get(run, [])
        for event in lines[bisect_right(lines, after, key=lambda line: line.seq) :]:
            if dag_id is not None and event.run.dag_id != dag_id:
                continue
            if key is not None and event.key != key:
                continue
            found.append(event)
            if len(found) >= limit:
                break
        return found

    @locked
    def last_seq(self) -> int:
        return self._events[-1].seq if self._events else 0

    @locked
    def history(self, after: Cursor | None = None, *, limit: int = 1000) -> History:
        seen = place_of(after)
        return history_of(seen, self._head(), self.events(after=seen.seq if seen else 0, limit=limit))

    @locked
    def history_end(self) -> Cursor:
        return self._head().end.cursor

    def _head(self) -> Head:
        return Head(self._store_id, self._other_changes, self._pruned_seq, self._pruned_at, self.last_seq() or None)

    @locked
    def previous_success(self, run: RunKey) -> Run | None:
        found = self._runs.get(run)
        before = self._runs_before(found) if found else iter(())
        return next((one for one in before if one.state is RunState.SUCCESS), None)

    @locked
    def counts(self, runs: Sequence[RunKey]) -> Mapping[RunKey, Mapping[TaskState, int]]:
        return {run: dict(Counter(one.state for one in self._instances.get(run, {}).values())) for run in runs}

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
        gone: Counter[str] = Counter()
        doomed = list(self._doomed(utc(before), frozenset(dag_ids)))
        for run in doomed:
            size = self._size_of(run)
            gone.update(size if "dag_run" in tables else {name: size[name] for name in tables if name in size})
        if not dry_run:
            for run in doomed:
                self._forget_of(run, tables)
        for table in tables:
            if table in ("job", "audit"):
                gone[table] += self._prune_lines(table, utc(before), dry_run)
        if gone and not dry_run:
            self._change()
        return dict(+gone)

    def _forget_of(self, run: RunKey, tables: Sequence[str]) -> None:
        if "dag_run" in tables:
            self._delete_run(run)
            return
        if "xcom" in tables:
            self._xcoms.pop(run, None)
        if "rendered" in tables:
            for name in [name for name in self._rendered if name[0] == run]:
                del self._rendered[name]

    def _prune_lines(self, table: str, before: datetime, dry_run: bool) -> int:
        if table == "audit":
            kept = [line for line in self._audit if line["at"] >= before]
            count = len(self._audit) - len(kept)
            if not dry_run:
                self._audit[:] = kept
            return count
        gone = [one.job_id for one in self._jobs.values() if (one.ended_at or one.heartbeat_at + GONE_AFTER) < before]
        if not dry_run:
            for job_id in gone:
                del self._jobs[job_id]
        return len(gone)

    def archives(self) -> Mapping[str, int]:
        return {}  # what ends with its process keeps nothing for later

    def archived(self, name: str) -> Iterator[Sequence[Any]]:
        return iter(())

    def drop_archives(self, names: Sequence[str]) -> None:
        """Nothing to do: there are none."""

    def _doomed(self, before: datetime, dag_ids: frozenset[str]) -> Iterator[RunKey]:
        for dag_id, dated in self._dated.items():
            if dag_ids and dag_id not in dag_ids:
                continue
            latest = self.latest_run(dag_id)
            for _, _, key in dated:
                run = self._runs[key]
                if run.state in RUN_FINISHED and (run.end_date or run.run_after) < before and run != latest:
                    yield key

    # --- deciding in turns
    @locked
    def lease_runs(self, owner: str, runs: Iterable[RunKey], *, lease: timedelta, now: datetime) -> list[RunKey]:
        held: list[RunKey] = []
        for run in runs:
            holder = self._run_leases.get(run)
            if run in self._runs and (holder is None or holder[0] == owner or holder[1] < now):
                self._run_leases[run] = (owner, utc(now) + lease)
                held.append(run)
        return held
