"""The door to the database: it is opened with its tables up to date, and told apart from one that cannot be used."""

import logging
import time
from contextlib import ExitStack, nullcontext
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.database.damage import check_whole, known_revision, shown, usable
from qwen_image_studio.database.postgresql import lock_for_migration, take_turn
from qwen_image_studio.database.tables import REVISION
from qwen_image_studio.database.transactions import Database, connect
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.processes import lock

__all__ = ["Database", "alembic_config", "check_database", "connect", "migrate", "open_database", "take_turn", "upsert"]

_log = logging.getLogger(__name__)

SERVE, MIGRATE, COMMAND = "serve", "migrate", "command"
"""Kinds of processes; those of the server are called as their commands."""
_MIGRATES = frozenset({SERVE, MIGRATE})
_WAITS = frozenset({"web", "worker", "light", "safety"})
WAIT_S = 60.0
"""Time for which these wait for PostgreSQL and for its tables, in seconds."""
_LOOK_S = 1.0


def open_database(settings: Settings, process: str = COMMAND) -> Database:
    """Open the settings' database for a kind of process, which does so once and passes it on.

    SQLite is migrated to the newest revision by whoever comes first; PostgreSQL by ``migrate`` and ``serve`` alone,
    for which the processes of a server wait a while. Raises CannotServe for a database that cannot be used: damaged,
    another program's, of another version of this one, or out of reach.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(settings, process)
    url = database.engine.url
    with ExitStack() as refused:
        refused.callback(database.close)
        with usable(url), nullcontext() if database.is_postgresql else lock(settings.data_dir / "migrate.lock"):
            if not database.is_postgresql or process in _MIGRATES:
                if _revision(database) != REVISION:
                    migrate(database)
            else:
                _wait_for_tables(database, WAIT_S if process in _WAITS else 0.0)
        refused.pop_all()
    return database


def check_database(database: Database) -> None:
    """Raise CannotServe where the database is not whole; one that would take long to read through is not checked."""
    with usable(database.engine.url), database.reading() as connection:
        check_whole(connection, database.engine.url)


def migrate(database: Database) -> None:
    """Bring the tables to the newest revision; of several processes that try at once, one does."""
    from alembic import command  # heavy, and needed only when the schema is old

    with database.writing() as connection:
        if database.is_postgresql:
            lock_for_migration(connection)
            if known_revision(connection, database.engine.url) == REVISION:
                return
        command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection | None = None) -> Any:
    """Return Alembic's configuration for the migrations beside this module."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "qwen_image_studio.database:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _revision(database: Database) -> str | None:
    with database.reading() as connection:
        return known_revision(connection, database.engine.url)


def _wait_for_tables(database: Database, wait_s: float) -> None:
    """Wait until the tables are of this version. Raises CannotServe, and StudioError where there is no database."""
    deadline = time.monotonic() + wait_s
    while (refusal := _refusal(database, is_last=time.monotonic() >= deadline)) is not None:
        if time.monotonic() >= deadline:
            raise CannotServe(refusal)
        _log.info("waiting: %s", refusal)
        time.sleep(_LOOK_S)


def _refusal(database: Database, *, is_last: bool) -> str | None:
    """Return why the tables cannot be used yet; None where they can. Raises StudioError at the last look alone."""
    try:
        revision = _revision(database)
    except StudioError as busy:
        if is_last:
            raise
        return busy.message
    if revision == REVISION:
        return None
    has = "has no tables yet" if revision is None else f"has revision {revision}, and this version needs {REVISION}"
    return f"The database {shown(database.engine.url)} {has}; run 'qwen-image-studio migrate'."


def upsert(connection: Connection, table: Table) -> Any:
    """Return an INSERT of the connection's dialect, which has ``on_conflict_do_update``."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
