"""Hooks: clients of services, created from a connection. One file for each service; :data:`HOOKS` maps a connection's
type to its hook."""

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
"""Connection type -> ``module:class`` of its hook."""
