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

from qwen_image_studio.contract.caller import person_of
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


def test_whose_turn_it_is_stays_known_over_an_upgrade_and_back(connection: Connection) -> None:
    configuration = alembic_config(connection)
    command.upgrade(configuration, "0007")
    old = {("paint", "dify", "", 5.0), ("paint", "dify", "*", 7.0), ("paint", "dify", "job_b", 6.0)}
    for turn in old:
        connection.exec_driver_sql("INSERT INTO turns VALUES (?, ?, ?, ?)", turn)
    connection.exec_driver_sql("INSERT INTO paintings VALUES ('dify', 'job_b', 'small', 6.0)")
    long = "人" * 80
    for job_id, user in (("job_b", "ann"), ("job_c", long), ("job_d", None)):
        row: dict[str, Any] = {"id": job_id, "user": user, "rows": 2}
        row |= dict.fromkeys(("owner", "operation", "model", "tier", "state", "plan", "inputs", "warnings"), "[]")
        row |= dict.fromkeys(("fingerprint", "phase"), "") | dict.fromkeys(("attempt", "lease_token"), 0)
        row |= {"cancel_requested": False, "step": 0, "steps": 0, "created_at": 1.0, "version": 1}
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" * len(row))
        connection.exec_driver_sql(f"INSERT INTO jobs ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
    command.upgrade(configuration, "head")
    persons = connection.exec_driver_sql("SELECT id, person FROM jobs").all()
    assert {tuple(row) for row in persons} == {("job_b", "ann"), ("job_c", person_of(long)), ("job_d", "")}
    turns = {tuple(row) for row in connection.exec_driver_sql("SELECT person, party, served_at FROM turns")}
    assert turns == {("", "", 5.0), ("", "*", 7.0), ("ann", "job_b", 6.0), ("", "**", 7.0), ("", "***", 7.0)}
    paintings = connection.exec_driver_sql("SELECT owner, person, party, variant FROM paintings").all()
    assert [tuple(row) for row in paintings] == [("dify", "ann", "job_b", "small")]
    connection.exec_driver_sql("INSERT INTO turns VALUES ('paint', 'dify', 'bob', '', 9.0)")
    command.downgrade(configuration, "0007")
    back = {tuple(row) for row in connection.exec_driver_sql("SELECT lane, owner, party, served_at FROM turns")}
    assert back == {*old, ("paint", "dify", "", 9.0)} - {("paint", "dify", "", 5.0)}
    assert connection.exec_driver_sql("SELECT painted_at FROM paintings").scalar() == 6.0
