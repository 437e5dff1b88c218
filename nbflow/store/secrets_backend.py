"""The metastore as a secrets backend: connections and variables are read from it last, and variables are written to
it."""

from __future__ import annotations

from nbflow.clock import Clock
from nbflow.connections import Connection
from nbflow.core.identifiers import CONN_ID, VARIABLE_KEY, is_valid_id
from nbflow.store.base import Store


class StoreProvider:
    """A :class:`nbflow.secrets_backends.Provider` for a store. The audit log records writes under ``actor``."""

    def __init__(self, store: Store, clock: Clock, *, actor: str = "task") -> None:
        self._store, self._clock, self._actor = store, clock, actor

    def get_connection(self, conn_id: str) -> Connection | None:
        return self._store.connection(conn_id) if is_valid_id(conn_id, CONN_ID) else None

    def get_variable(self, key: str) -> str | None:
        return self._store.variable(key) if is_valid_id(key, VARIABLE_KEY) else None

    def set_variable(self, key: str, value: str, description: str | None = None) -> None:
        self._store.set_variable(key, value, description=description, actor=self._actor, now=self._clock.now())

    def delete_variable(self, key: str) -> None:
        self._store.delete_variable(key, actor=self._actor, now=self._clock.now())
