"""Variables, connections and pools. Nothing is encrypted, because nothing leaves the process's memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from nbflow.connections import Connection
from nbflow.errors import NbflowError
from nbflow.store.base import DEFAULT_POOL, Pool
from nbflow.store.memory.tables import Tables, locked
from nbflow.store.plan_effects import utc
from nbflow.store.value_checks import check_connection, check_pool, check_variable


class VariablesConnectionsPools(Tables):
    # --- variables
    @locked
    def variable(self, key: str) -> str | None:
        row = self._variables.get(key)
        return row[0] if row else None

    @locked
    def set_variable(self, key: str, value: str, *, description: str | None = None, actor: str, now: datetime) -> None:
        check_variable(key, value, description)
        self._write_audit("set_variable", actor, utc(now), {"key": key})
        self._variables[key] = (value, description)
        self._change(nudge=False)

    @locked
    def delete_variable(self, key: str, *, actor: str, now: datetime) -> bool:
        deleted = self._variables.pop(key, None) is not None
        self._write_audit("delete_variable", actor, utc(now), {"key": key}, deleted)
        self._change()
        return deleted

    @locked
    def variables(self) -> list[tuple[str, str, str | None]]:
        return [(key, *self._variables[key]) for key in sorted(self._variables)]

    # --- connections
    @locked
    def connection(self, conn_id: str) -> Connection | None:
        return self._connections.get(conn_id)

    @locked
    def set_connection(self, connection: Connection, *, actor: str, now: datetime) -> None:
        conn_id = check_connection(connection)
        self._write_audit("set_connection", actor, utc(now), {"conn_id": conn_id})
        self._connections[conn_id] = connection
        self._change(nudge=False)

    @locked
    def delete_connection(self, conn_id: str, *, actor: str, now: datetime) -> bool:
        deleted = self._connections.pop(conn_id, None) is not None
        self._write_audit("delete_connection", actor, utc(now), {"conn_id": conn_id}, deleted)
        self._change()
        return deleted

    @locked
    def connections(self) -> list[Connection]:
        return [self._connections[conn_id] for conn_id in sorted(self._connections)]

    def rotate_secrets(self) -> int:
        """Nothing to do: nothing is encrypted."""
        return 0

    # --- pools
    @locked
    def pool(self, name: str) -> Pool | None:
        return self._pools.get(name) or (DEFAULT_POOL if name == DEFAULT_POOL.name else None)

    @locked
    def pools(self) -> list[Pool]:
        pools = {DEFAULT_POOL.name: DEFAULT_POOL, **self._pools}
        return [pools[name] for name in sorted(pools)]

    @locked
    def set_pool(self, pool: Pool, *, actor: str, now: datetime) -> None:
        check_pool(pool)
        self._write_audit("set_pool", actor, utc(now), {"name": pool.name, "slots": pool.slots})
        self._pools[pool.name] = replace(pool)
        self._change()

    @locked
    def delete_pool(self, name: str, *, actor: str, now: datetime) -> bool:
        if name == DEFAULT_POOL.name:
            raise NbflowError("default_pool cannot be deleted.", hint="Set its slots instead.")
        deleted = self._pools.pop(name, None) is not None
        self._write_audit("delete_pool", actor, utc(now), {"name": name}, deleted)
        self._change()
        return deleted
