"""Hooks: clients of services, made from a connection. One file a service; :data:`HOOKS` finds them by the
connection's type."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

HOOKS: Mapping[str, str] = MappingProxyType(
    {
        "fs": "nbflow.hooks.filesystem:FSHook",
        "postgres": "nbflow.hooks.postgres:PostgresHook",
        "sqlite": "nbflow.hooks.sqlite:SqliteHook",
    }
)
"""Connection type -> where its hook is. A new hook is a file and a line here."""
