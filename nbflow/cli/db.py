"""db: create, migrate, check and reset the metastore, or open a shell on it."""

from __future__ import annotations

import os
import shutil

from nbflow.cli import output
from nbflow.cli.db_archives import ARCHIVE_COMMANDS
from nbflow.cli.invocation import Call
from nbflow.cli.terminal_command import YES, terminal_command
from nbflow.errors import NbflowError, StoreError


def check(call: Call) -> None:
    import time

    args = call.args
    store = call.app.store
    for remaining in range(args.retry, -1, -1):
        try:
            store.check()
            break
        except StoreError as error:
            if remaining == 0:
                raise
            output.note(f"{error} Retrying in {args.retry_delay:g} s.")
            time.sleep(args.retry_delay)
    print(f"{store.url} is reachable and its tables are up to date.")


def check_migrations(call: Call) -> None:
    """Wait until another process has migrated the tables."""
    call.args.retry, call.args.retry_delay = int(call.args.migration_wait_timeout), 1.0
    check(call)


def shell(call: Call) -> int:
    """Replace this process by sqlite3 or psql. The password is passed in the environment, not on the command line."""
    from sqlalchemy import make_url

    url = make_url(call.settings.database.sql_alchemy_conn)
    environ = dict(call.environ)
    if url.get_backend_name() == "sqlite":
        command = ["sqlite3", url.database or ""]
    elif url.get_backend_name() in ("postgresql", "postgres"):
        command = ["psql", "-d", url.database or "nbflow"]
        for flag, value in (("-h", url.host), ("-p", url.port), ("-U", url.username)):
            command += [flag, str(value)] if value else []
        if url.password:
            environ["PGPASSWORD"] = str(url.password)
    else:
        raise NbflowError(
            f"No database shell for {url.get_backend_name()}.", hint="nbflow db shell supports SQLite and Postgres."
        )
    program = shutil.which(command[0])
    if program is None:
        raise NbflowError(f"{command[0]} is not installed.", hint="Install it to use nbflow db shell.")
    os.execve(program, command, environ)


COMMANDS = (
    terminal_command("db init"),
    terminal_command("db migrate"),
    terminal_command("db downgrade", YES),
    terminal_command("db check", run=check),
    terminal_command("db check-migrations", run=check_migrations),
    terminal_command("db reset", YES),
    *ARCHIVE_COMMANDS,
    terminal_command("db shell", change=shell),
    terminal_command("rotate-fernet-key"),
)
