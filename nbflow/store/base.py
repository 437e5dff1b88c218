"""The metastore's contract: queries and writes by intention. No session, row or SQL leaves ``nbflow.store``.

Rules that every store keeps (the contract tests in ``tests/store`` hold MemoryStore, SQLite and Postgres to them)
-----------------------------------------------------------------------------------------------------------------
* :meth:`Store.apply` is the only writer of states. It does a list of plans whole, in one transaction, or raises
  ``StalePlan`` and changes nothing. Guards: the run's revision where the caller names it, each move's source state and
  attempt id, each run move's source state, and the transition tables (``IllegalTransition``).
* Each move appends a row to the history (``task_event``) in the same transaction.
* A move to ``queued`` makes a fresh attempt and clears the XComs of the instance, unless the try goes on (after a
  deferral or a reschedule). Nothing else makes attempts. ``apply`` returns them in order.
* A write by an attempt that is not the instance's current one raises ``StaleAttempt``.
* Two runs of one DAG never share a run id. Two *scheduled or backfill* runs never share a logical date.
* Times go in and come out as aware UTC datetimes; a naive one is refused.
* History rows are numbered in the order of their commits: who has seen number n has seen all that can ever come before
  it. :meth:`Store.history` relies on it.
* Lists are ordered and limited; cost grows with what is active, not with history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, NewType, Protocol

from nbflow.connections import Connection
from nbflow.core.plan import Plan
from nbflow.core.snapshot import Instance, Run, RunKey, Snapshot, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import RunState, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class DagVersion:
    """One registered version of a DAG: its shape and the source it came from."""

    dag_id: str
    number: int = 0
    """1, 2, ...: given by the store; the same source and spec again get their old number back."""
    spec: DagSpec
    fileloc: str = ""
    """Path of the file, or a name like ``<kernel 4121>``."""
    cell: str | None = None
    """Of a notebook: which cell, for people ("cell 3")."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Relative path -> text: the DAG file first, then every module imported from the DAGs folder."""
    origin: str = "file"
    """file, kernel (serves only that kernel's own runs; never scheduled) or example."""
    digest: str = ""
    """SHA-256 over files and spec."""
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DagRow:
    """A DAG as the list shows it and as the scheduler finds what is due."""

    dag_id: str
    version: int
    """Number of the version that the schedule follows."""
    fileloc: str
    paused: bool
    stale: bool = False
    """Its file is gone or no longer defines it: nothing is scheduled, history stays."""
    schedule_text: str = "None"
    timezone: str = "UTC"
    """In which its schedule runs and its times are shown."""
    next_run_after: datetime | None = None
    """When the scheduler must next look whether a run is due (None: never by time)."""
    next_logical_date: datetime | None = None
    next_interval: tuple[datetime, datetime] | None = None
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    description: str | None = None
    last_parsed_at: datetime | None = None
    has_import_errors: bool = False

    @property
    def next_run(self) -> datetime | None:
        """When its next run is due, for people. None: never by time, or its timetable has not been asked yet (a DAG
        that was paused since it came), when ``next_run_after`` is only the moment to ask it."""
        return self.next_run_after if self.next_interval is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One dispatch of one task instance: the thing that an executor runs and a lease protects."""

    attempt_id: str
    run: RunKey
    key: TaskKey
    try_number: int
    version: int
    queue: str = "default"
    continues: bool = False
    """It goes on with a try that was deferred or rescheduled."""
    state: str = "queued"
    """queued, running, ended."""
    owner: str | None = None
    """Id of the job (scheduler or worker) that holds the lease."""
    lease_until: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    hostname: str | None = None
    pid: int | None = None
    """Process (and group) id of the child, with ``pid_started`` to tell it from a later process of the same number."""
    pid_started: float | None = None
    log_path: str | None = None
    outcome: str | None = None
    """The cause with which it ended."""
    error: str | None = None
    next_method: str | None = None
    next_kwargs: Mapping[str, Any] | None = None
    """Of a deferred try that goes on: the method, and the trigger's event under the key "event"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent:
    """One line of history. ``task_id`` is None where the run itself changed."""

    seq: int
    run: RunKey
    key: TaskKey | None
    source: str
    target: str
    cause: str
    actor: str
    at: datetime
    try_number: int = 0
    attempt_id: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


