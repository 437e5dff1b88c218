"""``apply`` on a database: read and lock, compute the effects, write.

Guards, from the outside in:

* the runs that the plans name are read first (Postgres: locked, in order of their ids, so that two transactions cannot
  deadlock). The rows of a run are written only by the transaction that has locked the run, so the rows that are read
  next stay valid;
* the effects are computed from the rows that were read; this step raises the errors that say what a plan did not
  expect;
* the WHERE of every UPDATE repeats the state, the attempt and the revision that were read, and the changed rows are
  counted: if the first guard ever fails, the result is StalePlan and not a lost update;
* the history's rows come last, and are sent together with the COMMIT: see the order of history in
  :mod:`nbflow.store.sql.dialects`.

The statements are built once, at import, and compiled once per dialect (see
:mod:`nbflow.store.sql.compiled_statements`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import ClauseElement, Connection, Table, bindparam, delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from nbflow.core.plan import AddRun, Plan
from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey
from nbflow.core.states import TaskState
from nbflow.errors import DagRunAlreadyExists, StalePlan
from nbflow.store.base import Attempt
from nbflow.store.json_text import clean_text, dump_json
from nbflow.store.plan_effects import (
    Effects,
    RunRow,
    StoreColumns,
    check_new_runs,
    compute_effects,
    touched_keys,
    touched_runs,
)
from nbflow.store.sql import tables as t
from nbflow.store.sql.compiled_statements import Write
from nbflow.store.sql.database import Database
from nbflow.store.sql.rows import (
    INSTANCE_COLUMNS,
    INSTANCE_FIELDS,
    RUN_COLUMNS,
    RUN_FIELDS,
    STORE_COLUMNS,
    as_instance,
    as_run,
    as_store_columns,
    attempt_values,
    instance_values,
    run_values,
)

_RUN, _TI, _ATTEMPT = t.dag_run, t.task_instance, t.attempt

_OLD = "old_"
"""Prefix of the parameters of a WHERE, because the SET of the same UPDATE may have the column too."""


def _unchanged(table_column: Any) -> Any:
    return table_column == bindparam(_OLD + table_column.name, type_=table_column.type)


_RUNS = (
    f"SELECT {', '.join('r.' + name for name in RUN_FIELDS)}, r.id, v.digest"
    " FROM {keys} AS k CROSS JOIN dag_run AS r CROSS JOIN dag_version AS v"
    " WHERE r.dag_id = k.a AND r.run_id = k.b AND v.dag_id = r.dag_id AND v.number = r.version ORDER BY r.id{lock}"
)
_RUNS_TYPES = (*RUN_COLUMNS, _RUN.c.id, t.dag_version.c.digest)
_INSTANCES = (
    f"SELECT {', '.join('ti.' + name for name in (*INSTANCE_FIELDS, *StoreColumns._fields))}, ti.run_no"
    " FROM {keys} AS k CROSS JOIN task_instance AS ti"
    " WHERE ti.run_no = CAST(k.a AS bigint) AND ti.task_id = k.b AND ti.map_index = k.c"
)
_INSTANCES_TYPES = (*INSTANCE_COLUMNS, *STORE_COLUMNS, _TI.c.run_no)
_DIGEST = select(t.dag_version.c.digest).where(
    t.dag_version.c.dag_id == bindparam("dag_id"), t.dag_version.c.number == bindparam("number")
)

_FIXED = frozenset({"dag_id", "run_id", "logical_date", "data_interval_start", "data_interval_end", "run_after"})
_INCREMENT_REVISION = (
    update(_RUN).where(_unchanged(_RUN.c.id), _unchanged(_RUN.c.revision)).values(revision=bindparam("revision"))
)
_CHANGE_RUN = (
    update(_RUN)
    .where(_unchanged(_RUN.c.id), _unchanged(_RUN.c.revision), _unchanged(_RUN.c.state))
    .values({name: bindparam(name) for name in RUN_FIELDS if name not in _FIXED})
)
_ADD_RUNS = insert(_RUN).returning(_RUN.c.id, _RUN.c.dag_id, _RUN.c.run_id)

_SAME_STATE = (
    _unchanged(_TI.c.run_no),
    _unchanged(_TI.c.task_id),
    _unchanged(_TI.c.map_index),
    _unchanged(_TI.c.state),
)
_SAME_ATTEMPT = func.coalesce(_TI.c.attempt_id, "") == bindparam(_OLD + "attempt_id")
_CHANGE_INSTANCE = (
    update(_TI)
    .where(*_SAME_STATE, _SAME_ATTEMPT)
    .values({name: bindparam(name) for name in INSTANCE_FIELDS if name not in ("task_id", "map_index")})
)
_CHANGE_DEFERRED = _CHANGE_INSTANCE.values(next_kwargs=bindparam("next_kwargs"))
_DROP_INSTANCE = delete(_TI).where(*_SAME_STATE)

_START_ATTEMPT = (
    update(_ATTEMPT)
    .where(_unchanged(_ATTEMPT.c.attempt_id), text(t.LIVE_ATTEMPT))
    .values(state="running", started_at=bindparam("started_at"))
)
_END_ATTEMPT = (
    update(_ATTEMPT)
    .where(_unchanged(_ATTEMPT.c.attempt_id), text(t.LIVE_ATTEMPT))
    .values(
        state="ended",
        ended_at=bindparam("ended_at"),
        outcome=bindparam("outcome"),
        error=bindparam("error"),
        started_at=func.coalesce(_ATTEMPT.c.started_at, bindparam("started_at", type_=_ATTEMPT.c.started_at.type)),
        lease_until=None,
    )
)
_ADD_TRIGGER = insert(t.task_trigger).returning(t.task_trigger.c.id)


def _of_instance(table: Any) -> Any:
    return delete(table).where(_unchanged(table.c.run_no), _unchanged(table.c.task_id), _unchanged(table.c.map_index))


_END_TRIGGER = _of_instance(t.task_trigger)
_CLEAR_XCOMS = _of_instance(t.xcom)


_PUT_FIRST_DATE = text("""
INSERT INTO dag_task (dag_id, task_id, first_date) VALUES (:dag_id, :task_id, :first_date)
ON CONFLICT (dag_id, task_id) DO UPDATE SET first_date = excluded.first_date
WHERE excluded.first_date < dag_task.first_date
""").bindparams(*(bindparam(column.name, type_=column.type) for column in t.dag_task.c))

_CALLBACK_COLUMNS = ("run_no", "task_id", "map_index", "kind", "version", "at", "reason")


class Rows(NamedTuple):
    """The rows that the plans name, as they were read."""

    run_nos: dict[RunKey, int]
    runs: dict[RunKey, Run]
    digests: dict[tuple[str, int], str]
    instances: dict[tuple[RunKey, TaskKey], tuple[Instance, StoreColumns]]


class PlanWriter(Database):
    def apply(self, plans: Sequence[Plan], *, actor: str, expect: Mapping[RunKey, int] | None = None) -> list[Attempt]:
        with self._writing(nudge=False) as connection:  # before_history sends the nudge
            attempts = self._apply(connection, plans, actor, expect)
        self._count_own_commit()
        return attempts

    def _apply(
        self,
        connection: Connection,
        plans: Sequence[Plan],
        actor: str,
        expect: Mapping[RunKey, int] | None,
        last_writes: Sequence[Write] = (),
    ) -> list[Attempt]:
        """Apply the plans and commit the transaction; ``last_writes`` are writes to be sent with the commit."""
        check_new_runs(plans)
        read = self._read(connection, plans, expect or {})

        def find_spec(dag_id: str, version: int) -> Any:
            digest = read.digests.get((dag_id, version))
            if digest is None:
                digest = connection.execute(_DIGEST, {"dag_id": dag_id, "number": version}).scalar()
            return digest and self._spec(connection, dag_id, digest)

        effects = compute_effects(
            plans,
            find_run=read.runs.get,
            find_instance=lambda run, key: read.instances.get((run, key)),
            find_spec=find_spec,
            new_id=self._new_id,
            expect=expect,
        )
        self._write(connection, effects, read)
        if effects.history:
            events = _event_values(effects, read, actor)
            last_writes = [*last_writes, *self._dialect.before_history, *self._writes("add_events", events)]
        self._dialect.commit(connection, last_writes)
        return [row.attempt for row in effects.attempts if row.attempt]

    def _read(self, connection: Connection, plans: Sequence[Plan], expect: Mapping[RunKey, int]) -> Rows:
        run_keys = {*touched_runs(plans), *expect}
        run_keys.update(op.run.key for plan in plans for op in plan.ops if isinstance(op, AddRun))
        read = Rows({}, {}, {}, {})
        query = self._sql(_RUNS, *_RUNS_TYPES)
        for row in connection.execute(query, {"keys": dump_json([list(key) for key in run_keys])}):
            run = as_run(row)
            run_no, digest = row[len(RUN_FIELDS) :]
            read.runs[run.key], read.run_nos[run.key] = run, run_no
            read.digests[run.dag_id, run.version] = digest
        keys = [(read.run_nos[run], *key) for run, key in touched_keys(plans) if run in read.run_nos]
        if keys:
            runs = {run_no: run for run, run_no in read.run_nos.items()}
            query = self._sql(_INSTANCES, *_INSTANCES_TYPES)
            for row in connection.execute(query, {"keys": dump_json(keys)}):
                ti = as_instance(row)
                read.instances[runs[row[-1]], ti.key] = (ti, as_store_columns(row))
        return read

    # --- writing
    def _write(self, connection: Connection, effects: Effects, read: Rows) -> None:
        try:
            self._insert_runs(connection, effects, read)
            self._insert_triggers(connection, effects, read)
            writes = [
                *self._run_writes(effects, read),
                *self._instance_writes(effects, read),
                *self._attempt_writes(effects, read),
                *self._callback_writes(effects, read),
            ]
            rowcounts = self._dialect.send(connection, writes)
        except IntegrityError as error:
            raise _run_exists(list(effects.runs.values())) from error
        if any(write.exact and count != len(write.rows) for write, count in zip(writes, rowcounts, strict=True)):
            raise StalePlan(
                "A row changed while the plan was applied.", hint="Read the runs again and compute a new plan."
            )

    def _writes(self, name: str, rows: list[dict[str, Any]], *, exact: bool = False) -> list[Write]:
        return [self._compiled(name, *_STATEMENTS[name]).write(rows, exact=exact)] if rows else []

    def _insert_runs(self, connection: Connection, effects: Effects, read: Rows) -> None:
        """Insert new runs first: the rows of a run refer to its id."""
        new = [run_values(row.after) for row in effects.runs.values() if row.before is None]
        if new:
            for run_no, dag_id, run_id in connection.execute(_ADD_RUNS, new):
                read.run_nos[RunKey(dag_id, run_id)] = run_no

    def _insert_triggers(self, connection: Connection, effects: Effects, read: Rows) -> None:
        """Insert triggers first: their task instances refer to their ids."""
        for run, key in effects.ended_triggers:
            connection.execute(_END_TRIGGER, _old_key(read.run_nos[run], key))
        for trigger in effects.new_triggers:
            values = {
                "run_no": read.run_nos[trigger.run],
                "task_id": trigger.key.task_id,
                "map_index": trigger.key.map_index,
                "attempt_id": trigger.attempt_id,
                "trigger": trigger.trigger,
                "timeout_at": trigger.timeout_at,
            }
            trigger_id = connection.execute(_ADD_TRIGGER, values).scalar_one()
            row = effects.rows[trigger.run, trigger.key]
            if row.after is not None and row.after.state is TaskState.DEFERRED:
                row.after = replace(row.after, trigger_id=trigger_id)

    def _run_writes(self, effects: Effects, read: Rows) -> list[Write]:
        increments: list[dict[str, Any]] = []
        changes: list[dict[str, Any]] = []
        for key, row in effects.runs.items():
            if row.before is None or not row.has_new_revision:
                continue
            old = {_OLD + "id": read.run_nos[key], _OLD + "revision": row.before.revision}
            if row.after == replace(row.before, revision=row.after.revision):
                increments.append({**old, "revision": row.after.revision})
            else:
                values = {name: value for name, value in run_values(row.after).items() if name in _RUN_CHANGES}
                changes.append({**old, _OLD + "state": row.before.state, **values})
        return [
            *self._writes("increment_revision", increments, exact=True),
            *self._writes("change_run", changes, exact=True),
        ]

    def _instance_writes(self, effects: Effects, read: Rows) -> list[Write]:
        added: list[dict[str, Any]] = []
        dropped: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        deferred: list[dict[str, Any]] = []
        for (run, key), row in effects.rows.items():
            run_no = read.run_nos[run]
            if row.before is None:
                if row.after is not None:
                    added.append(instance_values(run_no, row.after, row.store_columns))
                continue
            values = {**_old_key(run_no, key), _OLD + "state": row.before.state}
            if row.after is None:
                dropped.append(values)
            elif row.after is not row.before:
                values[_OLD + "attempt_id"] = row.before.attempt_id or ""
                for name in _INSTANCE_CHANGES:
                    values[name] = getattr(row.after, name)
                values["skips"] = list(row.after.skips) or None
                if row.store_columns is not read.instances[run, key][1]:
                    deferred.append({**values, "next_kwargs": row.store_columns.next_kwargs})
                else:
                    changed.append(values)
        first_dates = [
            {"dag_id": dag_id, "task_id": task_id, "first_date": first}
            for (dag_id, task_id), first in sorted(effects.added_tasks.items())
        ]
        return [
            *self._writes("drop_instances", dropped, exact=True),
            *self._writes("change_instances", changed, exact=True),
            *self._writes("change_deferred", deferred, exact=True),
            *self._writes("add_instances", added),
            *self._writes("put_first_dates", first_dates),
        ]

    def _attempt_writes(self, effects: Effects, read: Rows) -> list[Write]:
        cleared = [_old_key(read.run_nos[run], key) for run, key in effects.cleared_xcoms]
        starts = [{_OLD + "attempt_id": attempt_id, "started_at": at} for attempt_id, at in effects.started.items()]
        ends = [
            {
                _OLD + "attempt_id": end.attempt_id,
                "ended_at": end.at,
                "outcome": end.outcome,
                "error": clean_text(end.error) if end.error else None,
                "started_at": end.started_at,
            }
            for end in effects.ended_attempts
        ]
        added = [attempt_values(read.run_nos[row.attempt.run], row.attempt) for row in effects.attempts if row.attempt]
        return [
            *self._writes("clear_xcoms", cleared),
            *self._writes("start_attempts", starts),
            *self._writes("end_attempts", ends),
            *self._writes("add_attempts", added),
        ]

    def _callback_writes(self, effects: Effects, read: Rows) -> list[Write]:
        rows = [
            {
                "run_no": read.run_nos[callback.run],
                "task_id": callback.key.task_id if callback.key else None,
                "map_index": callback.key.map_index if callback.key else -1,
                "kind": callback.kind,
                "version": callback.version,
                "at": callback.at,
                "reason": clean_text(callback.reason),
            }
            for callback in effects.callbacks
        ]
        return self._writes("add_callbacks", rows)


def _event_values(effects: Effects, read: Rows, actor: str) -> list[dict[str, Any]]:
    return [
        {
            "run_no": read.run_nos[run],
            "task_id": key.task_id if key else None,
            "map_index": key.map_index if key else -1,
            "source": source,
            "target": target,
            "cause": cause,
            "actor": actor,
            "at": at,
            "try_number": try_number,
            "attempt_id": attempt_id,
            "detail": detail or None,
        }
        for run, key, source, target, cause, at, try_number, attempt_id, detail in effects.history
    ]


def _all_but(table: Table, *names: str) -> tuple[str, ...]:
    return tuple(column.name for column in table.c if column.name not in names)


_STATEMENTS: Mapping[str, tuple[ClauseElement, Sequence[str] | None]] = {
    "increment_revision": (_INCREMENT_REVISION, None),
    "change_run": (_CHANGE_RUN, None),
    "drop_instances": (_DROP_INSTANCE, None),
    "change_instances": (_CHANGE_INSTANCE, None),
    "change_deferred": (_CHANGE_DEFERRED, None),
    "add_instances": (insert(_TI), _all_but(_TI)),
    "put_first_dates": (_PUT_FIRST_DATE, None),
    "clear_xcoms": (_CLEAR_XCOMS, None),
    "start_attempts": (_START_ATTEMPT, None),
    "end_attempts": (_END_ATTEMPT, None),
    "add_attempts": (insert(_ATTEMPT), _all_but(_ATTEMPT, "id")),
    "add_callbacks": (insert(t.callback), _CALLBACK_COLUMNS),
    "add_events": (insert(t.task_event), _all_but(t.task_event, "seq")),
}
"""The statements of ``apply`` by name, with the columns that an INSERT sets."""

_RUN_CHANGES = frozenset(RUN_FIELDS) - _FIXED
_INSTANCE_CHANGES = tuple(name for name in INSTANCE_FIELDS if name not in ("task_id", "map_index"))


def _old_key(run_no: int, key: TaskKey) -> dict[str, Any]:
    return {_OLD + "run_no": run_no, _OLD + "task_id": key.task_id, _OLD + "map_index": key.map_index}


def _run_exists(rows: list[RunRow]) -> DagRunAlreadyExists:
    new = [f"run {row.after.run_id} of DAG {row.after.dag_id}" for row in rows if row.before is None]
    return DagRunAlreadyExists(
        f"Cannot store {', '.join(new) or 'the run'}: a run with the same run id, or a scheduled or backfill run of the"
        " same logical date, already exists."
    )
