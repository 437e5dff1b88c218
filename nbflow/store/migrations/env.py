"""Alembic's environment script. ``nbflow.store.sql.schema`` passes the connection, in a transaction that holds the
migration lock."""

from alembic import context

from nbflow.store.sql.schema import VERSION_TABLE
from nbflow.store.sql.tables import whole_metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=whole_metadata(),
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
