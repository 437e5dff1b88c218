"""What differs between SQLite and Postgres: one small class each, chosen by the URL. All other SQL is shared.

==================  ============================================  ==================================================
                    SQLite                                        Postgres
==================  ============================================  ==================================================
writers             one at a time: ``BEGIN IMMEDIATE`` takes the  READ COMMITTED; ``FOR UPDATE`` on the rows that a
                    lock at once. A deferred BEGIN that writes    write decides by, always in order of their ids;
                    after reading fails with "database is         ``SKIP LOCKED`` where any free row will do
                    locked" without waiting
order of history    given by the one writer                       numbers are given at insert and seen at commit, so a
                                                                  reader that remembers the last number could miss a
                                                                  row for ever: an advisory lock is held from the
                                                                  first number to the commit. Both are sent together,
                                                                  so a client that stops holds nobody up (below)
who else commits    ``data_version``: it is of a connection, and  LISTEN on a connection of its own, NOTIFY with every
                    does not count what that commits itself       commit, with the store's name
a list of keys      ``json_each``                                 ``jsonb_array_elements``
==================  ============================================  ==================================================

Why numbers under a lock, and not "read below the oldest open transaction" (``pg_snapshot_xmin``): that bound is the
whole server's. One task that writes for three hours into another database of the same server would stop every live view
for three hours, and a forgotten prepared transaction for ever. The lock costs little, because Postgres itself lets only
one transaction with a NOTIFY commit at a time; what a lock could cost is a client that hangs while it holds it, so the
lock, the rows and the COMMIT leave in one pipeline, after every guard has been looked at.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote
from uuid import uuid4

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DisconnectionError, IntegrityError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from nbflow.errors import ConfigError, MissingExtra, StoreBusy, StoreError
from nbflow.store.sql.apply_statements import Write

BUSY_SECONDS = 10.0
"""How long a SQLite writer waits for its turn. Transactions take milliseconds; only a stuck process takes longer."""
LOOK_SECONDS = 0.005
"""How often a waiting reader of SQLite looks at ``data_version`` (3 µs a look)."""
IDLE_SECONDS = 1.0
"""A Postgres connection that rested longer is tried before use: the server may have been restarted."""
CHANNEL = "nbflow_events"
HISTORY_LOCK = "hashtextextended('nbflow:task_event', 0)"
SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
NO_ENTRY = ("does not exist", "authentication failed", "pg_hba.conf", "permission denied")
"""In what a Postgres says that answers, and keeps a client out: such an error has no code yet."""
MIGRATE = "Make or upgrade its tables with: nbflow db migrate"


class Dialect(Protocol):
    """Who implements it is below; :class:`nbflow.store.sql.database.Database` calls it."""

    keys: str
    """A table (a, b, c) of the JSON array of arrays bound as ``:keys``."""
    lock_rows: str
    """Ends a query of rows (of the table called ``r``) that the transaction will write."""
    skip_locked: str
    """The same, passing over rows that another transaction holds."""

    def engine(self) -> Engine: ...
    def single(self, engine: Engine) -> Engine:
        """The engine for single statements: each is a transaction of its own."""

    def create(self) -> None:
        """Make the place where the database lives, if that is ours to make."""

    def begin(self, connection: Connection, *, writing: bool) -> None: ...

    before_history: tuple[Write, ...]
    """What is sent before rows of the history."""
    nudge: tuple[Write, ...]
    """Wakes who waits for changes, once it is committed."""

    def send(self, connection: Connection, writes: Sequence[Write]) -> list[int]:
        """Do the writes in order; how many rows each hit. Raises SQLAlchemy's IntegrityError."""

    def commit(self, connection: Connection, writes: Sequence[Write]) -> None:
        """Do the last writes of a transaction and commit it, with no wait for this process between the two."""

    def lock_name(self, connection: Connection, name: str) -> None:
        """Keep others who take this name out until the transaction ends."""

    shared: bool
    """Several schedulers may work on it."""

    def translate(self, error: Exception) -> StoreError:
        """Our error for one of the driver's."""

    def others(self, engine: Engine) -> Any:
        """Differs once anybody but this store may have committed."""

    def wait(self, timeout: float) -> bool:
        """Wait for a commit by anybody; False: look whether there was one."""

    def close(self) -> None: ...


