"""A setup creates a database, a teardown removes it, also when the task between fails. The name comes from outside, so
it is bound as a SQL parameter, and no file name is derived from it."""

from datetime import UTC, datetime

from nbflow import DAG, task

with DAG(
    "example_setup_teardown",
    description="A database that is created for the run and removed afterwards",
    schedule=None,
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    tags=["example"],
    doc_md=__doc__,
):

    @task
    def make_database():
        import os
        import sqlite3
        import tempfile
        from contextlib import closing

        handle, path = tempfile.mkstemp(suffix=".db")
        os.close(handle)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE guests (name TEXT NOT NULL)")
        return path

    @task
    def add_guest(path, dag_run):
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("INSERT INTO guests VALUES (?)", (str(dag_run.conf.get("name", "Ada")),))
            return [name for (name,) in connection.execute("SELECT name FROM guests")]

    @task
    def remove_database(path):
        import os

        os.unlink(path)

    database = make_database()
    work = add_guest(database)
    work >> remove_database(database).as_teardown(setups=database)
