"""The time zone of each DAG in its row, so that lists need not read the spec.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

from nbflow.store.sql.column_types import Json, Name

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DAG = sa.table("dag", sa.column("dag_id"), sa.column("version"), sa.column("timezone"))
_VERSION = sa.table("dag_version", sa.column("dag_id"), sa.column("number"), sa.column("spec", Json))


def upgrade() -> None:
    op.add_column("dag", sa.Column("timezone", Name, nullable=False, server_default="UTC"))
    connection = op.get_bind()
    followed = sa.and_(_VERSION.c.dag_id == _DAG.c.dag_id, _VERSION.c.number == _DAG.c.version)
    for dag_id, spec in connection.execute(sa.select(_DAG.c.dag_id, _VERSION.c.spec).join(_VERSION, followed)).all():
        zone = spec.get("timezone", "UTC")
        connection.execute(sa.update(_DAG).where(_DAG.c.dag_id == dag_id).values(timezone=zone))


def downgrade() -> None:
    op.drop_column("dag", "timezone")
