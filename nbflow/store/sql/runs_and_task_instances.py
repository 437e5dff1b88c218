"""Runs, task instances and history: what the scheduler reads (snapshot, usage, leases of runs), and the other
queries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, func, select, text, true, update

from nbflow.core.snapshot import Instance, PreviousRun, Run, RunKey, Snapshot, TaskKey
from nbflow.core.spec import DagSpec, needs_previous_run
from nbflow.core.states import OCCUPYING, RunState, TaskState
from nbflow.store.base import Cursor, History, TaskEvent, Usage
from nbflow.store.history_cursor import Head, make_history, parse_cursor
from nbflow.store.json_text import dump_json
from nbflow.store.plan_effects import lease_is_due, utc
from nbflow.store.sql import tables as t
from nbflow.store.sql.database import Database
from nbflow.store.sql.rows import (
    INSTANCE_COLUMNS,
    INSTANCE_FIELDS,
    RUN_COLUMNS,
    RUN_FIELDS,
    as_instance,
    as_run,
    task_key,
)

_RUN, _TI, _EVENT = t.dag_run, t.task_instance, t.task_event

_BY_KEY = (_RUN.c.dag_id == bindparam("dag_id"), _RUN.c.run_id == bindparam("run_id"))
SELECT_RUN = select(*RUN_COLUMNS).where(*_BY_KEY)
_SNAPSHOT_RUN = (
    select(*RUN_COLUMNS, _RUN.c.id, t.dag_version.c.digest, t.dag.c.paused)
    .join(t.dag_version, and_(t.dag_version.c.dag_id == _RUN.c.dag_id, t.dag_version.c.number == _RUN.c.version))
    .join(t.dag, t.dag.c.dag_id == _RUN.c.dag_id, isouter=True)
    .where(*_BY_KEY)
)
_INSTANCES = select(*INSTANCE_COLUMNS).where(_TI.c.run_no == bindparam("run_no"))
_INSTANCES_OF_RUN = (
    select(*INSTANCE_COLUMNS)
    .join(_RUN, _RUN.c.id == _TI.c.run_no)
    .where(*_BY_KEY)
    .order_by(_TI.c.task_id, _TI.c.map_index)
)
_STATES = (
    select(_TI.c.task_id, _TI.c.state)
    .where(_TI.c.run_no == bindparam("run_no"))
    .order_by(_TI.c.task_id, _TI.c.map_index)
)
_PREVIOUS = (
    select(_RUN.c.id, _RUN.c.run_id)
    .where(
        _RUN.c.dag_id == bindparam("dag_id"),
        _RUN.c.sort_date < bindparam("at", type_=_RUN.c.sort_date.type),
        _RUN.c.logical_date.is_not(None),
    )
    .order_by(_RUN.c.sort_date.desc(), _RUN.c.id.desc())
    .limit(1)
)
_PREVIOUS_AUTOMATED = _PREVIOUS.where(_RUN.c.run_type != "manual")
_KNOWN_TASKS = select(t.dag_task.c.task_id).where(
    t.dag_task.c.dag_id == bindparam("dag_id"),
    t.dag_task.c.first_date < bindparam("at", type_=t.dag_task.c.first_date.type),
)
_ACTIVE = select(*RUN_COLUMNS).where(text(t.ACTIVE_RUN)).order_by(_RUN.c.run_after, _RUN.c.id)
_OCCUPIED = (
    select(
        _TI.c.pool,
        _RUN.c.dag_id,
        _RUN.c.run_id,
        _RUN.c.revision,
        _TI.c.task_id,
        _TI.c.state,
        func.count(),
        func.sum(_TI.c.pool_slots),
    )
    .join(_RUN, _RUN.c.id == _TI.c.run_no, isouter=True)  # outer: SQLite must not scan the runs first
    .where(text(f"task_instance.{t.LIVE_INSTANCE}"))
    .group_by(_TI.c.pool, _RUN.c.dag_id, _RUN.c.run_id, _RUN.c.revision, _TI.c.task_id, _TI.c.state)
)
_POOLS_WITH_DEFERRED = select(t.pool.c.name).where(t.pool.c.include_deferred)
_LATEST = (
    select(*RUN_COLUMNS)
    .where(_RUN.c.dag_id == bindparam("dag_id"), _RUN.c.logical_date.is_not(None))
    .order_by(_RUN.c.sort_date.desc(), _RUN.c.id.desc())
    .limit(1)
)
_LATEST_SCHEDULED = _LATEST.where(_RUN.c.run_type == "scheduled")
_LAST_SEQ = select(func.max(_EVENT.c.seq))
_EVENT_NAMES = ("task_id", "map_index", "seq", "source", "target", "cause", "actor", "at", "try_number", "attempt_id")
_EVENTS = select(*(_EVENT.c[name] for name in _EVENT_NAMES), _EVENT.c.detail, _RUN.c.dag_id, _RUN.c.run_id).join(
    _RUN, _RUN.c.id == _EVENT.c.run_no
)
_HEAD = (
    *(t.history_head.c[name] for name in ("store_id", "other_changes", "pruned_seq", "pruned_at")),
    _LAST_SEQ.scalar_subquery().label("last_seq"),
)
_NEW = (_EVENTS.where(_EVENT.c.seq > bindparam("after")).order_by(_EVENT.c.seq).limit(bindparam("limit"))).subquery(
    "new"
)
_HISTORY = select(*_HEAD, *_NEW.c).select_from(t.history_head.join(_NEW, true(), isouter=True)).order_by(_NEW.c.seq)
"""The new events and the head of the history in one statement, so that both come from the same snapshot."""


def run_parameters(run: RunKey) -> dict[str, str]:
    return {"dag_id": run.dag_id, "run_id": run.run_id}


class Runs(Database):
    # --- scheduling
    def snapshot(self, run: RunKey) -> Snapshot | None:
        with self._reading(one_snapshot=True) as connection:
            # The run first: if it changes before its instances are read, its revision makes the plan stale.
            row = connection.execute(_SNAPSHOT_RUN, run_parameters(run)).first()
            if row is None:
                return None
            run_no, digest, paused = row[len(RUN_FIELDS) :]
            stored = as_run(row)
            dag = self._spec(connection, run.dag_id, digest)
            tis = [as_instance(ti_row) for ti_row in connection.execute(_INSTANCES, {"run_no": run_no})]
            previous = self._previous(connection, stored, dag) if needs_previous_run(dag) else None
        return Snapshot(
            dag=dag, run=stored, instances={ti.key: ti for ti in tis}, previous=previous, paused=bool(paused)
        )

    def _previous(self, connection: Connection, run: Run, dag: DagSpec) -> PreviousRun | None:
        """The previous run: of any type, or with catchup of any type except manual (Airflow's ``get_previous_dagrun``
        and ``get_previous_scheduled_dagrun``)."""
        if run.logical_date is None:
            return None
        parameters = {"dag_id": run.dag_id, "at": run.logical_date}
        previous = connection.execute(_PREVIOUS_AUTOMATED if dag.catchup else _PREVIOUS, parameters).first()
        if previous is None:
            return None
        states: dict[str, list[TaskState]] = {}
        for task_id, state in connection.execute(_STATES, {"run_no": previous.id}):
            states.setdefault(task_id, []).append(TaskState(state))
        return PreviousRun(
            run_id=previous.run_id,
            states={task_id: tuple(ti_states) for task_id, ti_states in states.items()},
            known_tasks=frozenset(connection.execute(_KNOWN_TASKS, parameters).scalars()),
        )

    def active_runs(self, dag_id: str | None = None) -> list[Run]:
        with self._reading() as connection:
            runs = _read_runs(connection, _ACTIVE)
        return [run for run in runs if dag_id is None or run.dag_id == dag_id]

    def latest_run(self, dag_id: str, *, automated: bool = True) -> Run | None:
        with self._reading() as connection:
            row = connection.execute(_LATEST_SCHEDULED if automated else _LATEST, {"dag_id": dag_id}).first()
        return as_run(row) if row else None

    def usage(self, *, without: Mapping[RunKey, int] = {}) -> Usage:
        with self._reading(one_snapshot=True) as connection:
            rows = connection.execute(_OCCUPIED).all()
            counts_deferred = set(connection.execute(_POOLS_WITH_DEFERRED).scalars()) if rows else set()
        pools: dict[str, int] = {}
        dags: dict[str, int] = {}
        runs: dict[RunKey, int] = {}
        tasks: dict[tuple[str, str], int] = {}
        tasks_in_runs: dict[tuple[RunKey, str], int] = {}
        for pool, dag_id, run_id, revision, task_id, state, count, slots in rows:
            occupies, run = state in OCCUPYING, RunKey(dag_id, run_id)
            if without.get(run) == revision:
                continue
            if occupies or pool in counts_deferred:
                pools[pool] = pools.get(pool, 0) + int(slots)
            if occupies:
                dags[dag_id] = dags.get(dag_id, 0) + count
                runs[run] = runs.get(run, 0) + count
                tasks[dag_id, task_id] = tasks.get((dag_id, task_id), 0) + count
                tasks_in_runs[run, task_id] = tasks_in_runs.get((run, task_id), 0) + count
        return Usage(
            pools=pools, dags=dags, runs=runs, tasks=tasks, tasks_in_runs=tasks_in_runs, total=sum(runs.values())
        )

    def lease_runs(
        self, owner: str, runs: Iterable[RunKey], *, lease: timedelta, now: datetime, leave: Collection[RunKey] = ()
    ) -> list[RunKey]:
        run_keys = list(runs)
        if not run_keys:
            return []
        keys = dump_json([list(run) for run in run_keys])
        now = utc(now)
        with self._reading() as connection:
            rows = connection.execute(self._sql(_RUN_LEASES, *_RUN_LEASES_TYPES), {"keys": keys}).all()
        leases = {RunKey(row.dag_id, row.run_id): (row.lease_owner, row.lease_until) for row in rows}
        leased = {run for run, (holder, until) in leases.items() if holder == owner and until >= now}
        if wanted := [run for run, held in leases.items() if lease_is_due(owner, *held, run in leave, now, lease)]:
            leased |= self._lease(owner, wanted, now, now + lease)
        return [run for run in run_keys if run in leased]

    def _lease(self, owner: str, wanted: list[RunKey], now: datetime, until: datetime) -> set[RunKey]:
        """Take or renew these leases, as far as they are free and no transaction has locked the run: who waited for a
        locked row would stand still with a transaction that stands still."""
        keys = dump_json([list(run) for run in wanted])
        query = self._sql(_LEASABLE_RUNS, _RUN.c.id, _RUN.c.dag_id, _RUN.c.run_id, datetimes=("now",))
        with self._writing(nudge=False) as connection:
            rows = connection.execute(query, {"keys": keys, "owner": owner, "now": now}).all()
            if rows:
                connection.execute(_LEASE_RUN, [{"row_id": row.id, "owner": owner, "until": until} for row in rows])
        return {RunKey(row.dag_id, row.run_id) for row in rows}

    def release_runs(self, owner: str) -> None:
        with self._writing(count_change=False) as connection:
            connection.execute(_RELEASE_RUNS, {"owner": owner})

    # --- reading
    def run(self, run: RunKey) -> Run | None:
        with self._reading() as connection:
            row = connection.execute(SELECT_RUN, run_parameters(run)).first()
        return as_run(row) if row else None

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
        query = select(*RUN_COLUMNS).limit(limit)
        if dag_id is not None:
            query = query.where(_RUN.c.dag_id == dag_id)
        if states is not None:
            query = query.where(_RUN.c.state.in_([RunState(state).value for state in states]))
        if run_type is not None:
            query = query.where(_RUN.c.run_type == run_type)
        if since is not None:
            query = query.where(_RUN.c.logical_date >= since, _RUN.c.sort_date >= since)
        if until is not None:
            query = query.where(_RUN.c.logical_date <= until, _RUN.c.sort_date <= until)
        with self._reading() as connection:
            return _read_runs(connection, _by_date(query, newest_first))

    def recent_runs(self, dag_ids: Iterable[str], *, limit: int) -> Mapping[str, list[Run]]:
        keys = dump_json([[dag_id] for dag_id in dict.fromkeys(dag_ids)])
        recent: dict[str, list[Run]] = {}
        with self._reading() as connection:
            for row in connection.execute(self._sql(_RECENT, *RUN_COLUMNS), {"keys": keys, "limit": limit}):
                run = as_run(row)
                recent.setdefault(run.dag_id, []).append(run)
        return recent

    def run_states(self, runs: Iterable[RunKey]) -> Mapping[RunKey, RunState]:
        with self._reading() as connection:
            rows = connection.execute(self._sql(_RUN_STATES), {"keys": dump_json([list(run) for run in runs])}).all()
        return {RunKey(dag_id, run_id): RunState(state) for dag_id, run_id, state in rows}

    def newest_runs(self, dag_ids: Iterable[str]) -> Mapping[str, Run]:
        keys = {"keys": dump_json([[dag_id] for dag_id in dag_ids])}
        with self._reading() as connection:
            runs = [as_run(row) for row in connection.execute(self._sql(_NEWEST, *RUN_COLUMNS), keys)]
        return {run.dag_id: run for run in runs}

    def instances(self, run: RunKey) -> list[Instance]:
        with self._reading() as connection:
            return [as_instance(row) for row in connection.execute(_INSTANCES_OF_RUN, run_parameters(run))]

    def instances_of_runs(self, runs: Iterable[RunKey]) -> Mapping[RunKey, list[Instance]]:
        tis: dict[RunKey, list[Instance]] = {run: [] for run in runs}
        query = self._sql(_INSTANCES_OF_RUNS, *INSTANCE_COLUMNS, _RUN.c.dag_id, _RUN.c.run_id)
        with self._reading() as connection:
            for row in connection.execute(query, {"keys": dump_json([list(run) for run in tis])}):
                tis[RunKey(*row[len(INSTANCE_FIELDS) :])].append(as_instance(row))
        return tis

    def events(
        self,
        *,
        run: RunKey | None = None,
        dag_id: str | None = None,
        key: TaskKey | None = None,
        after: int = 0,
        limit: int = 10_000,
    ) -> list[TaskEvent]:
        query = _EVENTS.where(_EVENT.c.seq > after).order_by(_EVENT.c.seq).limit(limit)
        if run is not None:
            query = query.where(_RUN.c.dag_id == run.dag_id, _RUN.c.run_id == run.run_id)
        if dag_id is not None:
            query = query.where(_RUN.c.dag_id == dag_id)
        if key is not None:
            query = query.where(_EVENT.c.task_id == key.task_id, _EVENT.c.map_index == key.map_index)
        with self._reading() as connection:
            return [_as_event(row) for row in connection.execute(query)]

    def last_seq(self) -> int:
        with self._reading() as connection:
            return connection.execute(_LAST_SEQ).scalar() or 0

    def history(self, after: Cursor | None = None, *, limit: int = 1000) -> History:
        position = parse_cursor(after)
        with self._reading() as connection:
            rows = connection.execute(_HISTORY, {"after": position.seq if position else 0, "limit": limit}).all()
        head = Head(*rows[0][: len(Head._fields)])
        events = [_as_event(row[len(Head._fields) :]) for row in rows if row.seq is not None]
        return make_history(position, head, events)

    def history_end(self) -> Cursor:
        with self._reading() as connection:
            return Head(*connection.execute(select(*_HEAD)).one()).end.cursor

    def previous_success(self, run: RunKey) -> Run | None:
        with self._reading(one_snapshot=True) as connection:
            row = connection.execute(SELECT_RUN, run_parameters(run)).first()
            stored = as_run(row) if row else None
            if stored is None or stored.logical_date is None:
                return None
            before = and_(_RUN.c.sort_date < stored.logical_date, _RUN.c.logical_date.is_not(None))
            query = select(*RUN_COLUMNS).where(_RUN.c.dag_id == run.dag_id, before, _RUN.c.state == "success").limit(1)
            row = connection.execute(_by_date(query, True)).first()
        return as_run(row) if row else None

    def counts(self, runs: Sequence[RunKey]) -> Mapping[RunKey, Mapping[TaskState, int]]:
        counts: dict[RunKey, dict[TaskState, int]] = {run: {} for run in runs}
        with self._reading() as connection:
            rows = connection.execute(self._sql(_COUNTS), {"keys": dump_json([list(run) for run in counts])})
            for dag_id, run_id, state, count in rows:
                counts[RunKey(dag_id, run_id)][TaskState(state)] = count
        return counts


def _read_runs(connection: Connection, query: Select[Any]) -> list[Run]:
    """The runs of the query, which selects ``RUN_COLUMNS``. A row with a value that cannot be read must not hide the
    others: such a run has only its key, state, version and revision, and its ``snapshot`` raises the error."""
    try:
        return [as_run(row) for row in connection.execute(query)]
    except (ValueError, TypeError, KeyError):
        rows = connection.execute(query.with_only_columns(_RUN.c.id, *_READABLE)).all()
        return [_read_run(connection, run_no, values) for run_no, *values in rows]


def _read_run(connection: Connection, run_no: int, readable: Sequence[Any]) -> Run:
    try:
        return as_run(connection.execute(select(*RUN_COLUMNS).where(_RUN.c.id == run_no)).one())
    except (ValueError, TypeError, KeyError):
        names = {column.name: value for column, value in zip(_READABLE, readable, strict=True)}
        return Run(**{**names, "state": RunState(names["state"])}, run_after=_UNKNOWN_DATE)


_READABLE = [_RUN.c[name] for name in ("dag_id", "run_id", "run_type", "state", "version", "revision")]
_UNKNOWN_DATE = datetime.min.replace(tzinfo=UTC)


def _by_date(query: Select[Any], newest_first: bool) -> Select[Any]:
    order: list[ColumnElement[Any]] = [_RUN.c.sort_date, _RUN.c.id]
    return query.order_by(*(column.desc() for column in order) if newest_first else order)


def _as_event(row: Sequence[Any]) -> TaskEvent:
    task_id, map_index, *values, detail, dag_id, run_id = row
    named = dict(zip(_EVENT_NAMES[2:], values, strict=True))
    return TaskEvent(run=RunKey(dag_id, run_id), key=task_key(task_id, map_index), detail=detail or {}, **named)


_LEASABLE_RUNS = """
SELECT r.id, r.dag_id, r.run_id FROM {keys} AS k CROSS JOIN dag_run AS r
WHERE r.dag_id = k.a AND r.run_id = k.b AND (r.lease_owner IS NULL OR r.lease_owner = :owner OR r.lease_until < :now)
ORDER BY r.id{skip}
"""
_RUN_LEASES = """
SELECT r.dag_id, r.run_id, r.lease_owner, r.lease_until FROM {keys} AS k CROSS JOIN dag_run AS r
WHERE r.dag_id = k.a AND r.run_id = k.b
"""
_RUN_LEASES_TYPES = (_RUN.c.dag_id, _RUN.c.run_id, _RUN.c.lease_owner, _RUN.c.lease_until)
_RELEASE_RUNS = (
    update(_RUN)
    .where(text(t.ACTIVE_RUN), _RUN.c.lease_owner == bindparam("owner"))
    .values(lease_owner=None, lease_until=None)
)
_LEASE_RUN = (
    update(_RUN)
    .where(_RUN.c.id == bindparam("row_id"))
    .values(lease_owner=bindparam("owner"), lease_until=bindparam("until"))
)
_NEWEST = f"""
SELECT {", ".join(f"r.{name}" for name in RUN_FIELDS)} FROM {{keys}} AS k CROSS JOIN dag_run AS r
WHERE r.id = (
  SELECT n.id FROM dag_run AS n WHERE n.dag_id = k.a AND n.queued_at IS NOT NULL
  ORDER BY n.queued_at DESC, n.id DESC LIMIT 1
)
"""
_COUNTS = """
SELECT r.dag_id, r.run_id, ti.state, count(*)
FROM {keys} AS k CROSS JOIN dag_run AS r CROSS JOIN task_instance AS ti
WHERE r.dag_id = k.a AND r.run_id = k.b AND ti.run_no = r.id
GROUP BY r.dag_id, r.run_id, ti.state
"""
_RECENT = f"""
SELECT {", ".join(f"r.{name}" for name in RUN_FIELDS)}
FROM {{keys}} AS k CROSS JOIN dag_run AS r
WHERE r.id IN (SELECT id FROM dag_run WHERE dag_id = k.a ORDER BY sort_date DESC, id DESC LIMIT :limit)
ORDER BY r.dag_id, r.sort_date DESC, r.id DESC
"""
_RUN_STATES = """
SELECT r.dag_id, r.run_id, r.state FROM {keys} AS k CROSS JOIN dag_run AS r WHERE r.dag_id = k.a AND r.run_id = k.b
"""
_INSTANCES_OF_RUNS = f"""
SELECT {", ".join(f"ti.{name}" for name in INSTANCE_FIELDS)}, r.dag_id, r.run_id
FROM {{keys}} AS k CROSS JOIN dag_run AS r CROSS JOIN task_instance AS ti
WHERE r.dag_id = k.a AND r.run_id = k.b AND ti.run_no = r.id
ORDER BY r.id, ti.task_id, ti.map_index
"""
