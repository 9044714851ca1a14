"""Databases of tests: a SQLite file in each data folder, or a PostgreSQL schema for each (``TEST_DATABASE``).

What a test writes is the same for both: `Settings` with a data folder, `with_tables`, `looking`. Tables are copied from
a database that was migrated once, since migrations take longer than most tests.
"""

import functools
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, Pool, event, make_url, text

from qwen_image_studio.database.connection import connect, open_database
from qwen_image_studio.settings import Settings
from tests.support.servers import command
from tests.support.servers.postgresql import PostgreSQL, binaries

_TEMPLATE = "tables_of_a_test"
_END_USERS = """
SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_class c ON c.oid = relation
JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s
"""
"""Ends the connections that are in a transaction on a schema: of processes that a test has frozen, or left."""


def runs_on_postgresql() -> bool:
    """Whether the tests run on PostgreSQL instead of SQLite."""
    return os.environ.get("TEST_DATABASE", "") == "postgresql"


def sqlite_alone(why: str) -> pytest.MarkDecorator:
    """Mark a test of what only SQLite has; elsewhere it is skipped for this reason."""
    return pytest.mark.skipif(runs_on_postgresql(), reason=f"of SQLite alone: {why}")


def with_tables(settings: Settings) -> Settings:
    """Give the settings' data folder a database with all tables and no rows, which need not be migrated; the same
    settings.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    if make_url(settings.database).get_backend_name() == "sqlite":
        _file(settings).write_bytes(_migrated())
    return settings  # a schema has tables from the start


def without_tables(settings: Settings) -> Settings:
    """Give the settings' data folder a database that was never migrated; the same settings."""
    if _schemas is not None:
        _schemas.empty(settings.data_dir)
    return settings


@contextmanager
def looking(data_dir: Path) -> Iterator[Connection]:
    """Look into the database of a data folder, whose server may run."""
    with _engine(data_dir) as engine, engine.execution_options(reading=True).connect() as connection:
        yield connection


@contextmanager
def changing(data_dir: Path) -> Iterator[Connection]:
    """Change the database of a data folder behind its server's back."""
    with _engine(data_dir) as engine, engine.begin() as connection:
        yield connection


@contextmanager
def _engine(data_dir: Path) -> Iterator[Engine]:
    engine = connect(Settings(_env_file=None, data_dir=data_dir))
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def writing_nothing(data_dir: Path, table: str) -> Iterator[None]:
    """Keep everybody from writing a table of a data folder's database, and with SQLite any; reading goes on."""
    with changing(data_dir) as connection:  # with SQLite, its transaction is the one that writes
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))
        yield


def environment(data_dir: Path) -> dict[str, str]:
    """Return what a process has to be told of the database of its data folder; nothing with SQLite."""
    return {} if _schemas is None else {"STUDIO_DATABASE_URL": _schemas.url(data_dir)}


@functools.cache
def _migrated() -> bytes:
    """The file of a SQLite database that was migrated from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/studio.sqlite"
        settings = Settings(_env_file=None, data_dir=Path(folder), database_url=url)
        open_database(settings).close()  # the last connection's end writes everything into the one file
        return _file(settings).read_bytes()


def _file(settings: Settings) -> Path:
    return Path(make_url(settings.database).database or "")


# -- PostgreSQL ------------------------------------------------------------------------------------------------------


@dataclass
class _Schema:
    name: str
    folder: Path
    was_there: bool
    """Whether the folder has been there: once it is gone, so is what the schema is for."""
    connections: list[Any] = field(default_factory=list)
    """Those of this process."""


class Schemas:
    """The schemas of one server: each data folder has one, as it would have a file of SQLite."""

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server
        self._connection = server.connect()
        self._guard = threading.RLock()
        self._schemas: dict[Path, _Schema] = {}

    def url(self, folder: Path) -> str:
        """Return where the database of a data folder is; at first it has all tables, and no rows."""
        with self._guard:
            self._sweep()
            schema = self._schemas.get(folder.resolve())
            if schema is None:
                schema = _Schema(f"t_{token_hex(6)}", folder.resolve(), folder.exists())
                self._connection.execute(self._tables().replace(_TEMPLATE, schema.name).encode())
                self._schemas[schema.folder] = schema
            return self._url(schema.name)

    def _url(self, name: str) -> str:
        return f"{self._server.url}?options=-csearch_path%3D{name}"

    def empty(self, folder: Path) -> None:
        """Take all tables from the database of a data folder."""
        self.url(folder)
        name = self._schemas[folder.resolve()].name
        with self._guard:
            self._connection.execute(f"DROP SCHEMA {name} CASCADE; CREATE SCHEMA {name}".encode())

    @functools.cache  # noqa: B019 - there is one for a process
    def _tables(self) -> str:
        """The statements that make a schema with all tables, as PostgreSQL tells them of one that was migrated."""
        with self._guard:
            self._connection.execute(f"CREATE SCHEMA {_TEMPLATE}")
        with tempfile.TemporaryDirectory() as folder:
            open_database(Settings(data_dir=Path(folder), database_url=self._url(_TEMPLATE)), "migrate").close()
        dump = [command("pg_dump", *binaries()), "--no-owner", "--inserts", "--schema", _TEMPLATE]
        told = subprocess.run(
            [*dump, f"postgresql://{self._server.address}"], capture_output=True, text=True, check=True
        )
        # Without what is psql's own, and the time limits, which would be those of our connection from then on.
        return re.sub(r"^(--|\\|SET \w+_timeout).*\n", "", told.stdout, flags=re.MULTILINE)

    def opened(self, connection: Any) -> None:
        """Note a connection that this process has opened; one to a SQLite file needs nothing."""
        if not isinstance(connection, psycopg.Connection):
            return
        options = connection.info.get_parameters().get("options", "")
        with self._guard:
            for schema in self._schemas.values():
                if schema.name in options:
                    schema.connections.append(connection)

    def drop_below(self, folder: Path) -> None:
        """Drop the schemas of all data folders in a folder, and close what this process has opened there."""
        with self._guard:
            for schema in list(self._schemas.values()):
                if schema.folder.is_relative_to(folder.resolve()):
                    self._drop(schema)

    def _sweep(self) -> None:
        for schema in list(self._schemas.values()):
            is_there = schema.folder.exists()
            if schema.was_there and not is_there:
                self._drop(schema)
            schema.was_there = schema.was_there or is_there

    def _drop(self, schema: _Schema) -> None:
        del self._schemas[schema.folder]
        for connection in schema.connections:
            connection.close()
        self._connection.execute(_END_USERS, [schema.name])
        self._connection.execute(f"DROP SCHEMA {schema.name} CASCADE".encode())

    def close(self) -> None:
        """Close the connection that makes schemas."""
        for schema in self._schemas.values():
            for connection in schema.connections:
                connection.close()
        self._connection.close()


_schemas: Schemas | None = None


@contextmanager
def on_schemas(server: PostgreSQL) -> Iterator[Schemas]:
    """Have all settings that name no database use a schema of this server, until the end of the block."""
    global _schemas
    made, plain = Schemas(server), Settings.__init__

    def settings_with_schema(self: Settings, **values: Any) -> None:
        plain(self, **values)
        if "database_url" not in self.model_fields_set:
            self.__dict__["database_url"] = made.url(self.data_dir)

    def note(connection: Any, _record: object) -> None:
        made.opened(connection)

    event.listen(Pool, "connect", note)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Settings, "__init__", settings_with_schema)
        _schemas = made
        try:
            yield made
        finally:
            _schemas = None
            event.remove(Pool, "connect", note)
            made.close()
