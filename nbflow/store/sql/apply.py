"""``apply`` on a database: read and lock, work out, write.

Guards, from the outside in:

* the runs that the plans name are read first (Postgres: locked, in order of their ids, so that two appliers cannot wait
  for each other). Everything below them is written only by who holds its run, so what is read next stays true;
* the effects are worked out from what was read; whatever a plan did not expect is found there, with its name;
* every UPDATE repeats the state, the attempt and the revision that were read in its WHERE, and the rows that it hit are
  counted: should the reasoning above ever be wrong, the transaction ends as StalePlan and not as a lost update;
* the history's rows come last, and are sent together with the COMMIT: see the order of history in
  :mod:`nbflow.store.sql.dialects`.

The statements are built once, at import, and compiled once for each database (see
:mod:`nbflow.store.sql.apply_statements`)."""

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
from nbflow.store.codec import clean_text, dump_json
from nbflow.store.plan_effects import Effects, Hidden, RunRow, touched_keys, touched_runs, work_out
from nbflow.store.sql import tables as t
from nbflow.store.sql.apply_statements import Write
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
_ADD_RUNS = insert(_RUN).returning(_RUN.c.id, _RUN.c.dag_id, _RUN.c.run_id)

_THIS = (_is(_TI.c.run_no), _is(_TI.c.task_id), _is(_TI.c.map_index), _is(_TI.c.state))
_SAME_ATTEMPT = func.coalesce(_TI.c.attempt_id, "") == bindparam(_WAS + "attempt_id")
_CHANGE_INSTANCE = (
    update(_TI)
    .where(*_THIS, _SAME_ATTEMPT)
    .values({name: bindparam(name) for name in INSTANCE_FIELDS if name not in ("task_id", "map_index")})
)
_CHANGE_DEFERRED = _CHANGE_INSTANCE.values(next_kwargs=bindparam("next_kwargs"))
_DROP_INSTANCE = delete(_TI).where(*_THIS)

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
_ADD_TRIGGER = insert(t.task_trigger).returning(t.task_trigger.c.id)


def _of_instance(table: Any) -> Any:
    return delete(table).where(_is(table.c.run_no), _is(table.c.task_id), _is(table.c.map_index))


_END_TRIGGER = _of_instance(t.task_trigger)
_FORGET_XCOMS = _of_instance(t.xcom)


_NOTE_TASK = text("""
INSERT INTO dag_task (dag_id, task_id, first_date) VALUES (:dag_id, :task_id, :first_date)
ON CONFLICT (dag_id, task_id) DO UPDATE SET first_date = excluded.first_date
WHERE excluded.first_date < dag_task.first_date
""").bindparams(*(bindparam(column.name, type_=column.type) for column in t.dag_task.c))

_CALLBACK_COLUMNS = ("run_no", "task_id", "map_index", "kind", "version", "at", "reason")


class Read(NamedTuple):
    """What the plans name, as it was found."""

    numbers: dict[RunKey, int]
    runs: dict[RunKey, Run]
    digests: dict[tuple[str, int], str]
    rows: dict[tuple[RunKey, TaskKey], tuple[Instance, Hidden]]


