"""db: the metastore's tables, and the key of its secrets."""

from __future__ import annotations

import os
import shutil

from nbflow.arguments import INTEGER, NUMBER, argument, switch
from nbflow.cli import output
from nbflow.cli.db_archives import ARCHIVE_COMMANDS
from nbflow.cli.declaring import YES, Command, declared
from nbflow.cli.invocation import Call, UsageError
from nbflow.errors import NbflowError, StoreError
from nbflow.store.base import Store
from nbflow.way_out import STOP_SCHEDULER


def _store(call: Call) -> Store:
    """The metastore as it is: nothing is migrated or checked."""
    from nbflow.app import App

    return call._open.enter_context(App.open(environ=call.environ, settings=call.settings, migrate=False)).store


def init(call: Call) -> None:
    from nbflow.config import prepare_home
    from nbflow.services.maintenance import migrate_tables

    prepare_home(call.settings)
    store = _store(call)
    migrate_tables(store)
    print(f"{store.url} is ready; the home is {call.settings.home}.")


def migrate(call: Call) -> None:
    from nbflow.services.maintenance import migrate_tables

    store = _store(call)
    migrate_tables(store)
    print(f"{store.url} is up to date.")


def downgrade(call: Call) -> int:
    from nbflow.services.maintenance import downgrade_tables

    store, target = _store(call), call.args.to_revision
    if target is None:
        raise UsageError("nbflow db downgrade: to which revision?", hint="Say -r REVISION; base removes all tables.")
    _refuse_beside_scheduler(call, store)
    if not call.sure(f"Take the tables of {store.url} back to revision {target}? What is newer in them is lost."):
        return 1
    downgrade_tables(store, target)
    print(f"The tables of {store.url} have revision {target}.")
    return 0


def check(call: Call) -> None:
    import time

    args = call.args
    store = _store(call)
    for left in range(args.retry, -1, -1):
        try:
            store.check()
            break
        except StoreError as fault:
            if left == 0:
                raise
            output.say(f"{fault} Trying again in {args.retry_delay:g} s.")
            time.sleep(args.retry_delay)
    print(f"{store.url} is reachable and its tables are up to date.")


def check_migrations(call: Call) -> None:
    """Wait until another process has migrated."""
    call.args.retry, call.args.retry_delay = int(call.args.migration_wait_timeout), 1.0
    check(call)


def reset(call: Call) -> int:
    from nbflow.services.maintenance import empty

    store = _store(call)
    _refuse_beside_scheduler(call, store)
    if not call.sure(f"Delete everything in {store.url}?"):
        return 1
    empty(store, recreate=not call.args.skip_init)
    print(f"{store.url} is empty{'' if call.args.skip_init else ' and ready'}.")
    return 0


def _refuse_beside_scheduler(call: Call, store: Store) -> None:
    from nbflow.clock import SystemClock
    from nbflow.services.schedulers import running_schedulers

    try:
        store.check()
    except StoreError:
        return  # no tables, so no scheduler on them
    if running := running_schedulers(store, call.settings, SystemClock().now()):
        raise NbflowError(
            f"A scheduler is running on {store.url} (pid {running[0].pid} on {running[0].hostname}).",
            hint=f"End it first: {STOP_SCHEDULER}.",
            ways=(STOP_SCHEDULER,),
        )


def shell(call: Call) -> int:
    """Open the database's own shell. A password goes by the environment, never by the command line."""
    from sqlalchemy import make_url

    url = make_url(call.settings.database.sql_alchemy_conn)
    environ = dict(call.environ)
    if url.get_backend_name() == "sqlite":
        words = ["sqlite3", url.database or ""]
    elif url.get_backend_name() in ("postgresql", "postgres"):
        words = ["psql", "-d", url.database or "nbflow"]
        words += [
            word
            for flag, value in (("-h", url.host), ("-p", url.port), ("-U", url.username))
            if value
            for word in (flag, str(value))
        ]
        if url.password:
            environ["PGPASSWORD"] = str(url.password)
    else:
        raise NbflowError(f"There is no shell for {url.get_backend_name()}.")
    program = shutil.which(words[0])
    if program is None:
        raise NbflowError(f"{words[0]} is not installed.", hint=f"It opens {call.settings.home}'s metastore.")
    os.execve(program, words, environ)


_REVISIONS = (
    argument("-r", "--to-revision", metavar="REVISION", help="Which revision of the tables."),
    argument("--from-revision", metavar="REVISION", help="Accepted: the tables know their revision."),
)

COMMANDS = (
    Command(name="db init", help="Make the home, its settings file and the tables.", run=init),
    Command(
        name="db migrate",
        aliases=("db upgrade",),
        help="Make the tables, or bring them up to date.",
        run=migrate,
        arguments=(switch("-m", "--use-migration-files", help="Accepted: migrations are always used."),),
    ),
    Command(name="db downgrade", help="Take the tables back.", run=downgrade, arguments=(*_REVISIONS, YES)),
    Command(
        name="db check",
        help="Whether the metastore answers and its tables are up to date.",
        run=check,
        arguments=(
            argument("--retry", type=INTEGER, default=0, help="Try again so often."),
            argument("--retry-delay", type=NUMBER, default=1.0, metavar="SECONDS", help="And wait so long in between."),
        ),
    ),
    Command(
        name="db check-migrations",
        help="Wait until the tables are up to date.",
        run=check_migrations,
        arguments=(
            argument(
                "-t", "--migration-wait-timeout", type=NUMBER, default=60, metavar="SECONDS", help="For so long (60)."
            ),
        ),
    ),
    Command(
        name="db reset",
        help="Delete everything in the metastore.",
        run=reset,
        arguments=(
            YES,
            switch("-s", "--skip-init", help="Do not make the tables again."),
            switch("-m", "--use-migration-files", help="Accepted: migrations are always used."),
        ),
    ),
    *ARCHIVE_COMMANDS,
    Command(name="db shell", help="The database's own shell.", run=shell),
    declared("rotate-fernet-key"),
)
