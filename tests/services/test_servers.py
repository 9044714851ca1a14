"""The servers that tests start: they end when they are told to, and come back with what they keep."""

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from tests.support.database import Schemas, with_tables
from tests.support.servers import Server, command
from tests.support.servers.fixtures import need_servers
from tests.support.servers.postgresql import PostgreSQL
from tests.support.servers.rabbitmq import RabbitMQ
from tests.support.servers.redis import Redis
from tests.support.waiting import until, until_ended


@pytest.mark.parametrize("kind", [PostgreSQL, Redis, RabbitMQ])
def test_a_server_stands_up_again_whatever_was_done_to_it(kind: type[Server]) -> None:
    need_servers(kind.name)
    with kind() as server:
        for end in (server.kill, server.stop):
            family = server.family()
            end()
            until_ended(family)
            assert not server.answers()
            server.start()
        server.freeze()
        assert server.is_running
        assert not server.answers()
        server.thaw()
        until(server.answers)
        family = server.family()
    until_ended(family)
    assert not server.folder.exists()


def test_what_postgresql_has_committed_survives_its_death() -> None:
    need_servers("PostgreSQL")
    with PostgreSQL() as server:
        with server.connect() as connection:
            connection.execute("CREATE TABLE kept (x INTEGER)")
            connection.execute("INSERT INTO kept VALUES (7)")
            server.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        server.start()
        with server.connect() as connection:
            assert connection.execute("SELECT x FROM kept").fetchall() == [(7,)]


def test_each_data_folder_has_a_database_of_its_own_that_goes_with_it(tmp_path: Path, schemas: Schemas | None) -> None:
    need_servers("PostgreSQL")
    assert schemas is not None
    ann, bob = (with_tables(Settings(_env_file=None, data_dir=tmp_path / name)) for name in ("ann", "bob"))
    for settings in (ann, bob):  # the same name in both, which one database would refuse
        with open_store(settings) as store:
            assert KeyStore(store.database).add("key")
    assert {settings.database for settings in (ann, bob)} == {schemas.url(each.data_dir) for each in (ann, bob)}
    before = schemas.url(bob.data_dir)
    shutil.rmtree(bob.data_dir)
    assert schemas.url(ann.data_dir) == ann.database
    assert schemas.url(bob.data_dir) != before


def test_what_is_missing_is_skipped_by_people_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-server is not here"):
        command("no-such-server")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-server is not here"):
        command("no-such-server")
    assert os.access(command("sh"), os.X_OK)
