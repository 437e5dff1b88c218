"""A store in dicts, for the simulator, ``dag.test()`` and tests. Its content does not outlive the process.

MemoryStore passes the same contract tests as the databases. One lock serialises all calls, so threads may share a
store. With ``shared=True`` it behaves as Postgres does between several schedulers: each has a store object (see
``connect``), named locks exclude, and a transaction holds the rows of its runs until its end. A module here has the
methods of the module of the same name in :mod:`nbflow.store.sql`.
"""

from __future__ import annotations

from nbflow.store.memory.attempts import Attempts
from nbflow.store.memory.backfills import Backfills
from nbflow.store.memory.callbacks import Callbacks
from nbflow.store.memory.dags import Dags
from nbflow.store.memory.jobs_leases_audit import Jobs
from nbflow.store.memory.runs_and_task_instances import Runs
from nbflow.store.memory.variables_connections_pools import VariablesConnectionsPools
from nbflow.store.memory.xcom import XComs

__all__ = ["MemoryStore"]


class MemoryStore(Dags, Backfills, Runs, Attempts, XComs, VariablesConnectionsPools, Callbacks, Jobs):
    """See :class:`nbflow.store.base.Store`. ``new_id`` returns attempt ids (for reproducible traces); ``shared``:
    several schedulers may use the store."""