Cursor = NewType("Cursor", str)
"""Where a follower of the history stands. Opaque, short, printable ASCII without spaces; it outlives the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What happened after a cursor."""

    events: Sequence[TaskEvent]
    """In order of ``seq``."""
    other_changes: bool
    """Something changed that is no run or task instance: DAGs and their versions, import errors, pools, variables,
    connections, backfills, next runs, processes that began or ended, or what was deleted."""
    cursor: Cursor
    """To go on from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    name: str
    slots: int
    """-1: no limit."""
    description: str = ""
    include_deferred: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What is taken now, for :func:`nbflow.core.dispatch.plan_dispatch`: counts of instances that occupy."""

    pools: Mapping[str, int] = field(default_factory=dict)
    """pool -> slots taken."""
    dags: Mapping[str, int] = field(default_factory=dict)
    runs: Mapping[RunKey, int] = field(default_factory=dict)
    tasks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(dag_id, task_id) -> instances over all runs."""
    tasks_in_runs: Mapping[tuple[RunKey, str], int] = field(default_factory=dict)
    """(run, task_id) -> instances of a mapped task in that run."""
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DagImportError:
    """An import error as data."""

    fileloc: str
    line: int | None
    error: str
    """One line: the exception's class and gist."""
    detail: str = ""
    """The user's part of the traceback."""
    cell: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A living process of ours: scheduler, triggerer, worker, kernel."""

    job_id: str
    kind: str
    hostname: str
    pid: int
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillRow:
    """A backfill and how far it is."""

    backfill_id: int
    dag_id: str
    from_date: datetime
    to_date: datetime
    reprocess: str
    run_backwards: bool
    max_active_runs: int
    conf: Mapping[str, Any] = field(default_factory=dict)
    paused: bool = False
    created_at: datetime | None = None
    completed_at: datetime | None = None
    cancelled: bool = False
    entries: tuple[Mapping[str, Any], ...] = ()
    """{"ordinal", "logical_date", "data_interval_start", "data_interval_end", "run_id", "reset",
    "not_created_because"} of each planned run, in order. ``reset``: the run existed and is run again."""

    @property
    def state(self) -> str:
        """In one word."""
        if self.cancelled:
            return "cancelled"
        if self.completed_at is not None:
            return "completed"
        return "paused" if self.paused else "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCallback:
    """A callback intent not yet carried out. ``claim_callbacks`` hands each out once per lease."""

    callback_id: int
    run: RunKey
    key: TaskKey | None
    kind: str
    version: int
    at: datetime
    reason: str = ""


class ChangeToken(NamedTuple):
    """Two of them are compared: if they are equal, nobody has committed in between. See :meth:`Store.change_token`."""

    others: Any
    """Differs once another process (or another store object) may have committed: SQLite's data_version, a count of
    Postgres's notifications."""
    own: int
    """How many commits that concern others this store object has made. Who made just one, and knows what was in it,
    need not look for it."""

    @property
    def after_own_commit(self) -> ChangeToken:
        """What the token is after one commit of this store object's, if there was no other."""
        return self._replace(own=self.own + 1)


PRUNABLE = ("dag_run", "xcom", "rendered", "job", "audit")
"""What :meth:`Store.prune` can be told to delete. Not instances or history alone: their run could not be explained."""
ARCHIVE = "_nbflow_deleted__"
"""Begins the names of archives: ``_nbflow_deleted__xcom__20240131060000000000``."""
GONE_AFTER = timedelta(days=1)
"""A process that did not say that it ended is gone once it was silent for so long before what is pruned."""


def archived_table(name: str) -> str:
    """The table whose rows an archive keeps."""
    return name.removeprefix(ARCHIVE).rpartition("__")[0]