def dialect_of(url: str, synchronous: str) -> Dialect:
    """The dialect of a URL. Raises ConfigError for one that is not understood."""
    try:
        parsed = make_url(url)
    except Exception as error:
        raise ConfigError(f"The metastore's URL cannot be read: {error}") from None
    if parsed.get_backend_name() == "sqlite":
        return SqliteDialect(parsed, synchronous)
    return PostgresDialect(parsed.set(drivername="postgresql+psycopg"))


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
        self._watched: Any = None
        self._serial = 0

    def _connect(self) -> sqlite3.Connection:
        # mode=rw: connecting never makes a file, so a wrong path is an error and not an empty metastore.
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode=rw",
            uri=True,
            timeout=self.busy_seconds,
            isolation_level=None,  # we say BEGIN ourselves
            check_same_thread=False,  # the pool gives a connection to one thread at a time
            cached_statements=256,
        )
        connection.execute(f"PRAGMA synchronous={self.synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def engine(self) -> Engine:
        return create_engine(
            "sqlite://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=4,
            max_overflow=60,
            pool_use_lifo=True,  # a thread gets the same connection again, whose data_version it can compare
            hide_parameters=True,  # values may be somebody's data: they do not belong into error messages
        )

    def single(self, engine: Engine) -> Engine:
        return engine  # where nobody says BEGIN, SQLite begins and commits itself

    def create(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Readable by its owner alone; SQLite gives its -wal and -shm files the same mode. A file that is there must
            # not be opened here: closing it would drop the locks that other connections of this process hold on it, and
            # other processes would throw away a log that is in use.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreError(f"The metastore {self.path} cannot be made: {error.strerror}.") from error
        try:
            self._make_wal()
        except sqlite3.DatabaseError as error:
            raise self.translate(error) from error

    def _make_wal(self) -> None:
        connection = self._connect()
        until = time.monotonic() + self.busy_seconds
        try:
            while not self._is_wal(connection):
                if time.monotonic() > until:
                    raise sqlite3.OperationalError("database is locked")
                time.sleep(LOOK_SECONDS)
        finally:
            connection.close()

    @staticmethod
    def _is_wal(connection: sqlite3.Connection) -> bool:
        """Make the file's journal a write-ahead log. Another process that does so too keeps it locked, and for this
        lock SQLite does not wait."""
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
        """There is one writer."""

    def translate(self, error: Exception) -> StoreError:
        said = str(error)
        if "locked" in said or "busy" in said:
            return StoreBusy(
                f"{self.path} was locked for {self.busy_seconds:g} s; nothing was changed.",
                hint="Another process holds it: try again, or look for one that hangs.",
            )
        if "not a database" in said:
            return StoreError(
                f"{self.path} is not a database of SQLite; nothing was changed.",
                hint="Is it another program's file? Name another in [database] sql_alchemy_conn, or put a backup back.",
            )
        if "disk is full" in said:
            return StoreError(f"The disk of {self.path} is full; nothing was changed.", hint="Make room and try again.")
        if "no such table" in said or "no such column" in said:
            return StoreError(f"The tables of {self.path} are missing or old ({said}).", hint=MIGRATE)
        if "unable to open" in said and not self.path.exists():
            return StoreError(f"There is no metastore at {self.path}.", hint=MIGRATE)
        return StoreError(f"SQLite refused at {self.path}: {said}; nothing was changed.")

    def others(self, engine: Engine) -> Any:
        """Asked of one connection of the pool, the one that a single thread always gets; and past the pool, whose
        bookkeeping costs more than the answer. A commit by another thread's connection counts as somebody else's."""
        for _ in range(2):
            try:
                if self._watched is None:
                    pooled = engine.raw_connection()
                    self._watched, self._serial = pooled.driver_connection, self._serial + 1
                    pooled.close()
                return self._serial, self._watched.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.ProgrammingError:  # the pool has closed it: there will be another
                self._watched = None
            except sqlite3.Error as error:
                raise self.translate(error) from error
        raise StoreError(f"The connections to {self.path} are closed.")

    def wait(self, timeout: float) -> bool:
        time.sleep(min(LOOK_SECONDS, timeout))
        return False

    def close(self) -> None:
        """The engine has, and closes, all connections."""
        self._watched = None


class PostgresDialect:
    shared = True
    keys = (
        "(SELECT v ->> 0 AS a, v ->> 1 AS b, CAST(v ->> 2 AS integer) AS c"
        " FROM jsonb_array_elements(CAST(:keys AS jsonb)) AS v)"
    )
    lock_rows = " FOR UPDATE OF r"
    skip_locked = " FOR UPDATE OF r SKIP LOCKED"

    def __init__(self, url: URL) -> None:
        self.url = url
        self._name = uuid4().hex
        self._listener: Any = None
        self._others = self._heard = 0
        self._listens = False
        self._told = threading.Condition()
        """Guards what stands above. Of several threads that wait, one listens and tells the others what it heard: the
        second of two that took turns would begin to listen only when the first had heard what both wait for."""
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
            connect_args={"options": "-c timezone=UTC", "connect_timeout": 10, "application_name": "nbflow"},
        )

        @event.listens_for(engine, "checkin")
        def rest(connection: Any, record: Any) -> None:
            record.info["rests_since"] = time.monotonic()

        @event.listens_for(engine, "checkout")
        def try_it(connection: Any, record: Any, proxy: PoolProxiedConnection) -> None:
            since = record.info.get("rests_since")
            if since is not None and time.monotonic() - since > IDLE_SECONDS:
                try:
                    engine.dialect.do_ping(connection)
                except Exception as error:
                    raise DisconnectionError("the server was restarted") from error

        return engine

    def single(self, engine: Engine) -> Engine:
        return engine.execution_options(isolation_level="AUTOCOMMIT")

    def create(self) -> None:
        """The database is the administrator's to make."""

    def begin(self, connection: Connection, *, writing: bool) -> None:
        """The driver begins with the first statement; SQLAlchemy is told, since some statements pass it by."""
        connection.begin()

    def send(self, connection: Connection, writes: Sequence[Write]) -> list[int]:
        return self._pipelined(connection, writes, commit=False)

    def commit(self, connection: Connection, writes: Sequence[Write]) -> None:
        if writes:
            self._pipelined(connection, writes, commit=True)
        connection.commit()  # with nothing left to do, where the pipeline has committed

    def _pipelined(self, connection: Connection, writes: Sequence[Write], *, commit: bool) -> list[int]:
        import psycopg

        driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
        try:
            with driver.pipeline():  # one wait for all answers, not one each
                cursors = [_sent(driver.cursor(), write) for write in writes]
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

    def translate(self, error: Exception) -> StoreError:
        said = str(error).partition("\n")[0]
        place = self.url.render_as_string(hide_password=True)
        code = getattr(error, "sqlstate", None)
        if code in ("40001", "40P01", "55P03"):
            return StoreBusy(f"{place} refused for now: {said}; nothing was changed.", hint="Try again.")
        if code in ("42P01", "42703"):
            return StoreError(f"The tables of {place} are missing or old ({said}).", hint=MIGRATE)
        if code == "53100":
            return StoreError(f"The disk of {place} is full; nothing was changed.", hint="Make room and try again.")
        if "FATAL:" in said and any(word in said for word in NO_ENTRY):
            why = said.partition("FATAL:")[2].strip()
            return StoreError(f"{place} cannot be entered: {why}.", hint="Are its name and the login right?")
        if code is None or code.startswith(("08", "57P")):
            return StoreError(f"{place} does not answer: {said.rstrip('.')}.", hint="Is the server running?")
        return StoreError(f"{place} refused: {said}; nothing was changed.")

    def others(self, engine: Engine) -> Any:
        with self._told:
            if not self._listens:  # otherwise a thread that waits counts what comes
                self._hear(0)
            return self._others

    def wait(self, timeout: float) -> bool:
        with self._told:
            if self._listens:
                before = self._heard
                self._told.wait(timeout)
                return self._heard != before
            self._listens = True
        try:
            return self._hear(max(timeout, 0.001))
        finally:
            with self._told:
                self._listens = False
                self._told.notify_all()

    def _hear(self, timeout: float) -> bool:
        """Take in what was notified; with a timeout wait for one. Whether there was any."""
        import psycopg

        before = self._heard
        try:
            if self._listener is None:
                arguments, options = self.url.get_dialect()().create_connect_args(self.url)
                self._listener = psycopg.connect(*arguments, **options, autocommit=True)
                self._listener.execute(f"LISTEN {CHANNEL}")
                self._others += 1  # what came before we listened, nobody knows
            for note in self._listener.notifies(timeout=timeout, stop_after=1 if timeout else None):
                self._heard += 1
                self._others += note.payload != self._name
        except psycopg.OperationalError as error:
            self._listener = None
            self._heard += 1
            self._others += 1
            raise StoreError(f"{self.url.render_as_string()} does not answer: {error}") from error
        return self._heard != before

    def close(self) -> None:
        with self._told:
            self._told.wait_for(lambda: not self._listens)
            if self._listener is not None:
                self._listener.close()
                self._listener = None


def _sent(cursor: Any, write: Write) -> Any:
    """The cursor, to which the write was given."""
    if len(write.rows) == 1:
        cursor.execute(write.sql, write.rows[0])
    else:
        cursor.executemany(write.sql, write.rows)
    return cursor
