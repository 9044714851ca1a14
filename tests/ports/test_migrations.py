"""The migrations lead to the tables that the code reads and writes, whatever version a data folder comes from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from qwen_image_studio.database.connection import alembic_config, connect
from qwen_image_studio.database.tables import metadata


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """A connection to an empty database."""
    engine = connect(f"sqlite:///{tmp_path}/fresh.sqlite")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def differences(connection: Connection) -> list[Any]:
    """What a migration would still have to change; defaults are left out, which only rows of old need."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


def test_the_migrations_make_the_tables_of_the_code(connection: Connection) -> None:
    command.upgrade(alembic_config(connection), "head")
    assert differences(connection) == [], "tables.py was changed: add a migration, as CONTRIBUTING.md tells"


REVISIONS = [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()]


@pytest.mark.parametrize("revision", sorted(REVISIONS))
def test_every_migration_can_be_taken_back_and_made_again(connection: Connection, revision: str) -> None:
    configuration = alembic_config(connection)
    command.upgrade(configuration, revision)
    command.downgrade(configuration, "-1")
    command.upgrade(configuration, "head")
    assert differences(connection) == []
