"""The dicts of a MemoryStore, and the indexes that make its queries as cheap as a database's."""

from __future__ import annotations

import copy
import threading
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, Self, TypeVar
from uuid import uuid4

from nbflow.connections import Connection
from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import LIVE, RUN_FINISHED
from nbflow.store.base import (
    Attempt,
    BackfillRow,
    DagImportError,
    DagRow,
    DagVersion,
    Job,
    PendingCallback,
    Pool,
    TaskEvent,
)
from nbflow.store.history_cursor import new_store_id
from nbflow.store.json_text import as_stored
from nbflow.store.memory.transaction_locks import Locks
from nbflow.store.plan_effects import UNIQUE_DATE_RUN_TYPES, StoreColumns

P = ParamSpec("P")
T = TypeVar("T")


def locked(method: Callable[P, T]) -> Callable[P, T]:
    """Hold the store's lock during the call, so that it is atomic like a database transaction."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with args[0]._lock:  # type: ignore[attr-defined]
            return method(*args, **kwargs)

    return call


def new_attempt_id() -> str:
    return uuid4().hex


@dataclass(slots=True)
class Counts:
    """Numbers that all connections of a MemoryStore share."""

    commits: int = 0
    """Commits that sent a nudge."""
    other_changes: int = 0
    pruned_seq: int = 0
    pruned_at: int = 0


class Tables:
    """All data of a MemoryStore. The classes in the other modules of this package add the methods."""

    url = "memory://"

    def __init__(self, *, new_id: Callable[[], str] | None = None, shared: bool = False) -> None:
        self.shared = shared
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self.locks = Locks(self._changed)
        self._new_id = new_id or new_attempt_id
        self._own_commits = 0
        self._store_id = new_store_id()
        self._counts = Counts()
        self._counters: dict[str, int] = defaultdict(int)
        # definitions
        self._versions: dict[str, list[DagVersion]] = {}
        self._specs: dict[tuple[str, int], DagSpec] = {}
        self._dags: dict[str, DagRow] = {}
        self._import_errors: dict[str, list[DagImportError]] = {}
        self._first_dates: dict[tuple[str, str], datetime] = {}
        # runs
        self._runs: dict[RunKey, Run] = {}
        self._run_numbers: dict[RunKey, int] = {}
        self._dated: dict[str, list[tuple[datetime, int, RunKey]]] = defaultdict(list)
        """Runs of each DAG by logical date (run_after if there is none), then in the order of creation."""
        self._run_of_date: dict[tuple[str, datetime], RunKey] = {}
        """The scheduled or backfill run of each logical date."""
        self._active: set[RunKey] = set()
        self._instances: dict[RunKey, dict[TaskKey, Instance]] = {}
        self._store_columns: dict[RunKey, dict[TaskKey, StoreColumns]] = {}
        self._live: dict[tuple[RunKey, TaskKey], Instance] = {}
        self._events: list[TaskEvent] = []
        self._events_of: dict[RunKey, list[TaskEvent]] = defaultdict(list)
        self._run_leases: dict[RunKey, tuple[str, datetime]] = {}
        # attempts
        self._attempts: dict[str, Attempt] = {}
        self._attempts_of: dict[RunKey, list[str]] = defaultdict(list)
        self._live_attempts: dict[str, None] = {}
        self._triggers: dict[int, Mapping[str, Any]] = {}
        # the rest
        self._xcoms: dict[RunKey, dict[TaskKey, dict[str, str]]] = defaultdict(dict)
        self._rendered: dict[tuple[RunKey, TaskKey], Mapping[str, Any]] = {}
        self._variables: dict[str, tuple[str, str | None]] = {}
        self._connections: dict[str, Connection] = {}
        self._pools: dict[str, Pool] = {}
        self._backfills: dict[int, BackfillRow] = {}
        self._callbacks: dict[int, PendingCallback] = {}
        self._callback_leases: dict[int, tuple[str, datetime]] = {}
        self._jobs: dict[str, Job] = {}
        self._singletons: dict[str, tuple[str, datetime]] = {}
        self._audit: list[Mapping[str, Any]] = []

    def migrate(self) -> None:
        """Nothing to do: there are no tables."""

    def downgrade(self, revision: str) -> None:
        """Nothing to do: there are no tables."""

    def check(self) -> None:
        """Nothing to check."""

    def close(self) -> None:
        """Nothing to close."""

    def connect(self) -> Self:
        """Another store object with the same data, like that of another process: its own commits are foreign to this
        one."""
        connection = copy.copy(self)
        connection._own_commits = 0
        return connection

    def _next(self, counter: str) -> int:
        self._counters[counter] += 1
        return self._counters[counter]

    def _nudge(self) -> None:
        self._own_commits += 1
        self._counts.commits += 1
        self._changed.notify_all()

    def _change(self, *, nudge: bool = True) -> None:
        """Count a change that views show and the history does not contain."""
        self._counts.other_changes += 1
        if nudge:
            self._nudge()

    def _write_audit(self, action: str, actor: str, at: datetime, detail: Mapping[str, Any], ok: bool = True) -> None:
        row = {"at": at, "actor": actor, "action": action, "ok": ok, "detail": as_stored(detail)}
        self._audit.append({"seq": self._next("audit"), **row})

    # --- rows and their indexes
    def _put_run(self, run: Run) -> None:
        key = run.key
        if key not in self._runs:
            number = self._run_numbers[key] = self._next("run")
            insort(self._dated[key.dag_id], (run.logical_date or run.run_after, number, key))
            self._instances[key] = {}
            self._store_columns[key] = {}
        else:
            old = self._runs[key]
            if self._run_of_date.get((key.dag_id, old.logical_date or old.run_after)) == key:
                del self._run_of_date[key.dag_id, old.logical_date or old.run_after]
        if run.run_type in UNIQUE_DATE_RUN_TYPES and run.logical_date is not None:
            self._run_of_date[key.dag_id, run.logical_date] = key
        self._runs[key] = run
        (self._active.discard if run.state in RUN_FINISHED else self._active.add)(key)

    def _put_instance(self, run: RunKey, key: TaskKey, instance: Instance | None, columns: StoreColumns) -> None:
        if instance is None:
            self._instances[run].pop(key, None)
            self._store_columns[run].pop(key, None)
            self._live.pop((run, key), None)
            return
        self._instances[run][key] = instance
        self._store_columns[run][key] = columns
        if instance.state in LIVE:
            self._live[run, key] = instance
        else:
            self._live.pop((run, key), None)

    def _put_attempt(self, attempt: Attempt) -> None:
        self._attempts[attempt.attempt_id] = attempt
        if attempt.state == "ended":
            self._live_attempts.pop(attempt.attempt_id, None)
        else:
            self._live_attempts[attempt.attempt_id] = None

    def _row_counts(self, key: RunKey) -> dict[str, int]:
        """Number of rows of a run, by table."""
        return {
            "dag_run": 1,
            "task_instance": len(self._instances[key]),
            "task_event": len(self._events_of.get(key, ())),
            "attempt": len(self._attempts_of.get(key, ())),
            "xcom": sum(map(len, self._xcoms.get(key, {}).values())),
            "rendered": sum(run == key for run, _ in self._rendered),
            "task_trigger": sum(trigger["run"] == key for trigger in self._triggers.values()),
            "callback": sum(callback.run == key for callback in self._callbacks.values()),
        }

    def _delete_run(self, key: RunKey) -> dict[str, int]:
        """Delete a run with its rows in all tables; returns the number of deleted rows by table."""
        counts = self._row_counts(key)
        run = self._runs.pop(key)
        at = run.logical_date or run.run_after
        dated = self._dated[key.dag_id]
        del dated[bisect_left(dated, (at, self._run_numbers.pop(key), key))]
        if self._run_of_date.get((key.dag_id, at)) == key:
            del self._run_of_date[key.dag_id, at]
        self._active.discard(key)
        self._run_leases.pop(key, None)
        self._store_columns.pop(key)
        self._instances.pop(key)
        _delete(self._live, lambda ti_key, _: ti_key[0] == key)
        events = self._events_of.pop(key, ())
        if events:
            counts_of_all = self._counts
            counts_of_all.pruned_seq = max(counts_of_all.pruned_seq, events[-1].seq)
            counts_of_all.pruned_at = counts_of_all.other_changes + 1  # the caller counts the deletion afterwards
            self._events[:] = [event for event in self._events if event.run != key]
        for attempt_id in self._attempts_of.pop(key, []):
            del self._attempts[attempt_id]
            self._live_attempts.pop(attempt_id, None)
        self._xcoms.pop(key, None)
        _delete(self._rendered, lambda ti_key, _: ti_key[0] == key)
        _delete(self._triggers, lambda _, trigger: trigger["run"] == key)
        _delete(self._callbacks, lambda _, callback: callback.run == key)
        return counts

    def _runs_before(self, run: Run) -> Iterator[Run]:
        """Runs of this DAG with an earlier logical date, latest first."""
        if run.logical_date is None:
            return
        dated = self._dated[run.dag_id]
        for index in range(bisect_left(dated, (run.logical_date,)) - 1, -1, -1):
            before = self._runs[dated[index][2]]
            if before.logical_date is not None:
                yield before


def _delete(table: dict[Any, Any], condition: Callable[[Any, Any], bool]) -> None:
    for key in [key for key, value in table.items() if condition(key, value)]:
        del table[key]
