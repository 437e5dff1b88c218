"""The store on SQLite and Postgres, in SQLAlchemy Core. One module an intention; dialects.py holds what differs."""

from __future__ import annotations

from nbflow.store.sql.attempts import Attempts
from nbflow.store.sql.backfills import Backfills
from nbflow.store.sql.callbacks import Callbacks
from nbflow.store.sql.dags import Definitions
from nbflow.store.sql.maintenance import Upkeep
from nbflow.store.sql.runs import Runs
from nbflow.store.sql.variables_connections_pools import Secrets
from nbflow.store.sql.xcom import XComs

__all__ = ["SqlStore"]


class SqlStore(Definitions, Runs, Backfills, Attempts, XComs, Secrets, Callbacks, Upkeep):
    """See :class:`nbflow.store.base.Store`."""
