"""The migrations lead to the tables that the code reads and writes, whatever version a data folder comes from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from qwen_image_studio.contract.caller import person_of
from qwen_image_studio.database.connection import alembic_config, connect
from qwen_image_studio.database.tables import metadata
from qwen_image_studio.settings import Settings
from tests.support.database import without_tables


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """A connection to an empty database."""
    engine = connect(without_tables(Settings(_env_file=None, data_dir=tmp_path)))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def differences(connection: Connection) -> list[Any]:
    """What a migration would still have to change; defaults are left out, which only rows of old need."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


def test_the_migrations_make_the_tables_of_the_code(connection: Connection) -> None:
    command.upgrade(alembic_config(connection), "head")
    assert differences(connection) == [], "the tables were changed: add a migration, as CONTRIBUTING.md tells"


REVISIONS = [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()]


@pytest.mark.parametrize("revision", sorted(REVISIONS))
def test_every_migration_can_be_taken_back_and_made_again(connection: Connection, revision: str) -> None:
    configuration = alembic_config(connection)
    command.upgrade(configuration, revision)
    command.downgrade(configuration, "-1")
    command.upgrade(configuration, "head")
    assert differences(connection) == []


def add_job(connection: Connection, **columns: Any) -> None:
    """Insert a job as a version of before had it, with these columns."""
    row: dict[str, Any] = dict.fromkeys(("owner", "operation", "model", "tier", "state"), "[]")
    row |= dict.fromkeys(("plan", "inputs", "warnings"), "[]")
    row |= dict.fromkeys(("fingerprint", "phase"), "") | dict.fromkeys(("attempt", "lease_token"), 0)
    row |= {"cancel_requested": False, "step": 0, "steps": 0, "created_at": 1.0, "version": 1} | columns
    names, marks = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO jobs ({names}) VALUES ({marks})"), row)  # noqa: S608 - our own


def test_jobs_of_before_are_shared_with_nobody(connection: Connection) -> None:
    """Each has one submit, which was not taken back; equal ones of before go on side by side."""
    configuration = alembic_config(connection)
    command.upgrade(configuration, "0008")
    for number in (1, 2):
        add_job(connection, id=f"job_{number}", state="queued", owner="ann", fingerprint="f")
    command.upgrade(configuration, "head")
    kept = connection.exec_driver_sql("SELECT share_key, shared, withdrawn, version FROM jobs").all()
    assert [tuple(row) for row in kept] == [(None, 1, 0, 1)] * 2


def test_whose_turn_it_is_stays_known_over_an_upgrade_and_back(connection: Connection) -> None:
    configuration = alembic_config(connection)
    command.upgrade(configuration, "0007")
    old = {("paint", "dify", "", 5.0), ("paint", "dify", "*", 7.0), ("paint", "dify", "job_b", 6.0)}
    for turn in old:
        row = dict(zip(("lane", "owner", "party", "served_at"), turn, strict=True))
        connection.execute(text("INSERT INTO turns VALUES (:lane, :owner, :party, :served_at)"), row)
    connection.exec_driver_sql("INSERT INTO paintings VALUES ('dify', 'job_b', 'small', 6.0)")
    long = "人" * 80
    for job_id, user in (("job_b", "ann"), ("job_c", long), ("job_d", None)):
        add_job(connection, id=job_id, user=user, rows=2)
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
