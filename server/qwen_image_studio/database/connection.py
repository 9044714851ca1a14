"""The database connection: SQLite tuned to lose nothing, migrations, and errors of the database for callers."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnection

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Prompts
from qwen_image_studio.database.damage import check_whole, known_revision, usable
from qwen_image_studio.database.tables import REVISION
from qwen_image_studio.database.writers import TurnNeverCame, Writers
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.processes import lock

BUSY_TIMEOUT_MS = 3000
"""Longest wait for a writer of another process at SQLite's lock, in milliseconds."""
_LOOK_S = 0.002
"""Time between two looks whether that lock is free, in seconds; only one thread of a process looks."""
_BEGIN_WRITING = "BEGIN IMMEDIATE"
LONGEST_TURN_S = 10.0
"""Longest wait for the writers of the same process, in seconds; SQLite's own wait comes after it."""


class Database:
    """One database of a process, with its pool of connections."""

    def __init__(self, url: str, *, erases: bool = False) -> None:
        """With `erases`, SQLite overwrites what is deleted, so that it cannot be read from the file any more."""
        self.engine = connect(url, erases=erases)
        self._reader = self.engine.execution_options(reading=True)
        self.writers = Writers() if self.engine.dialect.name == "sqlite" else None
        """The queue of this process's writers; other databases have one of their own."""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads; in SQLite it never waits for a writer."""
        with database_errors(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes, and commit it at the end of the block; threads take turns."""
        turn = self.writers.turn(LONGEST_TURN_S) if self.writers is not None else nullcontext()
        with database_errors(), turn, self.engine.begin() as connection:
            yield connection

    def erase(self) -> None:
        """Empty SQLite's log of changes, in which what was deleted stands until it is written over; it is left for the
        next time where somebody reads.
        """
        if self.writers is None:
            return
        with database_errors(), self.writers.turn(LONGEST_TURN_S), self.engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close all connections that are not in use."""
        self.engine.dispose()


def open_database(settings: Settings) -> Database:
    """Open the settings' database, migrated to the newest revision. A process opens it once, and passes it on.

    Raises CannotServe for a database that cannot be used: damaged, another program's, of a newer version of this one.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    erases = settings.prompts is not Prompts.KEPT
    database, url = Database(settings.database, erases=erases), make_url(settings.database)
    with lock(settings.data_dir / "migrate.lock"), usable(url):
        with database.reading() as connection:
            revision = known_revision(connection, url)
        if revision != REVISION:
            migrate(database)
    return database


def check_database(database: Database) -> None:
    """Raise CannotServe where the database is not whole; one that would take long to read through is not checked."""
    with usable(database.engine.url), database.reading() as connection:
        check_whole(connection, database.engine.url)


def connect(url: str, *, erases: bool = False) -> Engine:
    """Return an engine for a SQLAlchemy URL; it opens no connection yet. `erases` is as in `Database`."""
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, hide_parameters=erases, pool_size=16, max_overflow=64)
    engine = create_engine(url, hide_parameters=erases, pool_size=16, max_overflow=64)
    event.listen(engine, "connect", _tune_sqlite)
    if erases:
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA secure_delete = ON"))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _tune_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see below
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a 202 survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("reading", False):
        connection.exec_driver_sql("BEGIN")
        return
    # SQLite refuses a deferred transaction at once when it starts to write after another one has written;
    # a transaction that begins as a writer waits its turn. SQLite itself would look again after up to 100 ms, while the
    # others of this process queue behind it.
    raw: Any = connection.connection.dbapi_connection
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        while not _has_begun(raw):
            if time.monotonic() > deadline:
                connection.exec_driver_sql(_BEGIN_WRITING)  # raises what SQLAlchemy makes of it
                return
            time.sleep(_LOOK_S)
    finally:
        raw.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def _has_begun(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute(_BEGIN_WRITING)
    except sqlite3.OperationalError:
        return False
    return True


def upsert(connection: Connection, table: Table) -> Any:
    """Return an INSERT of the connection's dialect, which has ``on_conflict_do_update``."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise StudioError ``database_busy`` or ``storage_failed`` where the database cannot be used."""
    try:
        yield
    except (DataError, IntegrityError, ProgrammingError):  # what was written is at fault, not the database
        raise
    except (NoConnection, TurnNeverCame) as error:  # all connections are in use, or the writers before are slow
        raise _busy() from error
    except DBAPIError as error:
        if "locked" in str(error.orig) or "busy" in str(error.orig):
            raise _busy() from error
        message = f"The job store cannot be used ({error.orig}); nothing was changed. Is its disk full or read-only?"
        raise StudioError("storage_failed", message, retry_after=30) from error


def _busy() -> StudioError:
    message = "The job store is busy; nothing was changed. Send the same request again."
    return StudioError("database_busy", message, retry_after=2)


def migrate(database: Database) -> None:
    """Bring the tables to the newest revision."""
    from alembic import command  # heavy, and needed only when the schema is old

    with database.writing() as connection:
        command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection | None = None) -> Any:
    """Return Alembic's configuration for the migrations beside this module."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "qwen_image_studio.database:migrations")
    config.set_main_option("path_separator", "os")
    return config
