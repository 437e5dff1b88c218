"""``apply`` on a database: read and lock, work out, write.

Guards, from the outside in:

* the runs that the plans name are read first (Postgres: locked, in order of their ids, so that two appliers cannot wait
  for each other). Everything below them is written only by who holds its run, so what is read next stays true;
* the effects are worked out from what was read; whatever a plan did not expect is found there, with its name;
* every UPDATE repeats the state, the attempt and the revision that were read in its WHERE, and the rows that it hit are
  counted: should the reasoning above ever be wrong, the transaction ends as StalePlan and not as a lost update.

The statements are built once, at import: SQLAlchemy then compiles each of them once, and a call costs its parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, bindparam, delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from nbflow.core.plan import AddRun, Plan
from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey
from nbflow.core.states import TaskState
from nbflow.errors import DagRunAlreadyExists, StalePlan
from nbflow.store.base import Attempt
from nbflow.store.codec import clean_text, dump_json
from nbflow.store.effects import Effects, Hidden, RunRow, touched_keys, touched_runs, work_out
from nbflow.store.sql import tables as t
from nbflow.store.sql.database import Database
from nbflow.store.sql.rows import (
    HIDDEN_COLUMNS,
    INSTANCE_COLUMNS,
    INSTANCE_FIELDS,
    RUN_COLUMNS,
    RUN_FIELDS,
    as_hidden,
    as_instance,
    as_run,
    attempt_values,
    instance_values,
    run_values,
)

_RUN, _TI, _ATTEMPT = t.dag_run, t.task_instance, t.attempt

_WAS = "was_"
"""Prefix of the parameters in a WHERE: an UPDATE has the same column as a new value too."""


def _is(table_column: Any) -> Any:
    return table_column == bindparam(_WAS + table_column.name, type_=table_column.type)


_RUNS = (
    f"SELECT {', '.join('r.' + name for name in RUN_FIELDS)}, r.id, v.digest"
    " FROM {keys} AS k CROSS JOIN dag_run AS r CROSS JOIN dag_version AS v"
    " WHERE r.dag_id = k.a AND r.run_id = k.b AND v.dag_id = r.dag_id AND v.number = r.version ORDER BY r.id{lock}"
)
_RUNS_TYPES = (*RUN_COLUMNS, _RUN.c.id, t.dag_version.c.digest)
_ROWS = (
    f"SELECT {', '.join('ti.' + name for name in (*INSTANCE_FIELDS, *Hidden._fields))}, ti.run_no"
    " FROM {keys} AS k CROSS JOIN task_instance AS ti"
    " WHERE ti.run_no = CAST(k.a AS bigint) AND ti.task_id = k.b AND ti.map_index = k.c"
)
_ROWS_TYPES = (*INSTANCE_COLUMNS, *HIDDEN_COLUMNS, _TI.c.run_no)
_DIGEST = select(t.dag_version.c.digest).where(
    t.dag_version.c.dag_id == bindparam("dag_id"), t.dag_version.c.number == bindparam("number")
)

_FIXED = frozenset({"dag_id", "run_id", "logical_date", "data_interval_start", "data_interval_end", "run_after"})
_BUMP = update(_RUN).where(_is(_RUN.c.id), _is(_RUN.c.revision)).values(revision=bindparam("revision"))
_CHANGE_RUN = (
    update(_RUN)
    .where(_is(_RUN.c.id), _is(_RUN.c.revision), _is(_RUN.c.state))
    .values({name: bindparam(name) for name in RUN_FIELDS if name not in _FIXED})
)
_ADD_RUN = insert(_RUN).returning(_RUN.c.id, _RUN.c.dag_id, _RUN.c.run_id)

_THIS = (_is(_TI.c.run_no), _is(_TI.c.task_id), _is(_TI.c.map_index), _is(_TI.c.state))
_SAME_ATTEMPT = func.coalesce(_TI.c.attempt_id, "") == bindparam(_WAS + "attempt_id")
_CHANGE_INSTANCE = (
    update(_TI)
    .where(*_THIS, _SAME_ATTEMPT)
    .values({name: bindparam(name) for name in INSTANCE_FIELDS if name not in ("task_id", "map_index")})
)
_CHANGE_DEFERRED = _CHANGE_INSTANCE.values(next_kwargs=bindparam("next_kwargs"))
_ADD_INSTANCES = insert(_TI)
_DROP_INSTANCE = delete(_TI).where(*_THIS)

_ADD_ATTEMPTS = insert(_ATTEMPT)
_START_ATTEMPT = (
    update(_ATTEMPT)
    .where(_is(_ATTEMPT.c.attempt_id), text(t.LIVE_ATTEMPT))
    .values(state="running", started_at=bindparam("started_at"))
)
_END_ATTEMPT = (
    update(_ATTEMPT)
    .where(_is(_ATTEMPT.c.attempt_id), text(t.LIVE_ATTEMPT))
    .values(
        state="ended",
        ended_at=bindparam("ended_at"),
        outcome=bindparam("outcome"),
        error=bindparam("error"),
        started_at=func.coalesce(_ATTEMPT.c.started_at, bindparam("started_at", type_=_ATTEMPT.c.started_at.type)),
        lease_until=None,
    )
)
_ADD_EVENTS = insert(t.task_event)
_ADD_CALLBACKS = insert(t.callback)
_ADD_TRIGGER = insert(t.task_trigger).returning(t.task_trigger.c.id)


def _of_instance(table: Any) -> Any:
    return delete(table).where(_is(table.c.run_no), _is(table.c.task_id), _is(table.c.map_index))


_END_TRIGGER = _of_instance(t.task_trigger)
_FORGET_XCOMS = _of_instance(t.xcom)


class Read(NamedTuple):
    """What the plans name, as it was found."""

    numbers: dict[RunKey, int]
    runs: dict[RunKey, Run]
    digests: dict[tuple[str, int], str]
    rows: dict[tuple[RunKey, TaskKey], tuple[Instance, Hidden]]


class Applying(Database):
    def apply(self, plans: Sequence[Plan], *, actor: str, expect: Mapping[RunKey, int] | None = None) -> list[Attempt]:
        with self._writing() as connection:
            return self._apply(connection, plans, actor, expect)

    def _apply(
        self, connection: Connection, plans: Sequence[Plan], actor: str, expect: Mapping[RunKey, int] | None
    ) -> list[Attempt]:
        found = self._read(connection, plans, expect or {})

        def find_spec(dag_id: str, version: int) -> Any:
            digest = found.digests.get((dag_id, version))
            if digest is None:
                digest = connection.execute(_DIGEST, {"dag_id": dag_id, "number": version}).scalar()
            return digest and self._spec(connection, dag_id, digest)

        effects = work_out(
            plans,
            find_run=found.runs.get,
            find_row=lambda run, key: found.rows.get((run, key)),
            find_spec=find_spec,
            new_id=self._new_id,
            expect=expect,
        )
        self._write_runs(connection, effects, found)
        self._write_instances(connection, effects, found)
        self._write_attempts(connection, effects, found)
        self._write_history(connection, effects, found, actor)
        return [row.attempt for row in effects.attempts if row.attempt]

    def _read(self, connection: Connection, plans: Sequence[Plan], expect: Mapping[RunKey, int]) -> Read:
        wanted = {*touched_runs(plans), *expect}
        wanted.update(op.run.key for plan in plans for op in plan.ops if isinstance(op, AddRun))
        found = Read({}, {}, {}, {})
        query = self._sql(_RUNS).columns(*_RUNS_TYPES)
        for row in connection.execute(query, {"keys": dump_json([list(key) for key in wanted])}):
            run = as_run(row)
            run_no, digest = row[len(RUN_FIELDS) :]
            found.runs[run.key], found.numbers[run.key] = run, run_no
            found.digests[run.dag_id, run.version] = digest
        keys = [(found.numbers[run], *key) for run, key in touched_keys(plans) if run in found.numbers]
        if keys:
            names = {number: run for run, number in found.numbers.items()}
            query = self._sql(_ROWS).columns(*_ROWS_TYPES)
            for row in connection.execute(query, {"keys": dump_json(keys)}):
                one = as_instance(row)
                found.rows[names[row[-1]], one.key] = (one, as_hidden(row))
        return found

    # --- writing
    def _write_runs(self, connection: Connection, effects: Effects, found: Read) -> None:
        bumps: list[dict[str, Any]] = []
        changes: list[dict[str, Any]] = []
        new: list[dict[str, Any]] = []
        for key, row in effects.runs.items():
            if row.found is None:
                new.append(run_values(row.now))
            elif row.bumped:
                was = {_WAS + "id": found.numbers[key], _WAS + "revision": row.found.revision}
                if row.now == replace(row.found, revision=row.now.revision):
                    bumps.append({**was, "revision": row.now.revision})
                else:
                    values = {name: value for name, value in run_values(row.now).items() if name in _RUN_CHANGES}
                    changes.append({**was, _WAS + "state": row.found.state, **values})
        try:
            _update(connection, _BUMP, bumps)
            _update(connection, _CHANGE_RUN, changes)
            if new:
                for number, dag_id, run_id in connection.execute(_ADD_RUN, new):
                    found.numbers[RunKey(dag_id, run_id)] = number
        except IntegrityError as error:
            raise _exists(list(effects.runs.values())) from error

    def _write_instances(self, connection: Connection, effects: Effects, found: Read) -> None:
        for run, key in effects.ended_triggers:
            connection.execute(_END_TRIGGER, _was(found.numbers[run], key))
        for trigger in effects.new_triggers:
            place = {"run_no": found.numbers[trigger.run], "task_id": trigger.key.task_id}
            values = {**place, "map_index": trigger.key.map_index, "attempt_id": trigger.attempt_id}
            values |= {"trigger": trigger.trigger, "timeout_at": trigger.timeout_at}
            number = connection.execute(_ADD_TRIGGER, values).scalar_one()
            row = effects.rows[trigger.run, trigger.key]
            if row.now is not None and row.now.state is TaskState.DEFERRED:
                row.now = replace(row.now, trigger_id=number)
        added: list[dict[str, Any]] = []
        dropped: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        deferred: list[dict[str, Any]] = []
        for (run, key), row in effects.rows.items():
            run_no = found.numbers[run]
            if row.found is None:
                if row.now is not None:
                    added.append(instance_values(run_no, row.now, row.hidden))
                continue
            was = {**_was(run_no, key), _WAS + "state": row.found.state}
            if row.now is None:
                dropped.append(was)
            elif row.now is not row.found:
                was[_WAS + "attempt_id"] = row.found.attempt_id or ""
                was |= {name: getattr(row.now, name) for name in _INSTANCE_CHANGES}
                was["skips"] = list(row.now.skips) or None
                if row.hidden is not found.rows[run, key][1]:
                    deferred.append({**was, "next_kwargs": row.hidden.next_kwargs})
                else:
                    changed.append(was)
        _update(connection, _DROP_INSTANCE, dropped)
        _update(connection, _CHANGE_INSTANCE, changed)
        _update(connection, _CHANGE_DEFERRED, deferred)
        if added:
            connection.execute(_ADD_INSTANCES, added)
            self._note_tasks(connection, effects)

    def _note_tasks(self, connection: Connection, effects: Effects) -> None:
        seen = [
            {"dag_id": dag_id, "task_id": task_id, "first_date": first}
            for (dag_id, task_id), first in sorted(effects.added_tasks.items())
        ]
        if seen:
            types = [bindparam(name, type_=t.dag_task.c[name].type) for name in seen[0]]
            connection.execute(self._sql(_NOTE_TASK).bindparams(*types), seen)

    def _write_attempts(self, connection: Connection, effects: Effects, found: Read) -> None:
        if effects.forget_xcoms:
            connection.execute(_FORGET_XCOMS, [_was(found.numbers[run], key) for run, key in effects.forget_xcoms])
        if effects.started:
            starts = [{_WAS + "attempt_id": one, "started_at": at} for one, at in effects.started.items()]
            connection.execute(_START_ATTEMPT, starts)
        if effects.endings:
            ends = [
                {
                    _WAS + "attempt_id": end.attempt_id,
                    "ended_at": end.at,
                    "outcome": end.outcome,
                    "error": clean_text(end.error) if end.error else None,
                    "started_at": end.started_at,
                }
                for end in effects.endings
            ]
            connection.execute(_END_ATTEMPT, ends)
        made = [row.attempt for row in effects.attempts if row.attempt]
        if made:
            connection.execute(_ADD_ATTEMPTS, [attempt_values(found.numbers[one.run], one) for one in made])

    def _write_history(self, connection: Connection, effects: Effects, found: Read, actor: str) -> None:
        if effects.callbacks:
            callbacks = [
                {
                    "run_no": found.numbers[one.run],
                    "task_id": one.key.task_id if one.key else None,
                    "map_index": one.key.map_index if one.key else -1,
                    "kind": one.kind,
                    "version": one.version,
                    "at": one.at,
                    "reason": clean_text(one.reason),
                }
                for one in effects.callbacks
            ]
            connection.execute(_ADD_CALLBACKS, callbacks)
        if not effects.history:
            return
        lines = [
            {
                "run_no": found.numbers[run],
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
        self._dialect.lock_history(connection)
        connection.execute(_ADD_EVENTS, lines)


_RUN_CHANGES = frozenset(RUN_FIELDS) - _FIXED
_INSTANCE_CHANGES = tuple(name for name in INSTANCE_FIELDS if name not in ("task_id", "map_index"))

_NOTE_TASK = """
INSERT INTO dag_task (dag_id, task_id, first_date) VALUES (:dag_id, :task_id, :first_date)
ON CONFLICT (dag_id, task_id) DO UPDATE SET first_date = excluded.first_date
WHERE excluded.first_date < dag_task.first_date
"""


def _was(run_no: int, key: TaskKey) -> dict[str, Any]:
    return {_WAS + "run_no": run_no, _WAS + "task_id": key.task_id, _WAS + "map_index": key.map_index}


def _update(connection: Connection, statement: Executable, rows: list[dict[str, Any]]) -> None:
    """Run an UPDATE or DELETE for each of ``rows``; each must hit its row."""
    if rows and connection.execute(statement, rows).rowcount != len(rows):
        raise StalePlan("A row moved while the plan was applied.", hint="Decide again from a new snapshot.")


def _exists(rows: list[RunRow]) -> DagRunAlreadyExists:
    new = ", ".join(f"{row.now.run_id} of DAG {row.now.dag_id}" for row in rows if row.found is None) or "a moved run"
    return DagRunAlreadyExists(f"There is a run with the id, or a scheduled or backfill run of the date, of {new}.")
