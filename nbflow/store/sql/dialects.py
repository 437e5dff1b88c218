"""The differences between SQLite and Postgres: one class each, chosen by the URL. All other SQL is shared.

==================  ============================================  ==================================================
                    SQLite                                        Postgres
==================  ============================================  ==================================================
writers             one at a time: ``BEGIN IMMEDIATE`` takes the  READ COMMITTED; ``FOR UPDATE`` on the rows that a
                    lock at once. A deferred BEGIN that writes    decision depends on, always in order of their ids;
                    after reading fails with "database is         ``SKIP LOCKED`` if any unlocked row will do
                    locked" without waiting
order of history    there is one writer                           a row gets its number at the INSERT and is visible
                                                                  after the COMMIT, so a reader that remembers the
                                                                  last number could miss a row for ever. Therefore an
                                                                  advisory lock is held from the first number to the
                                                                  commit. Both are sent together, so a client that
                                                                  hangs does not block the others (below)
foreign commits     ``data_version``: per connection; it does     LISTEN on a dedicated connection, NOTIFY with every
                    not count that connection's own commits       commit, with the name of the store object
a list of keys      ``json_each``                                 ``jsonb_array_elements``
==================  ============================================  ==================================================

Why numbers under a lock, and not "read below the oldest open transaction" (``pg_snapshot_xmin``): that bound covers the
whole server. A task that writes for three hours into another database of the same server would stop every live view for
three hours, and a forgotten prepared transaction would stop them for ever. The lock costs little, because Postgres
itself lets only one transaction with a NOTIFY commit at a time. A client that hangs while it holds the lock would block
all others, so the lock, the rows and the COMMIT are sent in one pipeline, after every guard has been checked.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote
from uuid import uuid4

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DisconnectionError, IntegrityError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from nbflow.errors import ConfigError, MissingExtra, StoreBusy, StoreError, StoreUnreachable, UnstorableValue
from nbflow.store.sql.compiled_statements import Write
from nbflow.suggested_commands import suggest


def _is_no_interrupt(record: logging.LogRecord) -> bool:
    """Log filter: Ctrl-C while a connection is returned to its pool raises KeyboardInterrupt as anywhere else, but the
    pool also logs it, with a traceback, as an error of the connection."""
    return not (record.exc_info and isinstance(record.exc_info[1], KeyboardInterrupt))


logging.getLogger(f"{QueuePool.__module__}.{QueuePool.__qualname__}").addFilter(_is_no_interrupt)


BUSY_SECONDS = 10.0
"""How long a SQLite writer waits for the lock. Transactions take milliseconds; only a stuck process takes longer."""
POLL_SECONDS = 0.005
"""Interval at which SQLite's ``data_version`` is polled (3 µs each)."""
PING_AFTER_IDLE_SECONDS = 1.0
"""A Postgres connection that was idle for longer is pinged before use: the server may have been restarted."""
CHANNEL = "nbflow_events"
HISTORY_LOCK = "hashtextextended('nbflow:task_event', 0)"
SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
_CONNECTING: tuple[tuple[str, str, str], ...] = (
    # A pattern of psycopg's message when a connection cannot be opened, which has no SQLSTATE; what it means; a hint.
    (r"(invalid (?:connection option|port number|\w+ value).*)", "is wrong", "Correct [database] sql_alchemy_conn."),
    (
        r"(failed to resolve host .*)",
        "does not respond",
        "Check the host's name in [database] sql_alchemy_conn.",
    ),
    (
        r"failed: FATAL:\s*(.*(?:starting up|shutting down|recovery).*)",
        "does not respond",
        "Wait until the server has started.",
    ),
    (
        r"failed: FATAL:\s*(.*(?:too many|connection slots).*)",
        "has no free connection",
        "Close other connections, or raise the limit of the server, database or role.",
    ),
    (
        r"failed: FATAL:\s*(.*)",
        "refuses the login",
        "Check the database's name, the user and the password.",
    ),
    (r"(.*(?:support SSL|certificate).*)", "refuses the connection", "Check sslmode in [database] sql_alchemy_conn."),
    (r"(.*)", "does not respond", "Is the server running?"),
)
_POSTGRES_ERRORS: Mapping[str, tuple[str, str]] = {
    # SQLSTATE: what it means, a hint
    "42501": (
        "refuses the user a right",
        "The user needs USAGE and CREATE on the schema to migrate, and to read and write the tables.",
    ),
    "25006": ("can only be read", "Use the primary server, and a user without default_transaction_read_only."),
}
_MIGRATE = suggest("db migrate")
MIGRATE: Mapping[str, Any] = {"hint": f"Create or upgrade its tables with: {_MIGRATE}", "suggestions": (_MIGRATE,)}
"""Keyword arguments of an error whose hint is to migrate."""


