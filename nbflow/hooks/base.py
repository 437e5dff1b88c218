"""The base of hooks.

A task creates a hook from a connection id. The hook gets the connection and imports its client library at the first
use, and closes what it opens. ``BaseHook.get_connection`` uses the provider of :mod:`nbflow.secrets_backends`.
"""

from __future__ import annotations

import logging
from functools import cached_property
from importlib import import_module
from typing import Any

from nbflow.connections import Connection
from nbflow.errors import AirflowException, did_you_mean
from nbflow.hooks.connection_types import HOOKS
from nbflow.secrets_backends import get_connection


class BaseHook:
    """Base of all hooks. Subclasses define :meth:`get_conn` and the class attributes below."""

    conn_name_attr = "conn_id"
    """Name of the attribute (and of the argument) with the connection id."""
    default_conn_name = "default"
    conn_type = ""
    hook_name = ""

    @staticmethod
    def get_connection(conn_id: str) -> Connection:
        """Return the connection. Raises ConnectionNotFound, whose message says how to add one."""
        return get_connection(conn_id)

    @classmethod
    def get_hook(cls, conn_id: str, hook_params: dict[str, Any] | None = None) -> Any:
        """Create the hook for a connection, by the connection's type. Raises AirflowException if it has no hook."""
        connection = get_connection(conn_id)
        kind = connection.conn_type or ""
        if kind not in HOOKS:
            raise AirflowException(
                f"Connection {conn_id} has the type {kind!r}, which has no hook.{did_you_mean(kind, HOOKS)}",
                hint=f"Types with a hook: {', '.join(HOOKS)}.",
            )
        module, _, name = HOOKS[kind].partition(":")
        hook_class = getattr(import_module(module), name)
        return hook_class(**{hook_class.conn_name_attr: conn_id, **(hook_params or {})})

    def get_conn(self) -> Any:
        """Return a connection or client of the client library."""
        raise NotImplementedError(f"{type(self).__name__} must define get_conn().")

    def test_connection(self) -> tuple[bool, str]:
        """Whether the connection works, and a message. Hooks that can test a connection override this."""
        return False, f"{type(self).__name__} cannot test its connection"

    @cached_property
    def log(self) -> logging.Logger:
        return logging.getLogger(f"nbflow.task.{type(self).__name__}")