class Applying(Database):
    def apply(self, plans: Sequence[Plan], *, actor: str, expect: Mapping[RunKey, int] | None = None) -> list[Attempt]:
        with self._writing(nudge=False) as connection:  # the history's row wakes who waits
            attempts = self._apply(connection, plans, actor, expect)
        self._count_own()
        return attempts

    def _apply(
        self,
        connection: Connection,
        plans: Sequence[Plan],
        actor: str,
        expect: Mapping[RunKey, int] | None,
        last: Sequence[Write] = (),
    ) -> list[Attempt]:
        """Do the plans and commit the transaction; ``last`` are writes to be sent with the commit."""
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
        self._write(connection, effects, found)
        if effects.history:
            last = [*last, *self._dialect.before_history, *self._writes("add_events", _lines(effects, found, actor))]
        self._dialect.commit(connection, last)
        return [row.attempt for row in effects.attempts if row.attempt]

    def _read(self, connection: Connection, plans: Sequence[Plan], expect: Mapping[RunKey, int]) -> Read:
        wanted = {*touched_runs(plans), *expect}
        wanted.update(op.run.key for plan in plans for op in plan.ops if isinstance(op, AddRun))
        found = Read({}, {}, {}, {})
        query = self._sql(_RUNS, *_RUNS_TYPES)
        for row in connection.execute(query, {"keys": dump_json([list(key) for key in wanted])}):
            run = as_run(row)
            run_no, digest = row[len(RUN_FIELDS) :]
            found.runs[run.key], found.numbers[run.key] = run, run_no
            found.digests[run.dag_id, run.version] = digest
        keys = [(found.numbers[run], *key) for run, key in touched_keys(plans) if run in found.numbers]
        if keys:
            names = {number: run for run, number in found.numbers.items()}
            query = self._sql(_ROWS, *_ROWS_TYPES)
            for row in connection.execute(query, {"keys": dump_json(keys)}):
                one = as_instance(row)
                found.rows[names[row[-1]], one.key] = (one, as_hidden(row))
        return found

    # --- writing
    def _write(self, connection: Connection, effects: Effects, found: Read) -> None:
        try:
            self._number_runs(connection, effects, found)
            self._number_triggers(connection, effects, found)
            writes = [
                *self._run_writes(effects, found),
                *self._instance_writes(effects, found),
                *self._attempt_writes(effects, found),
                *self._callback_writes(effects, found),
            ]
            hit = self._dialect.send(connection, writes)
        except IntegrityError as error:
            raise _exists(list(effects.runs.values())) from error
        if any(write.exact and rows != len(write.rows) for write, rows in zip(writes, hit, strict=True)):
            raise StalePlan("A row moved while the plan was applied.", hint="Decide again from a new snapshot.")

    def _writes(self, name: str, rows: list[dict[str, Any]], *, exact: bool = False) -> list[Write]:
        return [self._hot(name, *_STATEMENTS[name]).write(rows, exact=exact)] if rows else []

    def _number_runs(self, connection: Connection, effects: Effects, found: Read) -> None:
        """Insert new runs at once: what hangs on them needs their numbers."""
        new = [run_values(row.now) for row in effects.runs.values() if row.found is None]
        if new:
            for number, dag_id, run_id in connection.execute(_ADD_RUNS, new):
                found.numbers[RunKey(dag_id, run_id)] = number

    def _number_triggers(self, connection: Connection, effects: Effects, found: Read) -> None:
        """Insert triggers at once: their instances carry their numbers."""
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

    def _run_writes(self, effects: Effects, found: Read) -> list[Write]:
        bumps: list[dict[str, Any]] = []
        changes: list[dict[str, Any]] = []
        for key, row in effects.runs.items():
            if row.found is None or not row.bumped:
                continue
            was = {_WAS + "id": found.numbers[key], _WAS + "revision": row.found.revision}
            if row.now == replace(row.found, revision=row.now.revision):
                bumps.append({**was, "revision": row.now.revision})
            else:
                values = {name: value for name, value in run_values(row.now).items() if name in _RUN_CHANGES}
                changes.append({**was, _WAS + "state": row.found.state, **values})
        return [*self._writes("bump", bumps, exact=True), *self._writes("change_run", changes, exact=True)]

    def _instance_writes(self, effects: Effects, found: Read) -> list[Write]:
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
                for name in _INSTANCE_CHANGES:
                    was[name] = getattr(row.now, name)
                was["skips"] = list(row.now.skips) or None
                if row.hidden is not found.rows[run, key][1]:
                    deferred.append({**was, "next_kwargs": row.hidden.next_kwargs})
                else:
                    changed.append(was)
        seen = [
            {"dag_id": dag_id, "task_id": task_id, "first_date": first}
            for (dag_id, task_id), first in sorted(effects.added_tasks.items())
        ]
        return [
            *self._writes("drop_instances", dropped, exact=True),
            *self._writes("change_instances", changed, exact=True),
            *self._writes("change_deferred", deferred, exact=True),
            *self._writes("add_instances", added),
            *self._writes("note_tasks", seen),
        ]

    def _attempt_writes(self, effects: Effects, found: Read) -> list[Write]:
        forget = [_was(found.numbers[run], key) for run, key in effects.forget_xcoms]
        starts = [{_WAS + "attempt_id": one, "started_at": at} for one, at in effects.started.items()]
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
        made = [attempt_values(found.numbers[row.attempt.run], row.attempt) for row in effects.attempts if row.attempt]
        return [
            *self._writes("forget_xcoms", forget),
            *self._writes("start_attempts", starts),
            *self._writes("end_attempts", ends),
            *self._writes("add_attempts", made),
        ]

    def _callback_writes(self, effects: Effects, found: Read) -> list[Write]:
        rows = [
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
        return self._writes("add_callbacks", rows)


def _lines(effects: Effects, found: Read, actor: str) -> list[dict[str, Any]]:
    return [
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


def _all_but(table: Table, *names: str) -> tuple[str, ...]:
    return tuple(column.name for column in table.c if column.name not in names)


_STATEMENTS: Mapping[str, tuple[ClauseElement, Sequence[str] | None]] = {
    "bump": (_BUMP, None),
    "change_run": (_CHANGE_RUN, None),
    "drop_instances": (_DROP_INSTANCE, None),
    "change_instances": (_CHANGE_INSTANCE, None),
    "change_deferred": (_CHANGE_DEFERRED, None),
    "add_instances": (insert(_TI), _all_but(_TI)),
    "note_tasks": (_NOTE_TASK, None),
    "forget_xcoms": (_FORGET_XCOMS, None),
    "start_attempts": (_START_ATTEMPT, None),
    "end_attempts": (_END_ATTEMPT, None),
    "add_attempts": (insert(_ATTEMPT), _all_but(_ATTEMPT, "id")),
    "add_callbacks": (insert(t.callback), _CALLBACK_COLUMNS),
    "add_events": (insert(t.task_event), _all_but(t.task_event, "seq")),
}
"""What ``apply`` writes, by name, with the columns that an INSERT is given."""

_RUN_CHANGES = frozenset(RUN_FIELDS) - _FIXED
_INSTANCE_CHANGES = tuple(name for name in INSTANCE_FIELDS if name not in ("task_id", "map_index"))


def _was(run_no: int, key: TaskKey) -> dict[str, Any]:
    return {_WAS + "run_no": run_no, _WAS + "task_id": key.task_id, _WAS + "map_index": key.map_index}


def _exists(rows: list[RunRow]) -> DagRunAlreadyExists:
    new = ", ".join(f"{row.now.run_id} of DAG {row.now.dag_id}" for row in rows if row.found is None) or "a moved run"
    return DagRunAlreadyExists(f"There is a run with the id, or a scheduled or backfill run of the date, of {new}.")
