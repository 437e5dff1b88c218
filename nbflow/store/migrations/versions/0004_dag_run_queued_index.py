"""An index by which the run of a DAG that was queued last is found without reading the DAG's other runs.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("dag_run_queued", "dag_run", ["dag_id", "queued_at", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("dag_run_queued", table_name="dag_run")
