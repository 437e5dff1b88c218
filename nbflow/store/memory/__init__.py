"""A store in dicts: for the simulator, ``dag.test()`` and tests. Nothing outlives the process.

It passes the same contract tests as the databases. One lock serialises all calls: threads may share it. Its modules
bear the names of those of :mod:`nbflow.store.sql` and hold the same methods.
"""

from __future__ import annotations

from nbflow.store.memory.attempts import Attempts
from nbflow.store.memory.backfills import Backfills
from nbflow.store.memory.callbacks import Callbacks
from nbflow.store.memory.dags import Definitions
from nbflow.store.memory.jobs import Jobs
from nbflow.store.memory.runs import Runs
from nbflow.store.memory.variables_connections_pools import Secrets
from nbflow.store.memory.xcom import XComs

__all__ = ["MemoryStore"]


class MemoryStore(Definitions, Backfills, Runs, Attempts, XComs, Secrets, Callbacks, Jobs):
    """See :class:`nbflow.store.base.Store`. ``new_id`` gives the attempt ids, in order (for traces that repeat)."""
