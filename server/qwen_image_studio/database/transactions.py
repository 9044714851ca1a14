"""The transactions of a database, by its one clock, and errors of the database for callers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.contract.words import Prompts
from qwen_image_studio.database.clock import Clock
from qwen_image_studio.database.errors import as_json, database_errors, is_out_of_reach
from qwen_image_studio.database.postgresql import connect_postgresql, measure
from qwen_image_studio.database.sqlite import connect_sqlite, empty_log
from qwen_image_studio.database.writers import Writers
from qwen_image_studio.settings import Settings

LONGEST_TURN_S = 10.0
"""Longest wait for the writers of the same process, in seconds; SQLite's own wait comes after it."""
SETTLING_S = 5.0
"""Time after the return of a database server in which those that hold leases renew them, in seconds."""
_POSTGRESQL = "postgresql"


class Database:
    """One database of a process, with its pool of connections."""

    def __init__(self, settings: Settings, process: str = "command") -> None:
        """`process` is the kind of the process, by which its pool is sized (`postgresql.POOLS`)."""
        self.engine = connect(settings, process)
        self.is_postgresql = self.engine.dialect.name == _POSTGRESQL
        reading: dict[str, Any] = {"reading": True}
        if self.is_postgresql:  # as SQLite: all that a transaction reads is of one moment
            reading |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = self.engine.execution_options(**reading)
        self._is_away, self._back_at = False, time.monotonic() - SETTLING_S
        self._clock = Clock() if self.is_postgresql else None
        self.writers = None if self.is_postgresql else Writers()
        """The queue of this process's writers; other databases have one of their own."""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads, all of one moment; in SQLite it never waits for a writer."""
        with self._errors(), self._reader.connect() as connection:
            self._measure(connection)
            yield connection
            connection.commit()  # psycopg forgets all its prepared statements at a rollback

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes, and commit it at the end of the block; threads take turns."""
        turn = self.writers.turn(LONGEST_TURN_S) if self.writers is not None else nullcontext()
        with self._errors(), turn, self.engine.begin() as connection:
            self._measure(connection)
            yield connection

    def now(self, given: float | None = None) -> float:
        """Return the time in Unix seconds by the one clock of all processes of this database: this machine's with
        SQLite, the server's with PostgreSQL. A `given` time is returned as it is.

        Raises StudioError ``database_busy`` where the server has never been asked and cannot be.
        """
        if given is not None:
            return given
        if self._clock is None:
            return time.time()
        if self._clock.is_unknown:
            with self.reading():  # which measures it
                pass
        return self._clock.now()

    @property
    def is_settling(self) -> bool:
        """Return whether the server was away until a moment ago, so that nobody has been able to renew his lease."""
        return time.monotonic() - self._back_at < SETTLING_S

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise what `database_errors` raises, and note when the server is away and when it is back."""
        try:
            with database_errors():
                yield
        except StudioError as error:
            self._is_away |= self.is_postgresql and is_out_of_reach(error.__cause__)
            raise
        if self._is_away:
            self._is_away, self._back_at = False, time.monotonic()

    def _measure(self, connection: Connection) -> None:
        if self._clock is not None and self._clock.is_due:
            measure(self._clock, connection)

    def erase(self) -> None:
        """Erase from SQLite's files what was deleted, as far as nobody reads."""
        if self.writers is None:
            return
        with database_errors(), self.writers.turn(LONGEST_TURN_S), self.engine.connect() as connection:
            empty_log(connection)

    def close(self) -> None:
        """Close all connections that are not in use."""
        self.engine.dispose()


def connect(settings: Settings, process: str = "command") -> Engine:
    """Return an engine for the settings' database; it opens no connection yet. Raises CannotServe for a
    STUDIO_DATABASE_URL that nothing can be done with.
    """
    url, erases = _url_of(settings), settings.prompts is not Prompts.KEPT
    options = {"hide_parameters": erases, "json_serializer": as_json}
    if url.get_backend_name() == _POSTGRESQL:
        return connect_postgresql(url, settings, process, **options)
    return connect_sqlite(url, erases=erases, **options)


def _url_of(settings: Settings) -> URL:
    try:
        url = make_url(settings.database)
        if f"{url.get_backend_name()}+{url.get_driver_name()}" in {"sqlite+pysqlite", f"{_POSTGRESQL}+psycopg"}:
            return url
    except (ArgumentError, NoSuchModuleError, ValueError):  # ValueError: a port that is no number
        pass
    raise CannotServe(
        "STUDIO_DATABASE_URL takes postgresql://USER:PASSWORD@HOST/DATABASE, or nothing for SQLite in STUDIO_DATA_DIR."
    )