class Store(Protocol):
    """See the module's head for the rules. ``actor`` names who acts, for the history ("scheduler", "user:ada")."""

    url: str
    """Where it lives, without its password."""

    @property
    def shared(self) -> bool:
        """Whether several schedulers may work on it."""

    def exclusively(self, name: str) -> AbstractContextManager[None]:
        """Hold a named lock that no other process has, in a shared store; elsewhere there is nobody to keep out."""

    # --- the store itself
    def migrate(self) -> None:
        """Create or upgrade the tables. Idempotent; safe from several processes at once."""

    def downgrade(self, revision: str) -> None:
        """Take the tables back to an older revision ("base": to none at all)."""

    def check(self) -> None:
        """Raise a clear NbflowError if the store is unreachable, or its tables are missing, old or too new."""

    def close(self) -> None: ...

    # --- DAGs and versions
    def register(self, version: DagVersion, *, now: datetime, paused: bool, activate: bool = True) -> DagVersion:
        """Store a version (or find it again) and, with ``activate``, let the schedule follow it. ``paused`` counts only
        for a DAG not seen before. Returns the version with its number."""

    def version(self, dag_id: str, number: int | None = None) -> DagVersion | None:
        """A version, by default the one that the schedule follows (or the newest, of a kernel's DAG)."""

    def versions(self, dag_id: str) -> list[DagVersion]: ...
    def dag(self, dag_id: str) -> DagRow | None: ...
    def dags(self, *, include_stale: bool = False) -> list[DagRow]: ...
    def unscheduled_dags(self, dag_ids: Iterable[str]) -> list[DagRow]:
        """Those of the given DAGs that have versions but no schedule (such as a kernel's own), by id. Each row is made
        from the DAG's newest version."""

    def set_paused(self, dag_id: str, paused: bool, *, actor: str, now: datetime) -> bool: ...
    def set_stale(self, dag_ids: Iterable[str], stale: bool, *, now: datetime) -> None: ...
    def set_next_run(
        self,
        dag_id: str,
        *,
        run_after: datetime | None,
        logical_date: datetime | None = None,
        interval: tuple[datetime, datetime] | None = None,
    ) -> None: ...
    def due_dags(self, now: datetime) -> list[DagRow]:
        """DAGs that are not paused or stale and whose ``next_run_after`` has come."""

    def next_due(self) -> datetime | None:
        """The earliest ``next_run_after`` of those."""

    def delete_dag(self, dag_id: str, *, actor: str, now: datetime, dry_run: bool = False) -> int:
        """Delete a DAG with all its history; returns how many rows went, or with ``dry_run`` would go. Refused while a
        run is running."""

    def put_import_errors(self, fileloc: str, faults: Sequence[DagImportError], *, now: datetime) -> None:
        """Replace the import errors of a file (with none: forget them)."""

    def import_errors(self) -> list[DagImportError]: ...

    # --- deciding
    def snapshot(self, run: RunKey) -> Snapshot | None: ...
    def active_runs(self, dag_id: str | None = None) -> list[Run]:
        """Queued and running runs, oldest run_after first."""

    def latest_run(self, dag_id: str, *, automated: bool = True) -> Run | None:
        """The scheduled (or, with ``automated`` False, any) run of the greatest logical date: where a schedule goes on.
        What people call the newest run is another: ``newest_runs``."""

    def usage(self) -> Usage: ...
    def apply(self, plans: Sequence[Plan], *, actor: str, expect: Mapping[RunKey, int] | None = None) -> list[Attempt]:
        """Make the plans so, in one transaction. ``expect``: the revision of each run that a plan was made from.
        Returns the attempts that its dispatches made, in order. Raises StalePlan (nothing changed)."""

    # --- reading runs and history
    def run(self, run: RunKey) -> Run | None: ...
    def runs(
        self,
        dag_id: str | None = None,
        *,
        states: Iterable[RunState] | None = None,
        run_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        newest_first: bool = True,
    ) -> list[Run]:
        """Runs by logical date (run_after where there is none); ``since`` and ``until`` are inclusive logical dates."""

    def recent_runs(self, dag_ids: Iterable[str], *, limit: int) -> Mapping[str, list[Run]]:
        """The ``limit`` runs of the latest dates of each DAG, in the order of :meth:`runs`. One statement."""

    def run_states(self, runs: Iterable[RunKey]) -> Mapping[RunKey, RunState]:
        """The states of those runs that exist. One statement."""

    def instances(self, run: RunKey) -> list[Instance]:
        """The task instances of a run, by task id and map index."""

    def instances_of_runs(self, runs: Iterable[RunKey]) -> Mapping[RunKey, list[Instance]]:
        """:meth:`instances` of each run. One statement."""

    def newest_runs(self, dag_ids: Iterable[str]) -> Mapping[str, Run]:
        """Of each DAG that has one the run that was queued last, whatever its logical date: a run is queued when it is
        made, and again when it is cleared. Of runs that were queued in one moment the one that was made last. One
        statement, whose cost does not grow with history."""

    def events(
        self,
        *,
        run: RunKey | None = None,
        dag_id: str | None = None,
        key: TaskKey | None = None,
        after: int = 0,
        limit: int = 10_000,
    ) -> list[TaskEvent]:
        """The story of a DAG, run or task instance, in order of ``seq``. To follow what happens, see ``history``."""

    def last_seq(self) -> int: ...
    def history(self, after: Cursor | None = None, *, limit: int = 1000) -> History:
        """What was committed after a cursor (None: all there is), at most ``limit`` (>= 1) events. Who goes on from the
        cursor that this returns misses nothing and is told nothing twice, whatever commits in between. One statement.
        Raises StaleCursor where that cannot be promised: the cursor is of another metastore, or rows after it were
        deleted since."""

    def history_end(self) -> Cursor:
        """The cursor of who wants only what is committed from now on."""

    def previous_success(self, run: RunKey) -> Run | None:
        """The latest successful run of an earlier logical date (for the prev_*_success template variables)."""

    def prune(
        self,
        *,
        before: datetime,
        dag_ids: Sequence[str] = (),
        tables: Sequence[str] = ("dag_run",),
        archive: datetime | None = None,
        dry_run: bool = False,
    ) -> Mapping[str, int]:
        """Delete what is older than ``before``; returns rows per table, in one transaction.

        ``tables``, of :data:`PRUNABLE`, says what: ``dag_run`` ended runs with all that hangs on them (never the latest
        scheduled one); ``xcom`` and ``rendered`` only these of such runs; ``job`` processes that are gone; ``audit``
        lines of the audit log. ``archive`` names the moment after which the tables are called that keep the rows.
        """

    def archives(self) -> Mapping[str, int]:
        """The tables that ``prune`` has kept rows in, and how many each holds."""

    def archived(self, name: str) -> Iterator[Sequence[Any]]:
        """The names of an archive's columns first, then its rows one by one."""

    def drop_archives(self, names: Sequence[str]) -> None:
        """Delete these archives. Names that ``archives()`` does not give are passed over."""

    # --- attempts
    def attempt(self, attempt_id: str) -> Attempt | None: ...
    def attempts(self, run: RunKey, key: TaskKey | None = None) -> list[Attempt]: ...
    def claim(
        self,
        attempt_id: str,
        *,
        owner: str,
        hostname: str,
        lease: timedelta,
        now: datetime,
        log_path: str | None = None,
    ) -> bool:
        """Take a queued attempt for this owner; False if it was taken or ended. A duplicate delivery gets False."""

    def claim_all(
        self,
        attempt_ids: Sequence[str],
        *,
        owner: str,
        hostname: str,
        lease: timedelta,
        now: datetime,
        log_paths: Mapping[str, str] = {},
    ) -> Set[str]:
        """Claim several in one transaction; those that are taken now. ``log_paths``: attempt id -> where its log is."""

    def note_process(self, attempt_id: str, *, pid: int, pid_started: float | None) -> None: ...
    def heartbeat(self, attempt_ids: Sequence[str], *, owner: str, lease: timedelta, now: datetime) -> list[str]:
        """Renew the leases; returns the ids that are no longer this owner's current live attempts: kill their work."""

    def expired(self, now: datetime) -> list[Attempt]:
        """Live attempts whose lease has run out (queued ones: those never claimed, ``now`` past their lease)."""

    def live_attempts(self, owner: str | None = None) -> list[Attempt]: ...

    # --- XCom, rendered templates
    def xcom_push(self, attempt_id: str, key: str, value: str, *, now: datetime) -> None:
        """``value`` is JSON text (see nbflow.serde). Raises StaleAttempt for an attempt that is not current."""

    def xcom_get(
        self, run: RunKey, task_ids: Sequence[str], key: str, *, map_index: int | None = None, prior_dates: bool = False
    ) -> list[tuple[TaskKey, str]]:
        """JSON texts, ordered as ``task_ids`` and then by map index; ``map_index`` None: all of them.
        ``prior_dates``: for each task the latest value among this run and runs of earlier logical dates."""

    def xcoms(self, run: RunKey, key: TaskKey | None = None) -> list[tuple[TaskKey, str, str]]:
        """(instance, key, JSON text)."""

    def put_rendered(self, attempt_id: str, fields: Mapping[str, Any]) -> None: ...
    def rendered(self, run: RunKey, key: TaskKey) -> Mapping[str, Any] | None: ...

    # --- variables, connections, pools (secrets are encrypted by the store; these methods see plain text)
    def variable(self, key: str) -> str | None: ...
    def set_variable(
        self, key: str, value: str, *, description: str | None = None, actor: str, now: datetime
    ) -> None: ...
    def delete_variable(self, key: str, *, actor: str, now: datetime) -> bool: ...
    def variables(self) -> list[tuple[str, str, str | None]]:
        """(key, value, description)."""

    def connection(self, conn_id: str) -> Connection | None: ...
    def set_connection(self, connection: Connection, *, actor: str, now: datetime) -> None: ...
    def delete_connection(self, conn_id: str, *, actor: str, now: datetime) -> bool: ...
    def connections(self) -> list[Connection]: ...
    def rotate_secrets(self) -> int:
        """Encrypt every stored secret anew, with the newest key; returns how many."""

    def pool(self, name: str) -> Pool | None: ...
    def pools(self) -> list[Pool]:
        """``default_pool`` (128 slots) always exists."""

    def set_pool(self, pool: Pool, *, actor: str, now: datetime) -> None: ...
    def delete_pool(self, name: str, *, actor: str, now: datetime) -> bool: ...

    # --- triggers (deferral)
    def triggers(self) -> list[Mapping[str, Any]]:
        """Waits of deferred instances: {"trigger_id", "attempt_id", "run", "key", "trigger", "timeout_at"}."""

    # --- backfills
    def add_backfill(
        self, backfill: BackfillRow, plan: Plan, *, actor: str, expect: Mapping[RunKey, int] | None = None
    ) -> int:
        """Store a backfill and apply the plan that makes its runs, in one transaction; returns its id. The runs that
        the plan makes or moves get that id; the given row's own id is not looked at."""

    def backfill(self, backfill_id: int) -> BackfillRow | None: ...
    def backfills(self, dag_id: str | None = None, *, active: bool = False) -> list[BackfillRow]: ...
    def update_backfill(
        self,
        backfill_id: int,
        *,
        paused: bool | None = None,
        completed_at: datetime | None = None,
        cancelled: bool = False,
    ) -> None: ...

    # --- callbacks
    def claim_callbacks(
        self, *, owner: str, lease: timedelta, now: datetime, limit: int = 50
    ) -> list[PendingCallback]: ...
    def finish_callback(self, callback_id: int, *, error: str | None, now: datetime) -> None: ...

    # --- jobs, audit, nudges
    def put_job(self, job: Job) -> None: ...
    def jobs(self, kind: str | None = None, *, alive_since: datetime | None = None, limit: int = 100) -> list[Job]: ...
    def take_singleton(self, name: str, job_id: str, *, lease: timedelta, now: datetime) -> bool:
        """Hold (or renew) a named lease, e.g. the one scheduler of an SQLite store. False: another holds it."""

    def release_singleton(self, name: str, job_id: str) -> None: ...
    def lease_runs(self, owner: str, runs: Iterable[RunKey], *, lease: timedelta, now: datetime) -> list[RunKey]:
        """Take (or renew) the right to decide for runs, so that several schedulers share the work; those held."""

    def audit(self, action: str, *, actor: str, now: datetime, detail: Mapping[str, Any], ok: bool = True) -> None: ...
    def audit_log(self, *, limit: int = 100) -> list[Mapping[str, Any]]: ...
    def change_token(self) -> ChangeToken:
        """A cheap value that differs once anybody may have committed: a loop that polls reads only this while nothing
        happens. Claims and heartbeats, variables, connections, next runs and processes need not change it."""

    def wait_for_change(self, token: ChangeToken, *, timeout: float) -> bool:
        """Wait until ``change_token()`` is no longer ``token``, at most ``timeout`` seconds; whether it changed. A
        nudge, not a promise: it may report a change that is none, and who waits must look now and then anyway."""

    def counts(self, runs: Sequence[RunKey]) -> Mapping[RunKey, Mapping[TaskState, int]]:
        """Instances by state of each run."""
