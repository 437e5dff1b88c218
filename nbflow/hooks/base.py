"""What every hook is built on.

A hook is made in a task from a connection id, asks for the connection when it is first used, imports its client library
then, and closes what it opened. ``BaseHook.get_connection`` asks whoever runs the code: see :mod:`nbflow.connections`.
"""

from __future__ import annotations

import logging
from functools import cached_property
from importlib import import_module
from typing import Any

from nbflow.connections import Connection, get_connection
from nbflow.errors import AirflowException, did_you_mean
from nbflow.hooks import HOOKS


class BaseHook:
    """Base of all hooks. Subclasses define :meth:`get_conn` and the class attributes below."""

    conn_name_attr = "conn_id"
    """Name of the attribute (and argument) that holds the connection id."""
    default_conn_name = "default"
    conn_type = ""
    hook_name = ""

    @staticmethod
    def get_connection(conn_id: str) -> Connection:
        """The connection; raises ConnectionNotFound saying how to make one."""
        return get_connection(conn_id)

    @classmethod
    def get_hook(cls, conn_id: str, hook_params: dict[str, Any] | None = None) -> Any:
        """The hook for a connection, by the connection's type. Raises AirflowException where there is none."""
        connection = get_connection(conn_id)
        kind = connection.conn_type or ""
        if kind not in HOOKS:
            raise AirflowException(
                f"Connection {conn_id} has the type {kind!r}, for which there is no hook.{did_you_mean(kind, HOOKS)}",
                hint=f"Types with a hook: {', '.join(HOOKS)}.",
            )
        module, _, name = HOOKS[kind].partition(":")
        hook_class = getattr(import_module(module), name)
        return hook_class(**{hook_class.conn_name_attr: conn_id, **(hook_params or {})})

    def get_conn(self) -> Any:
        """The client library's own connection or client."""
        raise NotImplementedError(f"{type(self).__name__} must define get_conn().")

    def test_connection(self) -> tuple[bool, str]:
        """Whether the service answers, and a message for people. Hooks that can try say so in their own words."""
        return False, f"{type(self).__name__} does not know how to try its connection"

    @cached_property
    def log(self) -> logging.Logger:
        return logging.getLogger(f"nbflow.task.{type(self).__name__}")
