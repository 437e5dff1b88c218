"""Checks of the values that every store writes. Without them the stores would differ: SQLite stores any length, any
integer and NUL, Postgres does not."""

from __future__ import annotations

from nbflow.connections import Connection
from nbflow.core.identifiers import (
    CONN_ID,
    DAG_ID,
    POOL_NAME,
    QUEUE,
    TASK_ID,
    VARIABLE_KEY,
    check_id,
    check_integer,
    check_text,
)
from nbflow.core.spec import DagSpec
from nbflow.errors import NbflowError
from nbflow.store.base import Pool


def check_variable(key: str, value: str, description: str | None) -> None:
    """Check a variable. Raises InvalidIdentifier."""
    check_id(key, VARIABLE_KEY)
    check_text(value, f"value of variable {key}")
    check_text(description, f"description of variable {key}")


def check_connection(connection: Connection) -> str:
    """Check a connection; returns its id. Raises NbflowError for one without id, InvalidIdentifier."""
    if connection.conn_id is None:
        raise NbflowError("A connection needs a conn_id to be stored.")
    check_id(connection.conn_id, CONN_ID)
    for name in ("conn_type", "description", "host", "login", "password", "schema"):
        check_text(getattr(connection, name), f"{name} of connection {connection.conn_id}")
    check_integer(connection.port, f"port of connection {connection.conn_id}")
    return connection.conn_id


def check_pool(pool: Pool) -> None:
    """Check a pool. Raises InvalidIdentifier."""
    check_id(pool.name, POOL_NAME)
    check_text(pool.description, f"description of pool {pool.name}")
    check_integer(pool.slots, f"number of slots of pool {pool.name}")


def check_spec(spec: DagSpec) -> None:
    """Check the ids of a DAG and its tasks, and the names of their pools. Raises InvalidDag, InvalidIdentifier."""
    check_id(spec.dag_id, DAG_ID)
    for task_id, task in spec.tasks.items():
        check_id(task_id, TASK_ID)
        check_id(task.pool, POOL_NAME)
        check_id(task.queue, QUEUE)
        check_integer(task.pool_slots, f"pool_slots of task {task_id}")
        check_integer(task.retries, f"number of retries of task {task_id}")
