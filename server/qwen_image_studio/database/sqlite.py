"""SQLite, tuned to lose nothing."""

import sqlite3
import time
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

BUSY_TIMEOUT_MS = 3000
"""Longest wait for a writer of another process at SQLite's lock, in milliseconds."""
_LOOK_S = 0.002
"""Time between two looks whether that lock is free, in seconds; only one thread of a process looks."""
_BEGIN_WRITING = "BEGIN IMMEDIATE"


def connect_sqlite(url: URL, *, erases: bool = False, **options: Any) -> Engine:
    """Return an engine for a SQLite database, with more `options` of SQLAlchemy's. With `erases`, what is deleted is
    overwritten, so that it cannot be read from the file any more.
    """
    engine = create_engine(url, pool_size=16, max_overflow=64, **options)
    event.listen(engine, "connect", _tune)
    if erases:
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA secure_delete = ON"))
    event.listen(engine, "begin", _begin)
    return engine


def empty_log(connection: Connection) -> None:
    """Empty the log of changes, in which what was deleted stands until it is written over; it is left for the next
    time where somebody reads.
    """
    raw: Any = connection.connection.dbapi_connection
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _tune(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see below
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a 202 survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def _begin(connection: Connection) -> None:
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
