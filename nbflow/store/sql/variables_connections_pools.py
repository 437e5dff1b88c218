"""Variables, connections and pools. Secrets are encrypted before they reach the database."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Row, Table, delete, select, update
from sqlalchemy import Connection as Transaction

from nbflow.connections import Connection
from nbflow.errors import NbflowError, SecretsError
from nbflow.store.base import DEFAULT_POOL, Box, Pool
from nbflow.store.json_text import dump_json
from nbflow.store.sql import tables as t
from nbflow.store.sql.jobs_leases_audit import Jobs
from nbflow.store.sql.upsert import upsert
from nbflow.store.value_checks import check_connection, check_pool, check_variable

_PUT_VARIABLE, _PUT_CONNECTION, _PUT_POOL = upsert(t.variable), upsert(t.connection), upsert(t.pool)

_SECRET_FIELDS = ("login", "password", "extra")
"""Fields of a connection that are encrypted together, so that not even which of them are set is visible."""
_PLAIN_FIELDS = ("conn_id", "conn_type", "description", "host", "schema", "port")


class VariablesConnectionsPools(Jobs):
    def _key(self) -> Box:
        if self._box is None:
            raise SecretsError(
                "The metastore was opened without a Fernet key, so secrets can be neither read nor written.",
                hint="Set [core] fernet_key, or leave it empty to use the key file in the nbflow home.",
            )
        return self._box

    # --- variables
    def variable(self, key: str) -> str | None:
        with self._reading() as connection:
            stored = connection.execute(select(t.variable.c.value).where(t.variable.c.key == key)).scalar()
        return None if stored is None else self._key().decrypt(stored)

    def set_variable(self, key: str, value: str, *, description: str | None = None, actor: str, now: datetime) -> None:
        check_variable(key, value, description)
        values = {"key": key, "value": self._key().encrypt(value), "description": description}
        with self._writing(nudge=False, count_change=True) as connection:
            connection.execute(_PUT_VARIABLE, values)
            self._write_audit(connection, "set_variable", actor, now, {"key": key})

    def delete_variable(self, key: str, *, actor: str, now: datetime) -> bool:
        return self._delete("variable", t.variable.c.key, key, actor, now)

    def variables(self) -> list[tuple[str, str, str | None]]:
        with self._reading() as connection:
            rows = connection.execute(select(t.variable).order_by(t.variable.c.key)).all()
        return [(row.key, self._key().decrypt(row.value), row.description) for row in rows]

    # --- connections
    def connection(self, conn_id: str) -> Connection | None:
        with self._reading() as connection:
            row = connection.execute(select(t.connection).where(t.connection.c.conn_id == conn_id)).first()
        return self._as_connection(row) if row else None

    def _as_connection(self, row: Row[Any]) -> Connection:
        values = dict(row._mapping)
        secret = json.loads(self._key().decrypt(values.pop("secret")))
        return Connection(**values, **secret)

    def set_connection(self, connection: Connection, *, actor: str, now: datetime) -> None:
        check_connection(connection)
        secret = {name: getattr(connection, name) for name in _SECRET_FIELDS}
        values = {name: getattr(connection, name) for name in _PLAIN_FIELDS}
        values["secret"] = self._key().encrypt(dump_json(secret))
        with self._writing(nudge=False, count_change=True) as transaction:
            transaction.execute(_PUT_CONNECTION, values)
            self._write_audit(transaction, "set_connection", actor, now, {"conn_id": connection.conn_id})

    def delete_connection(self, conn_id: str, *, actor: str, now: datetime) -> bool:
        return self._delete("connection", t.connection.c.conn_id, conn_id, actor, now)

    def connections(self) -> list[Connection]:
        with self._reading() as connection:
            rows = connection.execute(select(t.connection).order_by(t.connection.c.conn_id)).all()
        return [self._as_connection(row) for row in rows]

    def rotate_secrets(self) -> int:
        """Encrypt every stored secret again with the newest key; returns the number of secrets."""
        box = self._key()
        with self._writing(nudge=False) as connection:
            return sum(
                _reencrypt(connection, table, table.c[key], table.c[secret], box)
                for table, key, secret in ((t.variable, "key", "value"), (t.connection, "conn_id", "secret"))
            )

    # --- pools
    def pool(self, name: str) -> Pool | None:
        with self._reading() as connection:
            row = connection.execute(select(t.pool).where(t.pool.c.name == name)).first()
        return Pool(**row._mapping) if row else (DEFAULT_POOL if name == DEFAULT_POOL.name else None)

    def pools(self) -> list[Pool]:
        with self._reading() as connection:
            stored = [Pool(**row._mapping) for row in connection.execute(select(t.pool))]
        pools = {pool.name: pool for pool in (DEFAULT_POOL, *stored)}
        return [pools[name] for name in sorted(pools)]

    def set_pool(self, pool: Pool, *, actor: str, now: datetime) -> None:
        check_pool(pool)
        values = {column.name: getattr(pool, column.name) for column in t.pool.c}
        with self._writing() as connection:
            connection.execute(_PUT_POOL, values)
            self._write_audit(connection, "set_pool", actor, now, {"name": pool.name, "slots": pool.slots})

    def delete_pool(self, name: str, *, actor: str, now: datetime) -> bool:
        if name == DEFAULT_POOL.name:
            raise NbflowError("default_pool cannot be deleted.", hint="Set its slots instead.")
        return self._delete("pool", t.pool.c.name, name, actor, now)

    def _delete(self, kind: str, column: Column[Any], key: str, actor: str, now: datetime) -> bool:
        table = column.table
        with self._writing() as connection:
            deleted = connection.execute(delete(table).where(column == key)).rowcount == 1
            self._write_audit(connection, f"delete_{kind}", actor, now, {column.name: key}, deleted)
        return deleted


def _reencrypt(connection: Transaction, table: Table, key: Column[Any], secret: Column[Any], box: Box) -> int:
    rows = connection.execute(select(key, secret)).all()
    for name, stored in rows:
        encrypted = box.encrypt(box.decrypt(stored))
        connection.execute(update(table).where(key == name).values({secret: encrypted}))
    return len(rows)
