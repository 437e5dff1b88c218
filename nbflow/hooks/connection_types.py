"""The types of connections that have a hook."""

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
