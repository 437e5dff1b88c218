"""Changes of variables, connections and pools. The store writes each change and its row of the audit log in one
transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nbflow.connections import Connection
from nbflow.errors import ConnectionNotFound, NbflowError, PoolNotFound, VariableNotFound
from nbflow.services.operations import Operations
from nbflow.store.base import Pool
from nbflow.suggested_commands import nearest, suggest


def set_variable(operations: Operations, key: str, value: str, *, description: str | None = None) -> None:
    """Create or change a variable."""
    operations.store.set_variable(
        key, value, description=description, actor=operations.actor, now=operations.clock.now()
    )


def set_variables(operations: Operations, variables: Mapping[str, tuple[str, str | None]]) -> None:
    """Create or change variables: key -> (value, description)."""
    for key, (value, description) in variables.items():
        set_variable(operations, key, value, description=description)


def delete_variable(operations: Operations, key: str) -> None:
    """Delete a variable. Raises VariableNotFound with the nearest key."""
    if key not in [name for name, _, _ in operations.store.variables()]:
        raise variable_not_found(operations, key)  # the failure is recorded once, by run_command
    operations.store.delete_variable(key, actor=operations.actor, now=operations.clock.now())


def variable_not_found(operations: Operations, key: str) -> VariableNotFound:
    known = [name for name, _, _ in operations.store.variables()]
    return VariableNotFound(f"Variable {key} does not exist.", **nearest(key, known, suggest("variables list")))


def set_connections(operations: Operations, connections: Sequence[Connection]) -> None:
    """Create or replace connections."""
    for connection in connections:
        operations.store.set_connection(connection, actor=operations.actor, now=operations.clock.now())


def delete_connection(operations: Operations, conn_id: str) -> None:
    """Delete a connection. Raises ConnectionNotFound with the nearest id."""
    if operations.store.connection(conn_id) is None:
        raise connection_not_found(operations, conn_id)
    operations.store.delete_connection(conn_id, actor=operations.actor, now=operations.clock.now())


def connection_not_found(operations: Operations, conn_id: str) -> ConnectionNotFound:
    known = [connection.conn_id for connection in operations.store.connections() if connection.conn_id]
    return ConnectionNotFound(
        f"There is no connection {conn_id!r}.", **nearest(conn_id, known, suggest("connections list"))
    )


def find_pool(operations: Operations, name: str) -> Pool:
    """A pool by its name. Raises PoolNotFound with the nearest name."""
    pool = operations.store.pool(name)
    if pool is None:
        known = [pool.name for pool in operations.store.pools()]
        raise PoolNotFound(f"There is no pool {name!r}.", **nearest(name, known, suggest("pools list")))
    return pool


def set_pools(operations: Operations, pools: Sequence[Pool]) -> None:
    """Create or change pools: all of them, or none if one is invalid."""
    for pool in pools:
        if pool.slots < -1:
            raise NbflowError(
                f"The slots of pool {pool.name} must be at least -1, not {pool.slots}.", hint="-1 means unlimited."
            )
    for pool in pools:
        operations.store.set_pool(pool, actor=operations.actor, now=operations.clock.now())


def delete_pool(operations: Operations, name: str) -> Pool:
    """Delete a pool and return it. Raises PoolNotFound with the nearest name."""
    pool = find_pool(operations, name)
    operations.store.delete_pool(name, actor=operations.actor, now=operations.clock.now())
    return pool
