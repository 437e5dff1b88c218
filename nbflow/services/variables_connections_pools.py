"""Variables, connections and pools: what changes them, in the name of an actor. The store writes the audit log with
each change, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nbflow.connections import Connection
from nbflow.errors import ConnectionNotFound, NbflowError, PoolNotFound, VariableNotFound
from nbflow.services.operations import Operations
from nbflow.store.base import Pool
from nbflow.way_out import nearest, way


def set_variable(by: Operations, key: str, value: str, *, description: str | None = None) -> None:
    """Make a variable, or change it."""
    by.store.set_variable(key, value, description=description, actor=by.actor, now=by.clock.now())


def set_variables(by: Operations, variables: Mapping[str, tuple[str, str | None]]) -> None:
    """Make or change variables: key -> (value, description)."""
    for key, (value, description) in variables.items():
        set_variable(by, key, value, description=description)


def delete_variable(by: Operations, key: str) -> None:
    """Raises VariableNotFound with the nearest key."""
    if not by.store.delete_variable(key, actor=by.actor, now=by.clock.now()):
        raise variable_not_found(by, key)


def variable_not_found(by: Operations, key: str) -> VariableNotFound:
    known = [name for name, _, _ in by.store.variables()]
    return VariableNotFound(f"Variable {key} does not exist.", **nearest(key, known, way("variables list")))


def set_connections(by: Operations, connections: Sequence[Connection]) -> None:
    """Make or replace connections."""
    for one in connections:
        by.store.set_connection(one, actor=by.actor, now=by.clock.now())


def delete_connection(by: Operations, conn_id: str) -> None:
    """Raises ConnectionNotFound with the nearest id."""
    if not by.store.delete_connection(conn_id, actor=by.actor, now=by.clock.now()):
        raise connection_not_found(by, conn_id)


def connection_not_found(by: Operations, conn_id: str) -> ConnectionNotFound:
    known = [one.conn_id for one in by.store.connections() if one.conn_id]
    found = nearest(conn_id, known, way("connections list"))
    return ConnectionNotFound(f"There is no connection {conn_id!r}.", **found)


def find_pool(by: Operations, name: str) -> Pool:
    """Raises PoolNotFound with the nearest name."""
    pool = by.store.pool(name)
    if pool is None:
        known = [one.name for one in by.store.pools()]
        raise PoolNotFound(f"There is no pool {name!r}.", **nearest(name, known, way("pools list")))
    return pool


def set_pools(by: Operations, pools: Sequence[Pool]) -> None:
    """Make or change pools; none is, if one of them cannot be."""
    for pool in pools:
        if pool.slots < -1:
            raise NbflowError(f"Pool {pool.name} cannot have {pool.slots} slots.", hint="-1 is: no limit.")
    for pool in pools:
        by.store.set_pool(pool, actor=by.actor, now=by.clock.now())


def delete_pool(by: Operations, name: str) -> Pool:
    """Returns what it was. Raises PoolNotFound with the nearest name."""
    pool = find_pool(by, name)
    by.store.delete_pool(name, actor=by.actor, now=by.clock.now())
    return pool
