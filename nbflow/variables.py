"""``Variable``: reading and writing variables in task code, by the provider of :mod:`nbflow.secrets_backends`."""

from __future__ import annotations

import json
from typing import Any

from nbflow.errors import VariableNotFound
from nbflow.secrets_backends import VARIABLE_PREFIXES, current_provider
from nbflow.suggested_commands import suggest

_REQUIRED: Any = object()
"""Default of an argument without a default, since None is a valid default."""


class Variable:
    """The Variable class of task code: ``Variable.get("key", default=..., deserialize_json=True)``."""

    def __init__(self, key: str, val: str | None = None, description: str | None = None) -> None:
        self.key, self.val, self.description = key, val, description

    def __repr__(self) -> str:
        return f"Variable({self.key!r})"

    @classmethod
    def get(
        cls, key: str, default: Any = _REQUIRED, deserialize_json: bool = False, *, default_var: Any = _REQUIRED
    ) -> Any:
        """Return a variable's text, or with ``deserialize_json`` its parsed value.

        A default is returned unchanged. Without a default, raises ``VariableNotFound`` (also a ``KeyError``).
        ``default_var`` is Airflow 2's name of ``default``.
        """
        text = current_provider().get_variable(key)
        if text is not None:
            return json.loads(text) if deserialize_json else text
        fallback = default if default is not _REQUIRED else default_var
        if fallback is _REQUIRED:
            define = suggest("variables set", key)
            raise VariableNotFound(
                f"Variable {key} does not exist.",
                hint=f"Pass a default, set {VARIABLE_PREFIXES[0]}{key.upper()}, or run `{define}`.",
                suggestions=(define,),
            )
        return fallback

    @classmethod
    def set(cls, key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        """Store a variable: ``str(value)``, or its JSON."""
        current_provider().set_variable(key, json.dumps(value, indent=2) if serialize_json else str(value), description)

    @classmethod
    def setdefault(cls, key: str, default: Any, description: str | None = None, deserialize_json: bool = False) -> Any:
        """Return the variable; if there is none, store ``default`` and return it. None is refused."""
        if default is None:
            raise ValueError("Variable.setdefault needs a default that is not None.")
        value = cls.get(key, None, deserialize_json)
        if value is None:
            cls.set(key, default, description, serialize_json=deserialize_json)
            return default
        return value

    @classmethod
    def delete(cls, key: str) -> None:
        """Delete a variable; does nothing if it does not exist."""
        current_provider().delete_variable(key)
