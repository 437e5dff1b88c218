"""The metastore: ``open_store(url)`` returns a :class:`nbflow.store.base.Store`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nbflow.errors import ConfigError

if TYPE_CHECKING:
    from nbflow.store.base import Box, Store


def open_store(
    url: str,
    *,
    synchronous: str = "NORMAL",
    busy_timeout: float | None = None,
    lock_timeout: float = 25.0,
    idle_timeout: float = 20.0,
    fernet: Box | None = None,
    new_id: Callable[[], str] | None = None,
) -> Store:
    """Open the metastore at ``url``; ``migrate()`` creates its tables.

    ``url``: ``memory://``, ``sqlite:////absolute/path.db`` or ``postgresql://user@host/name``. ``synchronous`` is
    SQLite's pragma: with NORMAL commits survive a killed process, with FULL also a power failure. ``busy_timeout``
    (seconds) is how long an SQLite writer waits for the lock, unless the URL has ``?timeout=``. ``lock_timeout`` and
    ``idle_timeout`` (seconds; 0: no limit) are Postgres' lock_timeout and idle_in_transaction_session_timeout. Without
    ``fernet``, secrets can be neither written nor read. ``new_id`` returns attempt ids (default: random). Raises
    ConfigError for another kind of URL.
    """
    if url in ("memory://", "memory:"):
        from nbflow.store.memory import MemoryStore

        return MemoryStore(new_id=new_id)
    if url.partition(":")[0].partition("+")[0] in ("sqlite", "postgresql", "postgres"):
        from nbflow.store.sql import SqlStore

        if busy_timeout is not None and url.startswith("sqlite") and "timeout=" not in url:
            url += f"{'&' if '?' in url else '?'}timeout={busy_timeout:g}"
        return SqlStore(
            url,
            synchronous=synchronous,
            lock_timeout=lock_timeout,
            idle_timeout=idle_timeout,
            fernet=fernet,
            new_id=new_id,
        )
    scheme, separator, _ = url.partition("://")
    raise ConfigError(
        f"nbflow has no metastore for {scheme}:// URLs." if scheme and separator else "The metastore's URL is no URL.",
        hint="Use sqlite:////path/nbflow.db or postgresql://user@host/db.",
    )
