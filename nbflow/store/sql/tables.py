"""The tables. Invariants are database constraints, in addition to the checks of the code:

* CHECK constraints limit states and kinds to the values of the core's enums;
* a partial unique index allows one scheduled or backfill run per logical date;
* the queries of the scheduler loop (active runs, occupied slots, expired leases, due DAGs) have partial indexes that
  contain only active rows, so their cost does not grow with history. The database uses such an index only for a query
  that repeats its condition word for word, so the conditions are defined here, as text, and the queries import them.

``run_no`` is ``dag_run.id``; the rows of a run refer to it and are deleted with the run. ``task_event`` is append-only:
a database trigger refuses updates (see the first migration). ``history_head`` has one row; a transaction writes it
last, so that its lock is held only briefly (see :mod:`nbflow.store.history_cursor`).

Every change here needs a migration; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from nbflow.core.states import LIVE, RunState, TaskState
from nbflow.store.plan_effects import UNIQUE_DATE_RUN_TYPES
from nbflow.store.sql.column_types import Json, Name, Number, UtcDateTime

metadata = MetaData()


def _quoted(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)


LIVE_INSTANCE = f"state IN ({_quoted(sorted(LIVE))})"
ACTIVE_RUN = f"state IN ({_quoted(sorted([RunState.QUEUED, RunState.RUNNING]))})"
ONE_RUN_A_DATE = f"run_type IN ({_quoted(sorted(UNIQUE_DATE_RUN_TYPES))}) AND logical_date IS NOT NULL"
LIVE_ATTEMPT = "state IN ('queued', 'running')"
SCHEDULABLE = "next_run_after IS NOT NULL AND NOT paused AND NOT stale"
UNFINISHED_BACKFILL = "completed_at IS NULL"


def _one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({_quoted(values)})", name=f"{column}_known")


_WHERE = "where"


def _partial(name: str, *columns: str | Column[object], where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, info={_WHERE: where})


def _of_run() -> Column[int]:
    return Column("run_no", Number, ForeignKey("dag_run.id", ondelete="CASCADE"), nullable=False)


dag_version = Table(
    "dag_version",
    metadata,
    Column("dag_id", Name, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("spec", Json, nullable=False),
    Column("fileloc", Text, nullable=False),
    Column("cell", Text),
    Column("files", Json, nullable=False),
    Column("origin", String(20), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    _one_of("origin", ["file", "kernel", "example"]),
    Index("dag_version_digest", "dag_id", "digest", unique=True),
)

dag = Table(
    "dag",
    metadata,
    Column("dag_id", Name, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("fileloc", Text, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("stale", Boolean, nullable=False),
    Column("schedule_text", Text, nullable=False),
    Column("timezone", Name, nullable=False, server_default="UTC"),
    Column("next_run_after", UtcDateTime),
    Column("next_logical_date", UtcDateTime),
    Column("next_interval_start", UtcDateTime),
    Column("next_interval_end", UtcDateTime),
    Column("tags", Json, nullable=False),
    Column("owners", Json, nullable=False),
    Column("description", Text),
    Column("last_parsed_at", UtcDateTime),
    ForeignKeyConstraint(["dag_id", "version"], ["dag_version.dag_id", "dag_version.number"]),
    _partial("dag_due", "next_run_after", "dag_id", where=SCHEDULABLE),
)

dag_task = Table(
    "dag_task",
    metadata,
    Column("dag_id", Name, primary_key=True),
    Column("task_id", Name, primary_key=True),
    Column("first_date", UtcDateTime, nullable=False),
    comment="the earliest logical date at which a task has had an instance: whether it is free of its past",
)

import_error = Table(
    "import_fault",
    metadata,
    Column("id", Number, primary_key=True),
    Column("fileloc", Text, nullable=False, index=True),
    Column("line", Integer),
    Column("error", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("cell", Text),
    Column("at", UtcDateTime, nullable=False),
)

backfill = Table(
    "backfill",
    metadata,
    Column("id", Number, primary_key=True),
    Column("dag_id", Name, nullable=False, index=True),
    Column("from_date", UtcDateTime, nullable=False),
    Column("to_date", UtcDateTime, nullable=False),
    Column("reprocess", String(20), nullable=False),
    Column("run_backwards", Boolean, nullable=False),
    Column("max_active_runs", Integer, nullable=False),
    Column("conf", Json, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("created_at", UtcDateTime),
    Column("completed_at", UtcDateTime),
    Column("cancelled", Boolean, nullable=False),
    Column("entries", Json, nullable=False),
    _one_of("reprocess", ["none", "failed", "completed"]),
    _partial("backfill_unfinished", "id", where=UNFINISHED_BACKFILL),
    sqlite_autoincrement=True,
)

dag_run = Table(
    "dag_run",
    metadata,
    Column("id", Number, primary_key=True),
    Column("dag_id", Name, nullable=False),
    Column("run_id", Name, nullable=False),
    Column("run_type", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("logical_date", UtcDateTime),
    Column("data_interval_start", UtcDateTime),
    Column("data_interval_end", UtcDateTime),
    Column("run_after", UtcDateTime, nullable=False),
    Column("queued_at", UtcDateTime),
    Column("start_date", UtcDateTime),
    Column("end_date", UtcDateTime),
    Column("conf", Json, nullable=False),
    Column("version", Integer, nullable=False),
    Column("backfill_id", Number),
    Column("triggered_by", Text),
    Column("clear_number", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("sort_date", UtcDateTime, nullable=False, comment="logical_date, else run_after"),
    Column("lease_owner", Text),
    Column("lease_until", UtcDateTime),
    _one_of("run_type", ["scheduled", "manual", "backfill", "asset_triggered"]),
    _one_of("state", list(RunState)),
    ForeignKeyConstraint(["dag_id", "version"], ["dag_version.dag_id", "dag_version.number"]),
    Index("dag_run_key", "dag_id", "run_id", unique=True),
    Index("dag_run_order", "dag_id", "sort_date", "id"),
    Index("dag_run_dates", "sort_date", "id"),
    Index("dag_run_queued", "dag_id", "queued_at", "id"),
    _partial("dag_run_interval", "dag_id", "logical_date", where=ONE_RUN_A_DATE, unique=True),
    _partial("dag_run_active", "run_after", "id", where=ACTIVE_RUN),
    sqlite_autoincrement=True,
)

task_instance = Table(
    "task_instance",
    metadata,
    Column("run_no", Number, ForeignKey("dag_run.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("task_id", Name, primary_key=True),
    Column("map_index", Integer, primary_key=True, autoincrement=False),
    Column("state", String(20), nullable=False),
    Column("try_number", Integer, nullable=False),
    Column("max_tries", Integer, nullable=False),
    Column("attempt_id", String(64)),
    Column("scheduled_at", UtcDateTime),
    Column("queued_at", UtcDateTime),
    Column("start_date", UtcDateTime),
    Column("end_date", UtcDateTime),
    Column("next_at", UtcDateTime),
    Column("reschedules", Integer, nullable=False),
    Column("skips", Json),
    Column("length", Integer),
    Column("priority_weight", Integer),
    Column("next_method", Text),
    Column("trigger_id", Number),
    Column("note", Text),
    Column("pool", Name, nullable=False),
    Column("pool_slots", Integer, nullable=False),
    Column("next_kwargs", Json),
    _one_of("state", list(TaskState)),
    _partial("task_instance_live", "run_no", "task_id", where=LIVE_INSTANCE),
    sqlite_with_rowid=False,
)

attempt = Table(
    "attempt",
    metadata,
    Column("id", Number, primary_key=True),
    Column("attempt_id", String(64), nullable=False, unique=True),
    _of_run(),
    Column("task_id", Name, nullable=False),
    Column("map_index", Integer, nullable=False),
    Column("try_number", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("queue", Text, nullable=False),
    Column("continues", Boolean, nullable=False),
    Column("state", String(20), nullable=False),
    Column("owner", Text),
    Column("lease_until", UtcDateTime),
    Column("queued_at", UtcDateTime),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("hostname", Text),
    Column("pid", Integer),
    Column("pid_started", Float(53)),
    Column("log_path", Text),
    Column("outcome", String(40)),
    Column("error", Text),
    Column("next_method", Text),
    Column("next_kwargs", Json),
    _one_of("state", ["queued", "running", "ended"]),
    Index("attempt_instance", "run_no", "task_id", "map_index"),
    _partial("attempt_lease", "lease_until", where=LIVE_ATTEMPT),
)

task_event = Table(
    "task_event",
    metadata,
    Column("seq", Number, primary_key=True),
    _of_run(),
    Column("task_id", Name),
    Column("map_index", Integer, nullable=False),
    Column("source", String(20), nullable=False),
    Column("target", String(20), nullable=False),
    Column("cause", String(40), nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("try_number", Integer, nullable=False),
    Column("attempt_id", String(64)),
    Column("detail", Json),
    Index("task_event_run", "run_no", "seq"),
    sqlite_autoincrement=True,
)

history_head = Table(
    "history_head",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("store_id", String(32), nullable=False),
    Column("other_changes", Number, nullable=False, comment="commits that changed what task_event does not tell"),
    Column("pruned_seq", Number, nullable=False, comment="the greatest task_event.seq that was deleted"),
    Column("pruned_at", Number, nullable=False, comment="other_changes, when events were last deleted"),
    CheckConstraint("one = 1", name="one_row"),
    comment="what is known of the whole history",
)

task_trigger = Table(
    "task_trigger",
    metadata,
    Column("id", Number, primary_key=True),
    _of_run(),
    Column("task_id", Name, nullable=False),
    Column("map_index", Integer, nullable=False),
    Column("attempt_id", String(64), nullable=False),
    Column("trigger", Json, nullable=False),
    Column("timeout_at", UtcDateTime),
    Index("task_trigger_instance", "run_no", "task_id", "map_index"),
    sqlite_autoincrement=True,
)

xcom = Table(
    "xcom",
    metadata,
    Column("run_no", Number, ForeignKey("dag_run.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("task_id", Name, primary_key=True),
    Column("map_index", Integer, primary_key=True, autoincrement=False),
    Column("key", Name, primary_key=True),
    Column("value", Text, nullable=False),
    Column("attempt_id", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

rendered = Table(
    "rendered",
    metadata,
    Column("run_no", Number, ForeignKey("dag_run.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("task_id", Name, primary_key=True),
    Column("map_index", Integer, primary_key=True, autoincrement=False),
    Column("fields", Json, nullable=False),
)

callback = Table(
    "callback",
    metadata,
    Column("id", Number, primary_key=True),
    Column("run_no", Number, ForeignKey("dag_run.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("task_id", Name),
    Column("map_index", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("version", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("owner", Text),
    Column("lease_until", UtcDateTime),
    sqlite_autoincrement=True,
    comment="intents not yet carried out",
)

variable = Table(
    "variable",
    metadata,
    Column("key", Name, primary_key=True),
    Column("value", Text, nullable=False, comment="encrypted"),
    Column("description", Text),
)

connection = Table(
    "connection",
    metadata,
    Column("conn_id", Name, primary_key=True),
    Column("conn_type", Text),
    Column("description", Text),
    Column("host", Text),
    Column("schema", Text),
    Column("port", Integer),
    Column("secret", Text, nullable=False, comment="login, password and extra, encrypted"),
)

pool = Table(
    "pool",
    metadata,
    Column("name", Name, primary_key=True),
    Column("slots", Integer, nullable=False),
    Column("description", Text, nullable=False),
    Column("include_deferred", Boolean, nullable=False),
    CheckConstraint("slots >= -1", name="slots_counted"),
)

job = Table(
    "job",
    metadata,
    Column("job_id", Name, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("hostname", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False, index=True),
    Column("ended_at", UtcDateTime),
    Column("detail", Json, nullable=False),
)

singleton = Table(
    "singleton",
    metadata,
    Column("name", Name, primary_key=True),
    Column("job_id", Text, nullable=False),
    Column("lease_until", UtcDateTime, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("detail", Json, nullable=False),
    sqlite_autoincrement=True,
)


def whole_metadata() -> MetaData:
    """The tables with the conditions of their partial indexes set as dialect options, to create and compare them.

    The options are not set at import, because an index that names a dialect imports it: Postgres's takes 45 ms of every
    command's start, and no query needs it.
    """
    for table in metadata.tables.values():
        for index in table.indexes:
            if _WHERE in index.info:
                for dialect in ("sqlite", "postgresql"):
                    index.dialect_options[dialect][_WHERE] = text(index.info[_WHERE])
    return metadata
