"""Secrets backends: where connections and variables are looked up, and the provider that task code gets them from.

Providers
---------
User code calls ``Variable.get("x")`` or ``BaseHook.get_connection("db")`` independently of where it runs: a child
process has neither keys nor a database URL. Both calls go through a *provider*, which the code that runs the task sets:

* a child installs one that calls its supervisor over a socket (``install_provider``: for all threads of the process);
* ``dag.test()`` and the simulator set one around the code that they run (``providing``: a context variable, so two
  runs in one process do not see each other's; a thread that user code starts falls back to the installed provider);
* without a provider, only the environment is read.

A supervisor's provider is a ``SecretsChain``: secrets backends in order, the environment first, then the metastore.
Behaviour follows Airflow: ``AIRFLOW_CONN_MY_DB`` holds a URI or JSON, ``AIRFLOW_VAR_X`` text, names in capitals;
nbflow's spelling (``NBFLOW_CONN_...``) has precedence over Airflow's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from nbflow.connections import Connection
from nbflow.errors import AirflowException, ConnectionNotFound
from nbflow.suggested_commands import suggest

if TYPE_CHECKING:
    from nbflow.secrets_masker import Masker

CONNECTION_PREFIXES = ("NBFLOW_CONN_", "AIRFLOW_CONN_")
VARIABLE_PREFIXES = ("NBFLOW_VAR_", "AIRFLOW_VAR_")


class SecretsBackend(Protocol):
    """A source of connections and variables; None means "not here, try the next backend"."""

    def get_connection(self, conn_id: str) -> Connection | None: ...

    def get_variable(self, key: str) -> str | None: ...


class Provider(SecretsBackend, Protocol):
    """What running code uses: a backend that also stores variables."""

    def set_variable(self, key: str, value: str, description: str | None = None) -> None: ...

    def delete_variable(self, key: str) -> None: ...


class EnvironmentBackend:
    """Connections and variables from environment variables; read-only."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get_connection(self, conn_id: str) -> Connection | None:
        for prefix in CONNECTION_PREFIXES:
            name = f"{prefix}{conn_id.upper()}"
            text = self._environ.get(name, "").strip()
            if text:
                return self._read(name, text, conn_id)
        return None

    @staticmethod
    def _read(name: str, text: str, conn_id: str) -> Connection:
        try:
            if text.startswith("{"):
                return Connection.from_json(text, conn_id)
            return Connection.from_uri(text, conn_id, literal=True)
        except (TypeError, ValueError):  # the error's text may hold part of the secret
            raise ConnectionNotFound(
                f"The conn_id `{conn_id}` isn't defined: {name} is set, but is neither a URI nor a JSON object."
            ) from None

    def get_variable(self, key: str) -> str | None:
        names = (f"{prefix}{key.upper()}" for prefix in VARIABLE_PREFIXES)
        return next((self._environ[name] for name in names if name in self._environ), None)


class SecretsChain:
    """Backends in order; the first that has the value wins. Writes go to ``writer``, if there is one. Secrets in what
    is read are added to ``masker``."""

    def __init__(
        self, backends: Sequence[SecretsBackend], writer: Provider | None = None, *, masker: Masker | None = None
    ) -> None:
        self._backends = tuple(backends)
        self._writer = writer
        self.masker = masker

    def get_connection(self, conn_id: str) -> Connection | None:
        connections = (backend.get_connection(conn_id) for backend in self._backends)
        connection = next((connection for connection in connections if connection is not None), None)
        if connection is not None and self.masker is not None:
            self.masker.add_connection(connection)
        return connection

    def get_variable(self, key: str) -> str | None:
        values = (backend.get_variable(key) for backend in self._backends)
        value = next((value for value in values if value is not None), None)
        if value is not None and self.masker is not None:
            self.masker.add_variable(key, value)
        return value

    def set_variable(self, key: str, value: str, description: str | None = None) -> None:
        self._writer_for(key).set_variable(key, value, description)

    def delete_variable(self, key: str) -> None:
        self._writer_for(key).delete_variable(key)

    def _writer_for(self, key: str) -> Provider:
        if self._writer is None:
            instead = suggest("variables set", key)
            raise AirflowException(
                f"Variable {key} cannot be written here: only environment variables are available.",
                hint=f"Run the code in a task, or use `{instead}`.",
                suggestions=(instead,),
            )
        return self._writer


# ------------------------------------------------------------------------------------------------------------ providers

_installed: Provider | None = None
_provider: ContextVar[Provider | None] = ContextVar("nbflow_provider", default=None)


def install_provider(provider: Provider | None) -> None:
    """Set the process's provider (of a child, a DAG file's parser, a kernel). None: the environment."""
    global _installed
    _installed = provider


@contextmanager
def providing(provider: Provider) -> Iterator[None]:
    """Set the provider of the code in the ``with`` block, in this thread or asyncio task."""
    token = _provider.set(provider)
    try:
        yield
    finally:
        _provider.reset(token)


def current_provider() -> Provider:
    """Return the provider in effect: of ``providing``, else the installed one, else the environment."""
    return _provider.get() or _installed or SecretsChain([EnvironmentBackend(os.environ)])


def mask_given(text: str) -> str:
    """Mask the secrets that the provider in effect has given to the running code, if it keeps them."""
    masker: Masker | None = getattr(_provider.get() or _installed, "masker", None)
    return text if masker is None else masker.mask(text)


def get_connection(conn_id: str) -> Connection:
    """Return a connection; raise ``ConnectionNotFound``, which says how to define it."""
    connection = current_provider().get_connection(conn_id)
    if connection is None:
        add = suggest("connections add", conn_id, "--conn-uri", "...")
        raise ConnectionNotFound(
            f"The conn_id `{conn_id}` isn't defined.",
            hint=f"Set {CONNECTION_PREFIXES[0]}{conn_id.upper()}=type://login:password@host/schema, or run `{add}`.",
            suggestions=(add,),
        )
    return connection
