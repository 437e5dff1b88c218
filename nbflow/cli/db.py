"""db: create, migrate, check and reset the metastore."""

from __future__ import annotations

import os
import shutil

from nbflow.cli import output
from nbflow.cli.command_declarations import YES, Command, terminal_command
from nbflow.cli.db_archives import ARCHIVE_COMMANDS
from nbflow.cli.invocation import Call, UsageError
from nbflow.command_arguments import INTEGER, NUMBER, argument, switch
from nbflow.errors import NbflowError, StoreError
from nbflow.store.base import Store
from nbflow.suggestions import STOP_SCHEDULER


def _store(call: Call) -> Store:
    """The metastore, which is neither migrated nor checked."""
    from nbflow.app import App

    return call._open.enter_context(App.open(environ=call.environ, settings=call.settings, migrate=False)).store


def init(call: Call) -> None:
    from nbflow.config import prepare_home
    from nbflow.services.db_maintenance import migrate_tables

    prepare_home(call.settings)
    store = _store(call)
    migrate_tables(store)
    print(f"{store.url} is ready; the home is {call.settings.home}.")


def migrate(call: Call) -> None:
    from nbflow.services.db_maintenance import migrate_tables

    store = _store(call)
    migrate_tables(store)
    print(f"{store.url} is up to date.")


def downgrade(call: Call) -> int:
    from nbflow.services.db_maintenance import downgrade_tables

    store, target = _store(call), call.args.to_revision
    if target is None:
        raise UsageError("nbflow db downgrade: no revision.", hint="Pass -r REVISION; base removes all tables.")
    _check_no_scheduler_runs(call, store)
    if not call.confirm(f"Downgrade the tables of {store.url} to revision {target}? Newer columns are lost."):
        return 1
    downgrade_tables(store, target)
    print(f"The tables of {store.url} are at revision {target}.")
    return 0


def check(call: Call) -> None:
    import time

    args = call.args
    store = _store(call)
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


def reset(call: Call) -> int:
    from nbflow.services.db_maintenance import empty

    store = _store(call)
    _check_no_scheduler_runs(call, store)
    if not call.confirm(f"Delete everything in {store.url}?"):
        return 1
    empty(store, recreate=not call.args.skip_init)
    print(f"{store.url} is empty{'' if call.args.skip_init else ' and ready'}.")
    return 0


def _check_no_scheduler_runs(call: Call, store: Store) -> None:
    """Raises NbflowError if a scheduler is running."""
    from nbflow.clock import SystemClock
    from nbflow.services.schedulers import running_schedulers

    try:
        store.check()
    except StoreError:
        return  # without tables there is no scheduler
    if running := running_schedulers(store, call.settings, SystemClock().now()):
        raise NbflowError(
            f"A scheduler is running on {store.url} (pid {running[0].pid} on {running[0].hostname}).",
            hint=f"Stop it first with: {STOP_SCHEDULER}",
            suggestions=(STOP_SCHEDULER,),
        )


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


_REVISIONS = (
    argument("-r", "--to-revision", metavar="REVISION", help="Target revision; base removes all tables."),
    argument("--from-revision", metavar="REVISION", help="Ignored: the tables store their revision."),
)

COMMANDS = (
    Command(name="db init", help="Create the home, its settings file and the tables.", run=init),
    Command(
        name="db migrate",
        aliases=("db upgrade",),
        help="Create or migrate the tables.",
        run=migrate,
        arguments=(switch("-m", "--use-migration-files", help="Ignored: migrations are always used."),),
    ),
    Command(name="db downgrade", help="Downgrade the tables.", run=downgrade, arguments=(*_REVISIONS, YES)),
    Command(
        name="db check",
        help="Check that the metastore is reachable and its tables are up to date.",
        run=check,
        arguments=(
            argument("--retry", type=INTEGER, default=0, help="Number of retries (default: 0)."),
            argument(
                "--retry-delay",
                type=NUMBER,
                default=1.0,
                metavar="SECONDS",
                help="Seconds between retries (default: 1).",
            ),
        ),
    ),
    Command(
        name="db check-migrations",
        help="Wait until the tables are up to date.",
        run=check_migrations,
        arguments=(
            argument(
                "-t",
                "--migration-wait-timeout",
                type=NUMBER,
                default=60,
                metavar="SECONDS",
                help="Seconds to wait (default: 60).",
            ),
        ),
    ),
    Command(
        name="db reset",
        help="Delete all data of the metastore.",
        run=reset,
        arguments=(
            YES,
            switch("-s", "--skip-init", help="Do not create the tables again."),
            switch("-m", "--use-migration-files", help="Ignored: migrations are always used."),
        ),
    ),
    *ARCHIVE_COMMANDS,
    Command(name="db shell", help="Open sqlite3 or psql on the metastore.", run=shell),
    terminal_command("rotate-fernet-key"),
)
