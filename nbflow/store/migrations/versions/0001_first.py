"""The first tables.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

from nbflow.store.sql.column_types import Json, Name, Number, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "audit",
    "backfill",
    "connection",
    "dag_task",
    "dag_version",
    "import_fault",
    "job",
    "pool",
    "singleton",
    "variable",
    "dag",
    "dag_run",
    "attempt",
    "callback",
    "rendered",
    "task_event",
    "task_instance",
    "task_trigger",
    "xcom",
)
SQLITE_APPEND_ONLY = """
CREATE TRIGGER task_event_append_only BEFORE UPDATE ON task_event
BEGIN SELECT RAISE(ABORT, 'task_event is append-only'); END
"""
POSTGRES_FUNCTION = """
CREATE FUNCTION nbflow_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
"""
POSTGRES_APPEND_ONLY = """
CREATE TRIGGER task_event_append_only BEFORE UPDATE ON task_event
FOR EACH STATEMENT EXECUTE FUNCTION nbflow_append_only()
"""


def upgrade() -> None:

    op.create_table(
        "audit",
        sa.Column("seq", Number, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("detail", Json(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "backfill",
        sa.Column("id", Number, nullable=False),
        sa.Column("dag_id", Name, nullable=False),
        sa.Column("from_date", UtcDateTime(), nullable=False),
        sa.Column("to_date", UtcDateTime(), nullable=False),
        sa.Column("reprocess", sa.String(length=20), nullable=False),
        sa.Column("run_backwards", sa.Boolean(), nullable=False),
        sa.Column("max_active_runs", sa.Integer(), nullable=False),
        sa.Column("conf", Json(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=True),
        sa.Column("completed_at", UtcDateTime(), nullable=True),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.Column("entries", Json(), nullable=False),
        sa.CheckConstraint("reprocess IN ('none', 'failed', 'completed')", name="reprocess_known"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "backfill_unfinished",
        "backfill",
        ["id"],
        unique=False,
        sqlite_where=sa.text("completed_at IS NULL"),
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    op.create_index(op.f("ix_backfill_dag_id"), "backfill", ["dag_id"], unique=False)
    op.create_table(
        "connection",
        sa.Column("conn_id", Name, nullable=False),
        sa.Column("conn_type", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("schema", sa.Text(), nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("secret", sa.Text(), nullable=False, comment="login, password and extra, encrypted"),
        sa.PrimaryKeyConstraint("conn_id"),
    )
    op.create_table(
        "dag_task",
        sa.Column("dag_id", Name, nullable=False),
        sa.Column("task_id", Name, nullable=False),
        sa.Column("first_date", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("dag_id", "task_id"),
        comment="the earliest logical date at which a task has had an instance: whether it is free of its past",
    )
    op.create_table(
        "dag_version",
        sa.Column("dag_id", Name, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("spec", Json(), nullable=False),
        sa.Column("fileloc", sa.Text(), nullable=False),
        sa.Column("cell", sa.Text(), nullable=True),
        sa.Column("files", Json(), nullable=False),
        sa.Column("origin", sa.String(length=20), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("origin IN ('file', 'kernel', 'example')", name="origin_known"),
        sa.PrimaryKeyConstraint("dag_id", "number"),
    )
    op.create_index("dag_version_digest", "dag_version", ["dag_id", "digest"], unique=True)
    op.create_table(
        "import_fault",
        sa.Column("id", Number, nullable=False),
        sa.Column("fileloc", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("cell", sa.Text(), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_import_fault_fileloc"), "import_fault", ["fileloc"], unique=False)
    op.create_table(
        "job",
        sa.Column("job_id", Name, nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("heartbeat_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("detail", Json(), nullable=False),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_index(op.f("ix_job_heartbeat_at"), "job", ["heartbeat_at"], unique=False)
    op.create_table(
        "pool",
        sa.Column("name", Name, nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("include_deferred", sa.Boolean(), nullable=False),
        sa.CheckConstraint("slots >= -1", name="slots_counted"),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "singleton",
        sa.Column("name", Name, nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "variable",
        sa.Column("key", Name, nullable=False),
        sa.Column("value", sa.Text(), nullable=False, comment="encrypted"),
        sa.Column("description", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "dag",
        sa.Column("dag_id", Name, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("fileloc", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("stale", sa.Boolean(), nullable=False),
        sa.Column("schedule_text", sa.Text(), nullable=False),
        sa.Column("next_run_after", UtcDateTime(), nullable=True),
        sa.Column("next_logical_date", UtcDateTime(), nullable=True),
        sa.Column("next_interval_start", UtcDateTime(), nullable=True),
        sa.Column("next_interval_end", UtcDateTime(), nullable=True),
        sa.Column("tags", Json(), nullable=False),
        sa.Column("owners", Json(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("last_parsed_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dag_id", "version"],
            ["dag_version.dag_id", "dag_version.number"],
        ),
        sa.PrimaryKeyConstraint("dag_id"),
    )
    op.create_index(
        "dag_due",
        "dag",
        ["next_run_after", "dag_id"],
        unique=False,
        sqlite_where=sa.text("next_run_after IS NOT NULL AND NOT paused AND NOT stale"),
        postgresql_where=sa.text("next_run_after IS NOT NULL AND NOT paused AND NOT stale"),
    )
    op.create_table(
        "dag_run",
        sa.Column("id", Number, nullable=False),
        sa.Column("dag_id", Name, nullable=False),
        sa.Column("run_id", Name, nullable=False),
        sa.Column("run_type", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("logical_date", UtcDateTime(), nullable=True),
        sa.Column("data_interval_start", UtcDateTime(), nullable=True),
        sa.Column("data_interval_end", UtcDateTime(), nullable=True),
        sa.Column("run_after", UtcDateTime(), nullable=False),
        sa.Column("queued_at", UtcDateTime(), nullable=True),
        sa.Column("start_date", UtcDateTime(), nullable=True),
        sa.Column("end_date", UtcDateTime(), nullable=True),
        sa.Column("conf", Json(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("backfill_id", Number, nullable=True),
        sa.Column("triggered_by", sa.Text(), nullable=True),
        sa.Column("clear_number", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("sort_date", UtcDateTime(), nullable=False, comment="logical_date, else run_after"),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.CheckConstraint("run_type IN ('scheduled', 'manual', 'backfill', 'asset_triggered')", name="run_type_known"),
        sa.CheckConstraint("state IN ('queued', 'running', 'success', 'failed')", name="state_known"),
        sa.ForeignKeyConstraint(
            ["dag_id", "version"],
            ["dag_version.dag_id", "dag_version.number"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "dag_run_active",
        "dag_run",
        ["run_after", "id"],
        unique=False,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_index("dag_run_dates", "dag_run", ["sort_date", "id"], unique=False)
    op.create_index(
        "dag_run_interval",
        "dag_run",
        ["dag_id", "logical_date"],
        unique=True,
        sqlite_where=sa.text("run_type IN ('backfill', 'scheduled') AND logical_date IS NOT NULL"),
        postgresql_where=sa.text("run_type IN ('backfill', 'scheduled') AND logical_date IS NOT NULL"),
    )
    op.create_index("dag_run_key", "dag_run", ["dag_id", "run_id"], unique=True)
    op.create_index("dag_run_order", "dag_run", ["dag_id", "sort_date", "id"], unique=False)
    op.create_table(
        "attempt",
        sa.Column("id", Number, nullable=False),
        sa.Column("attempt_id", sa.String(length=64), nullable=False),
        sa.Column("run_no", Number, nullable=False),
        sa.Column("task_id", Name, nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("continues", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("queued_at", UtcDateTime(), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("hostname", sa.Text(), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("pid_started", sa.Float(precision=53), nullable=True),
        sa.Column("log_path", sa.Text(), nullable=True),
        sa.Column("outcome", sa.String(length=40), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("next_method", sa.Text(), nullable=True),
        sa.Column("next_kwargs", Json(), nullable=True),
        sa.CheckConstraint("state IN ('queued', 'running', 'ended')", name="state_known"),
        sa.ForeignKeyConstraint(["run_no"], ["dag_run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("attempt_id"),
    )
    op.create_index("attempt_instance", "attempt", ["run_no", "task_id", "map_index"], unique=False)
    op.create_index(
        "attempt_lease",
        "attempt",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_table(
        "callback",
        sa.Column("id", Number, nullable=False),
        sa.Column("run_no", Number, nullable=False),
        sa.Column("task_id", Name, nullable=True),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["run_no"], ["dag_run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        comment="intents not yet carried out",
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_callback_run_no"), "callback", ["run_no"], unique=False)
    op.create_table(
        "rendered",
        sa.Column("run_no", Number, autoincrement=False, nullable=False),
        sa.Column("task_id", Name, nullable=False),
        sa.Column("map_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fields", Json(), nullable=False),
        sa.ForeignKeyConstraint(["run_no"], ["dag_run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_no", "task_id", "map_index"),
    )
    op.create_table(
        "task_event",
        sa.Column("seq", Number, nullable=False),
        sa.Column("run_no", Number, nullable=False),
        sa.Column("task_id", Name, nullable=True),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("target", sa.String(length=20), nullable=False),
        sa.Column("cause", sa.String(length=40), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("attempt_id", sa.String(length=64), nullable=True),
        sa.Column("detail", Json(), nullable=True),
        sa.ForeignKeyConstraint(["run_no"], ["dag_run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("task_event_run", "task_event", ["run_no", "seq"], unique=False)
    op.create_table(
        "task_instance",
        sa.Column("run_no", Number, autoincrement=False, nullable=False),
        sa.Column("task_id", Name, nullable=False),
        sa.Column("map_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("max_tries", sa.Integer(), nullable=False),
        sa.Column("attempt_id", sa.String(length=64), nullable=True),
        sa.Column("scheduled_at", UtcDateTime(), nullable=True),
        sa.Column("queued_at", UtcDateTime(), nullable=True),
        sa.Column("start_date", UtcDateTime(), nullable=True),
        sa.Column("end_date", UtcDateTime(), nullable=True),
        sa.Column("next_at", UtcDateTime(), nullable=True),
        sa.Column("reschedules", sa.Integer(), nullable=False),
        sa.Column("skips", Json(), nullable=True),
        sa.Column("length", sa.Integer(), nullable=True),
        sa.Column("priority_weight", sa.Integer(), nullable=True),
        sa.Column("next_method", sa.Text(), nullable=True),
        sa.Column("trigger_id", Number, nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("pool", Name, nullable=False),
        sa.Column("pool_slots", sa.Integer(), nullable=False),
        sa.Column("next_kwargs", Json(), nullable=True),
        sa.CheckConstraint(
            "state IN ('none', 'scheduled', 'queued', 'running', 'success', 'failed', 'skipped', 'upstream_failed',"
            " 'up_for_retry', 'up_for_reschedule', 'deferred', 'restarting', 'removed')",
            name="state_known",
        ),
        sa.ForeignKeyConstraint(["run_no"], ["dag_run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_no", "task_id", "map_index"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "task_instance_live",
        "task_instance",
        ["run_no", "task_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('deferred', 'queued', 'restarting', 'running')"),
        postgresql_where=sa.text("state IN ('deferred', 'queued', 'restarting', 'running')"),
    )
    op.create_table(
        "task_trigger",
        sa.Column("id", Number, nullable=False),
        sa.Column("run_no", Number, nullable=False),
        sa.Column("task_id", Name, nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("attempt_id", sa.String(length=64), nullable=False),
        sa.Column("trigger", Json(), nullable=False),
        sa.Column("timeout_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["run_no"], ["dag_run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("task_trigger_instance", "task_trigger", ["run_no", "task_id", "map_index"], unique=False)
    op.create_table(
        "xcom",
        sa.Column("run_no", Number, autoincrement=False, nullable=False),
        sa.Column("task_id", Name, nullable=False),
        sa.Column("map_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", Name, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["run_no"], ["dag_run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_no", "task_id", "map_index", "key"),
    )

    if op.get_bind().dialect.name == "sqlite":
        op.execute(SQLITE_APPEND_ONLY)
    else:
        op.execute(POSTGRES_FUNCTION)
        op.execute(POSTGRES_APPEND_ONLY)


def downgrade() -> None:
    for name in reversed(TABLES):
        op.drop_table(name)
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION nbflow_append_only")
