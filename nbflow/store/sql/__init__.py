"""The store on SQLite and Postgres, in SQLAlchemy Core. ``dialects.py`` holds the differences between the two."""

from __future__ import annotations

from nbflow.store.sql.attempts import Attempts
from nbflow.store.sql.backfills import Backfills
from nbflow.store.sql.callbacks import Callbacks
from nbflow.store.sql.dags import Dags
from nbflow.store.sql.maintenance import Maintenance
from nbflow.store.sql.runs_and_task_instances import Runs
from nbflow.store.sql.variables_connections_pools import VariablesConnectionsPools
from nbflow.store.sql.xcom import XComs

__all__ = ["SqlStore"]


class SqlStore(Dags, Runs, Backfills, Attempts, XComs, VariablesConnectionsPools, Callbacks, Maintenance):
    """See :class:`nbflow.store.base.Store`."""
