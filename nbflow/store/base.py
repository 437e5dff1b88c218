"""The metastore's contract: the queries and writes that nbflow needs. No session, row or SQL leaves ``nbflow.store``.

Rules that every store keeps (the contract tests in ``tests/store`` check MemoryStore, SQLite and Postgres)
-----------------------------------------------------------------------------------------------------------
* :meth:`Store.apply` is the only writer of states. It applies a list of plans in one transaction, or raises
  ``StalePlan`` and changes nothing. Guards: the revision of each run in ``expect``, each move's source state and
  attempt id, each run move's source state, and the transition tables (``IllegalTransition``).
* Each move appends a row to the history (``task_event``) in the same transaction.
* A move to ``queued`` creates an attempt and clears the XComs of the instance, unless the try continues (after a
  deferral or a reschedule). Nothing else creates attempts. ``apply`` returns them in order.
* A write by an attempt that is not the instance's current one raises ``StaleAttempt``.
* Two runs of one DAG never share a run id. Two *scheduled or backfill* runs never share a logical date.
* Arguments and results are aware datetimes, results in UTC; a naive datetime is refused.
* History rows are numbered in the order of their commits: after a reader has read number n, no lower number is added.
  :meth:`Store.history` relies on it.
* Lists are ordered and limited; the cost of a query grows with the active rows, not with history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
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
    """A registered version of a DAG: its spec and its source."""

    dag_id: str
    number: int = 0
    """1, 2, ...: assigned by the store; a source and spec that are already stored keep their number."""
    spec: DagSpec
    fileloc: str = ""
    """Path of the file, or a name like ``<kernel 4121>``."""
    cell: str | None = None
    """The cell of a notebook, as text for display ("cell 3")."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Relative path -> text: the DAG file first, then every module imported from the DAGs folder."""
    origin: str = "file"
    """file, kernel (for runs of that kernel only; never scheduled) or example."""
    digest: str = ""
    """SHA-256 over files and spec."""
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DagRow:
    """A DAG as lists show it, with the columns by which the scheduler finds due DAGs."""

    dag_id: str
    version: int
    """Number of the version that the schedule follows."""
    fileloc: str
    paused: bool
    stale: bool = False
    """Its file was deleted or does not define it any more: nothing is scheduled, the history stays."""
    schedule_text: str = "None"
    timezone: str = "UTC"
    """Time zone of the schedule and of displayed times."""
    next_run_after: datetime | None = None
    """Time at which the scheduler must next check whether a run is due (None: never)."""
    next_logical_date: datetime | None = None
    next_interval: tuple[datetime, datetime] | None = None
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    description: str | None = None
    last_parsed_at: datetime | None = None
    has_import_errors: bool = False

    @property
    def next_run(self) -> datetime | None:
        """Time of the next run, for display. None: there is no scheduled run, or the timetable has not been evaluated
        yet (a DAG that has been paused since its registration), so that ``next_run_after`` is the time to do so."""
        return self.next_run_after if self.next_interval is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A dispatch of a task instance, which an executor runs and a lease protects."""

    attempt_id: str
    run: RunKey
    key: TaskKey
    try_number: int
    version: int
    queue: str = "default"
    continues: bool = False
    """Whether the attempt continues a try that was deferred or rescheduled."""
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
    """Process (and group) id of the child; ``pid_started`` distinguishes it from a later process with the same id."""
    pid_started: float | None = None
    log_path: str | None = None
    outcome: str | None = None
    """The cause of the move that ended the attempt."""
    error: str | None = None
    next_method: str | None = None
    next_kwargs: Mapping[str, Any] | None = None
    """For an attempt that continues a deferred try: the arguments of ``next_method``, with the trigger's event under
    the key "event"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent:
    """A row of the history. ``key`` is None if the run itself changed."""

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
"""A position in the history. Opaque, short, printable ASCII without spaces; valid after a restart too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The changes after a cursor."""

    events: Sequence[TaskEvent]
    """In order of ``seq``."""
    other_changes: bool
    """Whether something other than runs and task instances changed: DAGs and their versions, import errors, pools,
    variables, connections, backfills, next runs, processes that started or ended, or deletions."""
    cursor: Cursor
    """The cursor for the next call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    name: str
    slots: int
    """-1: no limit."""
    description: str = ""
    include_deferred: bool = False


DEFAULT_POOL = Pool(name="default_pool", slots=128, description="Default pool")
"""Airflow's default pool: it always exists, with 128 slots as in Airflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counts of occupying (queued and running) task instances, for :func:`nbflow.core.dispatch.plan_dispatch`."""

    pools: Mapping[str, int] = field(default_factory=dict)
    """pool -> occupied slots."""
    dags: Mapping[str, int] = field(default_factory=dict)
    runs: Mapping[RunKey, int] = field(default_factory=dict)
    tasks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(dag_id, task_id) -> instances over all runs."""
    tasks_in_runs: Mapping[tuple[RunKey, str], int] = field(default_factory=dict)
    """(run, task_id) -> instances of a mapped task in that run."""
    total: int = 0


class DagLimits(NamedTuple):
    """What the scheduler reads of a DAG again and again."""

    paused: bool
    max_active_runs: int
    """Of the version that the schedule follows, or the newest of a DAG without schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DagImportError:
    """An import error of a DAG file."""

    fileloc: str
    line: int | None
    error: str
    """One line: the exception's class and message."""
    detail: str = ""
    """The user's part of the traceback."""
    cell: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A process of nbflow: scheduler, triggerer, worker or kernel. It runs if its heartbeat is recent."""

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
    """A backfill and its progress."""

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
        """``cancelled``, ``completed``, ``paused`` or ``running``."""
        if self.cancelled:
            return "cancelled"
        if self.completed_at is not None:
            return "completed"
        return "paused" if self.paused else "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCallback:
    """A callback that has not run yet. ``claim_callbacks`` returns each once per lease."""

    callback_id: int
    run: RunKey
    key: TaskKey | None
    kind: str
    version: int
    at: datetime
    reason: str = ""


class ChangeToken(NamedTuple):
    """If two tokens are equal, no relevant commit happened between them. See :meth:`Store.change_token`."""

    foreign_commits: Any
    """Differs once another process (or another store object) may have committed: SQLite's data_version, or the number
    of notifications from Postgres."""
    own_commits: int
    """Number of commits of this store object that sent a nudge. A caller that made exactly one commit already has its
    content, and need not read the store again."""

    @property
    def after_own_commit(self) -> ChangeToken:
        """The token after one commit of this store object, if there was no other commit."""
        return self._replace(own_commits=self.own_commits + 1)


PRUNABLE = ("dag_run", "xcom", "rendered", "job", "audit")
COUNTED = ("dag", "dag_run", "task_instance", "xcom", "backfill", "variable", "connection", "pool", "audit")
"""Tables whose rows users know; the other tables belong to these."""
"""What :meth:`Store.prune` can delete. Not task instances or history alone: without them a run cannot be explained."""
ARCHIVE = "_nbflow_deleted__"
"""Prefix of the names of archives: ``_nbflow_deleted__xcom__20240131060000000000``."""
DEAD_AFTER = timedelta(days=1)
"""``prune`` treats a process without a recorded end as dead if its last heartbeat is older than ``before`` by this
duration."""


def archived_table(name: str) -> str:
    """The table whose rows an archive contains."""
    return name.removeprefix(ARCHIVE).rpartition("__")[0]


class Box(Protocol):
    """Encrypts and decrypts stored secrets (``nbflow.secret_box.SecretBox``)."""

    def encrypt(self, text: str) -> str: ...
    def decrypt(self, stored: str) -> str: ...


class Store(Protocol):
    """The module's head states the rules. ``actor`` is the user or process that acts, for the history and the audit log
    ("scheduler", "user:ada")."""

    url: str
    """URL of the store, without the password."""

    @property
    def shared(self) -> bool:
        """Whether several schedulers may use the store at once."""

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold a named lock across processes, in a transaction of this thread: the first commit inside is that
        transaction's, and releases the lock. So what is committed inside is based on what was read inside, even if the
        process stands still meanwhile and its connection is closed. A no-op in a store that is not shared."""

    def end_stalled_transactions(self) -> int:
        """End the transactions of other processes that stand still where no timeout of the server ends them; returns
        their number. A no-op in a store that is not shared."""

    # --- tables
    def migrate(self) -> None:
        """Create or upgrade the tables. Idempotent; safe from several processes at once."""

    def downgrade(self, revision: str) -> None:
        """Downgrade the tables to an older revision ("base": remove them)."""

    def check(self) -> None:
        """Raise NbflowError if the store cannot be reached, or its tables are missing, outdated or too new."""

    def close(self) -> None: ...

    # --- DAGs and versions
    def register(self, version: DagVersion, *, now: datetime, paused: bool, activate: bool = True) -> DagVersion:
        """Store a version unless it exists and, with ``activate``, make the schedule follow it. ``paused`` applies only
        to a new DAG. Returns the version with its number."""

    def version(self, dag_id: str, number: int | None = None) -> DagVersion | None:
        """A version; by default the one that the schedule follows, or the newest of a DAG without schedule."""

    def versions(self, dag_id: str) -> list[DagVersion]: ...
    def dag(self, dag_id: str) -> DagRow | None: ...
    def dag_limits(self, dag_ids: Iterable[str]) -> Mapping[str, DagLimits]:
        """The limits of those DAGs whose version can be read. Cheap: one statement, which reads no source."""

    def dags(self, *, include_stale: bool = False) -> list[DagRow]: ...
    def unscheduled_dags(self, dag_ids: Iterable[str]) -> list[DagRow]:
        """The rows of those DAGs that have versions but are not scheduled (such as a kernel's), by id. Each row comes
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
        """DAGs that are neither paused nor stale, with a ``next_run_after`` of ``now`` or earlier."""

    def next_due(self, *, after: datetime | None = None) -> datetime | None:
        """The earliest ``next_run_after`` (later than ``after``) of the DAGs that are neither paused nor stale."""

    def delete_dag(self, dag_id: str, *, actor: str, now: datetime, dry_run: bool = False) -> int:
        """Delete a DAG with its runs and history; returns the number of rows (with ``dry_run`` without deleting them).
        Raises NbflowError while a run of the DAG is running."""

    def delete_run(self, run: RunKey, *, actor: str, now: datetime) -> int:
        """Delete a run with its rows in all tables, whatever its state; returns the number of rows (0: there is no such
        run). Its rows are not read, so that this works for a run that cannot be read. Its running tasks are no longer
        current, and are killed."""

    def put_import_errors(self, fileloc: str, errors: Sequence[DagImportError], *, now: datetime) -> None:
        """Replace the import errors of a file; an empty sequence deletes them."""

    def import_errors(self) -> list[DagImportError]: ...

    # --- scheduling
    def snapshot(self, run: RunKey) -> Snapshot | None: ...
    def active_runs(self, dag_id: str | None = None) -> list[Run]:
        """Queued and running runs, oldest run_after first."""

    def latest_run(self, dag_id: str, *, automated: bool = True) -> Run | None:
        """The scheduled run (with ``automated`` False: any run) with the greatest logical date, from which a schedule
        continues. For the run that was queued last, see ``newest_runs``."""

    def usage(self, *, without: Mapping[RunKey, int] = {}) -> Usage:
        """What the live task instances occupy. ``without``: runs that are not counted while they have this revision,
        because the caller knows what they occupy then."""

    def apply(self, plans: Sequence[Plan], *, actor: str, expect: Mapping[RunKey, int] | None = None) -> list[Attempt]:
        """Apply the plans in one transaction. ``expect``: the revision of each run that a plan was computed from.
        Returns the attempts that were created, in order. Raises StalePlan, IllegalTransition or DagRunAlreadyExists,
        and changes nothing then."""

    # --- runs and history
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
        """Runs by logical date (run_after if there is none); ``since`` and ``until`` are inclusive logical dates."""

    def recent_runs(self, dag_ids: Iterable[str], *, limit: int) -> Mapping[str, list[Run]]:
        """The ``limit`` runs with the latest dates of each DAG, in the order of :meth:`runs`. One statement."""

    def run_states(self, runs: Iterable[RunKey]) -> Mapping[RunKey, RunState]:
        """The states of the runs that exist. One statement."""

    def instances(self, run: RunKey) -> list[Instance]:
        """The task instances of a run, by task id and map index."""

    def instances_of_runs(self, runs: Iterable[RunKey]) -> Mapping[RunKey, list[Instance]]:
        """:meth:`instances` of each run. One statement."""

    def newest_runs(self, dag_ids: Iterable[str]) -> Mapping[str, Run]:
        """The run of each DAG that was queued last, independent of its logical date: a run is queued when it is created
        and when it is cleared. Among runs that were queued at the same time, the one that was created last. One
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
        """The events of a DAG, run or task instance, in order of ``seq``. To follow new events, use ``history``."""

    def last_seq(self) -> int: ...
    def history(self, after: Cursor | None = None, *, limit: int = 1000) -> History:
        """The changes that were committed after a cursor (None: all), with at most ``limit`` (>= 1) events. A reader
        that continues from the returned cursor sees each change exactly once, whatever commits in between. One
        statement. Raises StaleCursor if that cannot be guaranteed: the cursor belongs to another metastore, or rows
        after it have been deleted."""

    def history_end(self) -> Cursor:
        """The cursor after the last event, to follow only future changes."""

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
        """Delete rows that are older than ``before``, in one transaction; returns the number of rows per table.

        ``tables`` (from :data:`PRUNABLE`): ``dag_run`` deletes finished runs with their rows in all tables (never a
        DAG's latest scheduled run); ``xcom`` and ``rendered`` only these rows of such runs; ``job`` dead processes;
        ``audit`` rows of the audit log. With ``archive``, the rows are first copied into tables named after that time.
        """

    def row_counts(self) -> Mapping[str, int]:
        """The numbers of rows of :data:`COUNTED`, for the preview of a deletion of everything."""

    def archives(self) -> Mapping[str, int]:
        """The archive tables of ``prune`` -> number of rows."""

    def archived(self, name: str) -> Iterator[Sequence[Any]]:
        """The column names of an archive, then its rows one by one."""

    def drop_archives(self, names: Sequence[str]) -> None:
        """Drop these archives. Names that ``archives()`` does not contain are ignored."""

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
        """Claim a queued attempt for this owner; False if it is claimed already (a duplicate delivery) or has ended."""

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
        """Claim several attempts in one transaction; returns the ids that this call claimed. ``log_paths``: attempt id
        -> path of its log."""

    def set_process(self, attempt_id: str, *, pid: int, pid_started: float | None) -> None: ...
    def heartbeat(self, attempt_ids: Sequence[str], *, owner: str, lease: timedelta, now: datetime) -> list[str]:
        """Renew the leases; returns the ids that are not current live attempts of this owner any more. The caller must
        kill their processes."""

    def current_states(self, attempt_ids: Iterable[str]) -> Mapping[str, TaskState]:
        """attempt id -> state of the task instance whose current attempt it is. An attempt that is not current (ended,
        cleared, marked, deleted) is missing."""

    def expired(self, now: datetime) -> list[Attempt]:
        """Live attempts whose lease has expired, including queued ones that were never claimed."""

    def live_attempts(self, owner: str | None = None) -> list[Attempt]: ...

    # --- XCom, rendered templates
    def xcom_push(self, attempt_id: str, key: str, value: str, *, now: datetime) -> None:
        """``value`` is JSON text (see nbflow.serde). Raises StaleAttempt for an attempt that is not current."""

    def xcom_get(
        self, run: RunKey, task_ids: Sequence[str], key: str, *, map_index: int | None = None, prior_dates: bool = False
    ) -> list[tuple[TaskKey, str]]:
        """JSON texts in the order of ``task_ids``, then by map index; ``map_index`` None: all indexes. ``prior_dates``:
        for each task the latest value of this run and the runs with earlier logical dates."""

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
        """Encrypt every stored secret again with the newest key; returns the number of secrets."""

    def pool(self, name: str) -> Pool | None: ...
    def pools(self) -> list[Pool]:
        """All pools by name. ``default_pool`` (128 slots) always exists."""

    def set_pool(self, pool: Pool, *, actor: str, now: datetime) -> None: ...
    def delete_pool(self, name: str, *, actor: str, now: datetime) -> bool: ...

    # --- triggers (deferral)
    def triggers(self) -> list[Mapping[str, Any]]:
        """Triggers of deferred instances: {"trigger_id", "attempt_id", "run", "key", "trigger", "timeout_at"}."""

    # --- backfills
    def add_backfill(
        self, backfill: BackfillRow, plan: Plan, *, actor: str, expect: Mapping[RunKey, int] | None = None
    ) -> int:
        """Store a backfill and apply the plan that creates its runs, in one transaction; returns the backfill's id. The
        runs that the plan creates or moves get that id; ``backfill.backfill_id`` is ignored."""

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

    # --- jobs, audit log, change notifications
    def put_job(self, job: Job) -> None: ...
    def jobs(self, kind: str | None = None, *, alive_since: datetime | None = None, limit: int = 100) -> list[Job]: ...
    def take_singleton(self, name: str, job_id: str, *, lease: timedelta, now: datetime) -> bool:
        """Take or renew a named lease, e.g. of the only scheduler of an SQLite store. False: another job holds it."""

    def release_singleton(self, name: str, job_id: str) -> None: ...
    def lease_runs(
        self, owner: str, runs: Iterable[RunKey], *, lease: timedelta, now: datetime, leave: Collection[RunKey] = ()
    ) -> list[RunKey]:
        """Take free leases of runs, so that several schedulers share the work, and renew those of which a quarter has
        passed; returns the runs that ``owner`` has leased. Runs that a transaction has locked are not waited for. Runs
        in ``leave`` are not taken while nobody has leased them yet."""

    def release_runs(self, owner: str) -> None:
        """End the owner's leases of unfinished runs, so that other schedulers need not wait until they expire."""

    def audit(self, action: str, *, actor: str, now: datetime, detail: Mapping[str, Any], ok: bool = True) -> None: ...
    def audit_log(self, *, limit: int = 100) -> list[Mapping[str, Any]]: ...
    def change_token(self) -> ChangeToken:
        """A value that differs after a commit and is cheap to read: a polling loop reads nothing else while it stays
        the same. Claims, heartbeats, variables, connections, next runs and processes need not change it."""

    def wait_for_change(self, token: ChangeToken, *, timeout: float) -> bool:
        """Wait until ``change_token()`` differs from ``token``, at most ``timeout`` seconds; returns whether it does.
        Best effort: it may return True without a relevant change or miss one, so the caller must poll now and then."""

    def counts(self, runs: Sequence[RunKey]) -> Mapping[RunKey, Mapping[TaskState, int]]:
        """Number of task instances by state, for each run."""
