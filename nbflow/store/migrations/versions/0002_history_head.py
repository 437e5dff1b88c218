"""The head of the history, by which a reader can tell that it has missed nothing.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

from nbflow.store.history_cursor import new_store_id
from nbflow.store.sql.column_types import Number

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    head = op.create_table(
        "history_head",
        sa.Column("one", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("store_id", sa.String(length=32), nullable=False),
        sa.Column(
            "other_changes", Number, nullable=False, comment="commits that changed what task_event does not tell"
        ),
        sa.Column("pruned_seq", Number, nullable=False, comment="the greatest task_event.seq that was deleted"),
        sa.Column("pruned_at", Number, nullable=False, comment="other_changes, when events were last deleted"),
        sa.CheckConstraint("one = 1", name="one_row"),
        sa.PrimaryKeyConstraint("one"),
        comment="what is known of the whole history",
    )
    # No cursor of before is about, so what was deleted until now is missed by nobody.
    op.bulk_insert(head, [{"one": 1, "store_id": new_store_id(), "other_changes": 0, "pruned_seq": 0, "pruned_at": 0}])


def downgrade() -> None:
    op.drop_table("history_head")