_END_STALLED = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND application_name = 'nbflow'
  AND state = 'active' AND wait_event = 'ClientRead' AND state_change < now() - make_interval(secs => %(seconds)s)
"""


class Dialect(Protocol):
    """SQL and behaviour of a database; called by :class:`nbflow.store.sql.database.Database`."""

    keys: str
    """SQL of a table (a, b, c) from the JSON array of arrays that is bound as ``:keys``."""
    lock_rows: str
    """SQL at the end of a query that locks the rows of the table ``r`` until the transaction ends."""
    skip_locked: str
    """Like ``lock_rows``, but skips rows that another transaction has locked."""

    def engine(self) -> Engine: ...
    def autocommit_engine(self, engine: Engine) -> Engine:
        """The engine for single statements, each of which is a transaction."""

    def create_database(self) -> None:
        """Create the database if that is nbflow's task (SQLite's file)."""

    def begin(self, connection: Connection, *, writing: bool) -> None: ...

    before_history: tuple[Write, ...]
    """Statements that must precede the INSERTs into the history."""
    nudge: tuple[Write, ...]
    """Statements that wake the processes that wait for changes, after the commit."""

    def send(self, connection: Connection, writes: Sequence[Write]) -> list[int]:
        """Execute the writes in order; returns the number of rows that each changed. Raises SQLAlchemy's
        IntegrityError."""

    def commit(self, connection: Connection, writes: Sequence[Write]) -> None:
        """Execute the last writes of a transaction and commit it, without a round trip between the two."""

    def lock_name(self, connection: Connection, name: str) -> None:
        """Take an advisory lock by name until the transaction ends."""

    def lift_timeouts(self, connection: Connection) -> None:
        """Let this transaction take as long as it needs: a migration of large tables."""

    def end_stalled_transactions(self, connection: Connection) -> int:
        """See :meth:`nbflow.store.base.Store.end_stalled_transactions`."""

    shared: bool
    """Whether several schedulers may use the database."""

    def translate(self, error: Exception) -> StoreError | UnstorableValue:
        """The error for an error of the driver: UnstorableValue if it refuses a value, otherwise a StoreError."""

    def foreign_commits(self, engine: Engine) -> Any:
        """A value that differs once another store object may have committed."""

    def wait_for_commit(self, timeout: float) -> bool:
        """Wait for a commit of any process, at most ``timeout`` seconds. False: compare ``foreign_commits``."""

    def close(self) -> None: ...


def dialect_of(url: str, synchronous: str, *, lock_timeout: float, idle_timeout: float) -> Dialect:
    """The dialect of a URL. Raises ConfigError for a URL that cannot be parsed. The error shows no part of it: an @ or
    : in the password moves the rest of the password to the host or port."""
    try:
        parsed = make_url(url)
    except Exception:
        raise _unreadable_url() from None
    if "@" in (parsed.host or ""):
        raise _unreadable_url()
    if parsed.get_backend_name() == "sqlite":
        return SqliteDialect(parsed, synchronous)
    return PostgresDialect(parsed, lock_timeout=lock_timeout, idle_timeout=idle_timeout)


def _unreadable_url() -> ConfigError:
    return ConfigError(
        "The metastore's URL cannot be read.",
        hint="Write [database] sql_alchemy_conn as sqlite:////path/nbflow.db or "
        "postgresql://user:password@host:5432/db; in a user or password write %40 for @, %3A for : and %2F for /.",
    )


class _Watched(NamedTuple):
    """A connection of the pool of SQLite."""

    serial: int
    connection: sqlite3.Connection
    info: dict[str, Any]

    def data_version(self) -> int:
        version: int = self.connection.execute("PRAGMA data_version").fetchone()[0]
        return version


class SqliteDialect:
    shared = False
    keys = (
        "(SELECT json_extract(value, '$[0]') AS a, json_extract(value, '$[1]') AS b, json_extract(value, '$[2]') AS c"
        " FROM json_each(:keys))"
    )
    lock_rows = skip_locked = ""
    before_history: tuple[Write, ...] = ()
    nudge: tuple[Write, ...] = ()  # the commit itself changes data_version

    def __init__(self, url: URL, synchronous: str) -> None:
        if not url.database or url.database == ":memory:":
            raise ConfigError("A SQLite metastore needs a file.", hint="For a store in memory use memory://.")
        if synchronous.upper() not in SYNCHRONOUS:
            raise ConfigError(f"synchronous is one of {', '.join(SYNCHRONOUS)}, not {synchronous!r}.")
        self.path = Path(url.database).absolute()
        self.synchronous = synchronous.upper()
        try:
            self.busy_seconds = float(str(url.query.get("timeout", BUSY_SECONDS)))
        except ValueError:
            raise ConfigError(f"?timeout= is a number of seconds, not {url.query['timeout']!r}.") from None
        self._has_existed = False
        self._serials = itertools.count()
        self._watched = threading.local()
        """Of each thread, as ``connection``: the connection whose ``data_version`` the thread compares."""
        self._in_use = threading.Lock()
        """Guards ``record.info["thread"]``, the thread that has checked a connection out."""

    def _connect(self) -> sqlite3.Connection:
        # mode=rw: connecting never creates a file, so a wrong path is an error and not an empty metastore.
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode=rw",
            uri=True,
            timeout=self.busy_seconds,
            isolation_level=None,  # begin() sends BEGIN
            check_same_thread=False,  # the pool gives a connection to one thread at a time
            cached_statements=256,
        )
        connection.execute(f"PRAGMA synchronous={self.synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def engine(self) -> Engine:
        engine = create_engine(
            "sqlite://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=4,
            max_overflow=60,
            pool_use_lifo=True,  # a thread gets the same connection again, whose data_version it can compare
            hide_parameters=True,  # parameters are users' data: they must not appear in error messages
        )

        @event.listens_for(engine, "connect")
        def note_file(connection: Any, record: Any) -> None:
            record.info["file"] = self._file()

        @event.listens_for(engine, "checkout")
        def note_checkout(connection: Any, record: Any, proxy: PoolProxiedConnection) -> None:
            # A connection keeps a deleted file open: what it writes would be lost without an error.
            if record.info.get("file") != self._file():
                raise DisconnectionError("the file was deleted, moved or replaced")
            with self._in_use:
                record.info["thread"] = threading.get_ident()

        @event.listens_for(engine, "checkin")
        def note_checkin(connection: Any, record: Any) -> None:
            with self._in_use:
                record.info.pop("thread", None)

        return engine

    def _file(self) -> tuple[int, int] | None:
        """Identifies the file at the metastore's path; None if there is none."""
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        self._has_existed = True
        return status.st_dev, status.st_ino

    def autocommit_engine(self, engine: Engine) -> Engine:
        return engine  # without BEGIN, SQLite commits after each statement

    def create_database(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Readable only by its owner; SQLite gives the -wal and -shm files the same mode. An existing file must not
            # be opened: closing it would release the locks that this process's other connections hold on it, and other
            # processes would then delete a write-ahead log that is in use.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreError(f"The metastore {self.path} cannot be created: {error.strerror}.") from error
        try:
            self._switch_to_wal()
        except sqlite3.DatabaseError as error:
            raise self.translate(error) from error

    def _switch_to_wal(self) -> None:
        connection = self._connect()
        deadline = time.monotonic() + self.busy_seconds
        try:
            while not self._try_wal(connection):
                if time.monotonic() > deadline:
                    raise sqlite3.OperationalError("database is locked")
                time.sleep(POLL_SECONDS)
        finally:
            connection.close()

    @staticmethod
    def _try_wal(connection: sqlite3.Connection) -> bool:
        """Set ``journal_mode=WAL``. False: another process is setting it and holds the lock, to which SQLite's busy
        timeout does not apply."""
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                return False
            raise
        return True

    def begin(self, connection: Connection, *, writing: bool) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    def send(self, connection: Connection, writes: Sequence[Write]) -> list[int]:
        return [
            connection.exec_driver_sql(sql, rows[0] if len(rows) == 1 else list(rows)).rowcount
            for sql, rows, _ in writes
        ]

    def commit(self, connection: Connection, writes: Sequence[Write]) -> None:
        self.send(connection, writes)
        connection.commit()

    def lock_name(self, connection: Connection, name: str) -> None:
        """Nothing to do: ``BEGIN IMMEDIATE`` already excludes other writers."""

    def lift_timeouts(self, connection: Connection) -> None:
        """Nothing to do: only waiting for the lock has a limit."""

    def end_stalled_transactions(self, connection: Connection) -> int:
        return 0

    def translate(self, error: Exception) -> StoreError | UnstorableValue:
        message = str(error)
        if isinstance(error, sqlite3.DataError):
            return UnstorableValue(f"The metastore cannot store a value: {message}; nothing was changed.")
        if "locked" in message or "busy" in message:
            return StoreBusy(
                f"{self.path} was locked for {self.busy_seconds:g} s; nothing was changed.",
                hint="Another process holds the lock: try again, or look for a process that hangs.",
            )
        if "not a database" in message:
            return StoreError(
                f"{self.path} is not an SQLite database; nothing was changed.",
                hint="Set another path in [database] sql_alchemy_conn, or restore a backup of this file.",
            )
        if "disk is full" in message:
            return StoreError(
                f"The disk of {self.path} is full; nothing was changed.", hint="Free some space and try again."
            )
        if "no such table" in message or "no such column" in message:
            return StoreError(f"The tables of {self.path} are missing or outdated ({message}).", **MIGRATE)
        if "unable to open" in message and self._has_existed and not self.path.exists():
            return StoreError(
                f"{self.path} was deleted or moved while this process used it; nothing was changed.",
                hint="Move it back or restore a backup; the process then continues with it.",
            )
        if "unable to open" in message and not self.path.exists():
            return StoreError(f"There is no metastore at {self.path}.", **MIGRATE)
        return StoreError(f"SQLite error at {self.path}: {message}; nothing was changed.")

    def foreign_commits(self, engine: Engine) -> Any:
        """``data_version`` of the pool's connection that this thread got last, and most likely gets again. It is read
        without a checkout, which would cost more than the query. While another thread has the connection, this thread
        watches another one: a connection of SQLite must not be used by two threads at once. A commit on any other
        connection, also by a thread of this process, counts as foreign."""
        try:
            watched: _Watched | None = getattr(self._watched, "connection", None)
            version = self._data_version(watched) if watched is not None else None
            if watched is None or version is None:
                watched, version = self._watch_another(engine)
            return watched.serial, version
        except sqlite3.Error as error:
            raise self.translate(error) from error

    def _data_version(self, watched: _Watched) -> int | None:
        """None: another thread has checked the connection out, or the pool has closed it."""
        with self._in_use:
            if watched.info.get("thread", threading.get_ident()) != threading.get_ident():
                return None
            try:
                return watched.data_version()
            except sqlite3.ProgrammingError:  # closed
                return None

    def _watch_another(self, engine: Engine) -> tuple[_Watched, int]:
        """Watch a connection that no thread has checked out; returns it with its ``data_version``."""
        pooled = engine.raw_connection()
        try:
            connection: Any = pooled.driver_connection
            watched = _Watched(next(self._serials), connection, pooled.info)
            version = watched.data_version()
            self._watched.connection = watched
            return watched, version
        finally:
            pooled.close()

    def wait_for_commit(self, timeout: float) -> bool:
        time.sleep(min(POLL_SECONDS, timeout))
        return False

    def close(self) -> None:
        """Forget the connections; the engine closes all of them."""
        self._watched = threading.local()


class PostgresDialect:
    shared = True
    keys = (
        "(SELECT v ->> 0 AS a, v ->> 1 AS b, CAST(v ->> 2 AS integer) AS c"
        " FROM jsonb_array_elements(CAST(:keys AS jsonb)) AS v)"
    )
    lock_rows = " FOR UPDATE OF r"
    skip_locked = " FOR UPDATE OF r SKIP LOCKED"

    def __init__(self, url: URL, *, lock_timeout: float, idle_timeout: float) -> None:
        self.url = url.set(drivername="postgresql+psycopg")
        self._idle_timeout = idle_timeout
        self.session_options = (
            f"-c timezone=UTC -c lock_timeout={round(lock_timeout * 1000)}"
            f" -c idle_in_transaction_session_timeout={round(idle_timeout * 1000)}"
        )
        self.shown_url = url.render_as_string(hide_password=True)
        self._name = uuid4().hex
        self._listener: Any = None
        self._foreign_notifications = self._notifications = 0
        self._is_listening = False
        self._condition = threading.Condition()
        """Guards the attributes above. Of several threads that wait, one listens and notifies the others. If the
        threads listened in turns, the second would start after the first had received what both wait for."""
        notify = f"pg_notify('{CHANNEL}', '{self._name}')"
        self.nudge: tuple[Write, ...] = (Write(f"SELECT {notify}", [None]),)
        lock = f"SELECT pg_advisory_xact_lock({HISTORY_LOCK}), {notify}"
        self.before_history: tuple[Write, ...] = (Write(lock, [None]),)

    def engine(self) -> Engine:
        try:
            self.url.get_dialect().import_dbapi()
        except ImportError:
            raise MissingExtra("A metastore on Postgres", "psycopg", "postgres") from None
        engine = create_engine(
            self.url,
            isolation_level="READ COMMITTED",
            pool_size=5,
            max_overflow=60,
            hide_parameters=True,
            connect_args={
                "options": self.session_options,
                "connect_timeout": 10,
                "application_name": "nbflow",
                "client_encoding": "utf8",  # whatever PGCLIENTENCODING says
            },
        )
        # first: SQLAlchemy's own listener reads text from the server
        event.listen(engine, "connect", self._refuse_other_encodings, insert=True)

        @event.listens_for(engine, "checkin")
        def store_checkin_time(connection: Any, record: Any) -> None:
            record.info["idle_since"] = time.monotonic()

        @event.listens_for(engine, "checkout")
        def ping(connection: Any, record: Any, proxy: PoolProxiedConnection) -> None:
            idle_since = record.info.get("idle_since")
            if idle_since is not None and time.monotonic() - idle_since > PING_AFTER_IDLE_SECONDS:
                try:
                    engine.dialect.do_ping(connection)
                except Exception as error:
                    raise DisconnectionError("the server was restarted") from error

        return engine

    def _refuse_other_encodings(self, connection: Any, record: Any) -> None:
        """Users' texts have any character; psycopg reads text of SQL_ASCII as bytes."""
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            connection.close()
            raise StoreError(
                f"{self.shown_url} has the encoding {encoding}; nbflow needs UTF8.",
                hint="Create another database, in SQL: CREATE DATABASE nbflow ENCODING 'UTF8' TEMPLATE template0; "
                "then write its name in [database] sql_alchemy_conn.",
            )

    def autocommit_engine(self, engine: Engine) -> Engine:
        return engine.execution_options(isolation_level="AUTOCOMMIT")

    def create_database(self) -> None:
        """Nothing to do: an administrator creates the database."""

    def begin(self, connection: Connection, *, writing: bool) -> None:
        """psycopg begins with the first statement; SQLAlchemy must be told, since pipelined statements bypass it."""
        connection.begin()

    def send(self, connection: Connection, writes: Sequence[Write]) -> list[int]:
        return self._pipelined(connection, writes, commit=False)

    def commit(self, connection: Connection, writes: Sequence[Write]) -> None:
        if writes:
            self._pipelined(connection, writes, commit=True)
        connection.commit()  # a no-op for the server if the pipeline has committed

    def _pipelined(self, connection: Connection, writes: Sequence[Write], *, commit: bool) -> list[int]:
        import psycopg

        driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
        try:
            with driver.pipeline():  # one round trip for all statements
                cursors = [_execute(driver.cursor(), write) for write in writes]
                if commit:
                    driver.commit()
        except psycopg.IntegrityError as error:
            raise IntegrityError("apply", None, error) from error
        except psycopg.Error as error:
            if driver.closed:
                connection.invalidate()
            raise self.translate(error) from error
        return [cursor.rowcount for cursor in cursors]

    def lock_name(self, connection: Connection, name: str) -> None:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"nbflow:{name}",))

    def lift_timeouts(self, connection: Connection) -> None:
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")

    def end_stalled_transactions(self, connection: Connection) -> int:
        """A process that stands still between two statements of a pipeline: the server waits for the next one and calls
        the session active, so idle_in_transaction_session_timeout does not apply."""
        if not self._idle_timeout:
            return 0
        return connection.exec_driver_sql(_END_STALLED, {"seconds": self._idle_timeout}).rowcount

    def translate(self, error: Exception) -> StoreError | UnstorableValue:
        message = str(error).partition("\n")[0]
        url = self.shown_url
        code = getattr(error, "sqlstate", None)
        # psycopg's own DataError, for NUL in a text, has no SQLSTATE. It must not look like a lost connection: the
        # scheduler would retry for ever.
        if (code or "").startswith("22") or type(error).__name__ == "DataError":
            return UnstorableValue(f"The metastore cannot store a value: {message.rstrip('.')}; nothing was changed.")
        if code in ("40001", "40P01", "55P03"):
            return StoreBusy(f"{url} is busy: {message}; nothing was changed.", hint="Try again.")
        if code == "25P03":
            return StoreBusy(
                f"{url} rolled back a transaction in which this process stood still; nothing was changed.",
                hint="Try again. The limit is [database] idle_in_transaction_timeout_seconds.",
            )
        if code in ("42P01", "42703"):
            return StoreError(f"The tables of {url} are missing or outdated ({message}).", **MIGRATE)
        if code == "53100":
            return StoreError(f"The disk of {url} is full; nothing was changed.", hint="Free some space and try again.")
        if code is None or code.startswith(("08", "57P")):
            found = ((re.search(pattern, message), meaning, hint) for pattern, meaning, hint in _CONNECTING)
            reason, meaning, hint = next((match[1], meaning, hint) for match, meaning, hint in found if match)
            unreachable = meaning in ("does not respond", "has no free connection")
            kind = StoreUnreachable if unreachable else StoreError
            return kind(f"{url} {meaning}: {reason.rstrip('.')}.", hint=hint)
        if code in _POSTGRES_ERRORS:
            meaning, hint = _POSTGRES_ERRORS[code]
            return StoreError(f"{url} {meaning}: {message}; nothing was changed.", hint=hint)
        return StoreError(f"Postgres error at {url}: {message}; nothing was changed.")

    def foreign_commits(self, engine: Engine) -> Any:
        with self._condition:
            if not self._is_listening:  # otherwise the listening thread counts the notifications
                self._receive_notifications(0)
            return self._foreign_notifications

    def wait_for_commit(self, timeout: float) -> bool:
        with self._condition:
            if self._is_listening:
                before = self._notifications
                self._condition.wait(timeout)
                return self._notifications != before
            self._is_listening = True
        try:
            return self._receive_notifications(max(timeout, 0.001))
        finally:
            with self._condition:
                self._is_listening = False
                self._condition.notify_all()

    def _receive_notifications(self, timeout: float) -> bool:
        """Count the notifications that have arrived; with a timeout, wait for the first. Returns whether any
        arrived."""
        import psycopg

        before = self._notifications
        try:
            if self._listener is None:
                arguments, options = self.url.get_dialect()().create_connect_args(self.url)
                self._listener = psycopg.connect(*arguments, **options, client_encoding="utf8", autocommit=True)
                self._listener.execute(f"LISTEN {CHANNEL}")
                self._foreign_notifications += 1  # commits before LISTEN sent no notification to this connection
            for notification in self._listener.notifies(timeout=timeout, stop_after=1 if timeout else None):
                self._notifications += 1
                self._foreign_notifications += notification.payload != self._name
        except psycopg.OperationalError as error:
            self._listener = None
            self._notifications += 1
            self._foreign_notifications += 1
            raise self.translate(error) from error
        return self._notifications != before

    def close(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: not self._is_listening)
            if self._listener is not None:
                self._listener.close()
                self._listener = None


def _execute(cursor: Any, write: Write) -> Any:
    """Execute the write with the cursor; returns the cursor."""
    if len(write.rows) == 1:
        cursor.execute(write.sql, write.rows[0])
    else:
        cursor.executemany(write.sql, write.rows)
    return cursor
