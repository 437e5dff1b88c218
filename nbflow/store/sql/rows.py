"""Conversion between rows and the core's dataclasses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, Row, Table

from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey
from nbflow.core.states import RunState, TaskState
from nbflow.store.base import Attempt
from nbflow.store.plan_effects import StoreColumns
from nbflow.store.sql import tables as t

RUN_FIELDS = tuple(field.name for field in fields(Run))
INSTANCE_FIELDS = tuple(field.name for field in fields(Instance))
_ATTEMPT_KEYS = ("run", "key")
ATTEMPT_FIELDS = tuple(field.name for field in fields(Attempt) if field.name not in _ATTEMPT_KEYS)

_TASK_STATES = {state.value: state for state in TaskState}
_RUN_STATES = {state.value: state for state in RunState}


def columns(table: Table, names: Iterable[str]) -> list[ColumnElement[Any]]:
    return [table.c[name] for name in names]


RUN_COLUMNS = columns(t.dag_run, RUN_FIELDS)
INSTANCE_COLUMNS = columns(t.task_instance, INSTANCE_FIELDS)
STORE_COLUMNS = columns(t.task_instance, StoreColumns._fields)
ATTEMPT_COLUMNS = [
    *columns(t.attempt, ATTEMPT_FIELDS),
    t.attempt.c.task_id,
    t.attempt.c.map_index,
    t.dag_run.c.dag_id,
    t.dag_run.c.run_id,
]


def as_run(row: Row[Any] | tuple[Any, ...]) -> Run:
    """The run of a row that begins with ``RUN_COLUMNS``."""
    values = dict(zip(RUN_FIELDS, row, strict=False))
    values["state"] = _RUN_STATES[values["state"]]
    return Run(**values)


def as_instance(row: Row[Any] | tuple[Any, ...]) -> Instance:
    """The task instance of a row that begins with ``INSTANCE_COLUMNS``."""
    values = dict(zip(INSTANCE_FIELDS, row, strict=False))
    values["state"] = _TASK_STATES[values["state"]]
    skips = values["skips"]
    values["skips"] = tuple(skips) if skips else ()
    return Instance(**values)


def as_store_columns(row: Row[Any] | tuple[Any, ...]) -> StoreColumns:
    """The store's columns of a row that begins with ``INSTANCE_COLUMNS`` and ``STORE_COLUMNS``."""
    return StoreColumns(*row[len(INSTANCE_FIELDS) : len(INSTANCE_FIELDS) + len(StoreColumns._fields)])


def as_attempt(row: Row[Any]) -> Attempt:
    """The attempt of a row of ``ATTEMPT_COLUMNS``."""
    named = dict(zip(ATTEMPT_FIELDS, row, strict=False))
    task_id, map_index, dag_id, run_id = row[len(ATTEMPT_FIELDS) :]
    return Attempt(run=RunKey(dag_id, run_id), key=TaskKey(task_id, map_index), **named)


def task_key(task_id: str | None, map_index: int) -> TaskKey | None:
    return None if task_id is None else TaskKey(task_id, map_index)


def run_values(run: Run) -> dict[str, Any]:
    """The run's values of the columns of ``dag_run``."""
    values = {name: getattr(run, name) for name in RUN_FIELDS}
    values["conf"] = dict(run.conf)
    values["sort_date"] = run.logical_date or run.run_after
    return values


def instance_values(run_no: int, ti: Instance, store_columns: StoreColumns) -> dict[str, Any]:
    """The instance's values of the columns of ``task_instance``."""
    values: dict[str, Any] = {name: getattr(ti, name) for name in INSTANCE_FIELDS}
    values["run_no"] = run_no
    values["skips"] = list(ti.skips) or None
    values["pool"], values["pool_slots"], values["next_kwargs"] = store_columns
    return values


def attempt_values(run_no: int, attempt: Attempt) -> dict[str, Any]:
    """The attempt's values of the columns of ``attempt``."""
    values: dict[str, Any] = {name: getattr(attempt, name) for name in ATTEMPT_FIELDS}
    values["run_no"], values["task_id"], values["map_index"] = run_no, attempt.key.task_id, attempt.key.map_index
    return values
