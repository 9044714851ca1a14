"""``doctor`` beside PostgreSQL, a bell and a bucket: what is there, and each fault in a line with its remedy."""

import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.contract.words import WorkerState
from qwen_image_studio.database.connection import Database, open_database
from qwen_image_studio.host.doctor import examine
from qwen_image_studio.jobs import WorkerReport
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from tests.support.servers.objects import ObjectStore
from tests.support.servers.postgresql import PostgreSQL
from tests.support.servers.redis import Redis

PASSWORD = "right-words"
HEAD = "Database, bell, images and workers"


def told(settings: Settings) -> str:
    """What it says of database, bell, images and workers, in one text."""
    lines, _ = examine(settings)
    start = lines.index(HEAD) if HEAD in lines else lines.index("Place")
    return "\n".join(lines[start:])


def settings_of(folder: Path, **more: object) -> Settings:
    return Settings(_env_file=None, data_dir=folder, models=("miniature",), devices=("cpu",), **more)  # type: ignore[arg-type]


def test_all_is_told(tmp_path: Path, redis: Redis, moto: ObjectStore) -> None:
    settings = settings_of(tmp_path, broker_url=redis.url, **moto.settings)
    with open_store(settings) as store:
        now = store.database.now()
        for name, state, ago in (("cpu", WorkerState.READY, -600), ("old", WorkerState.READY, 100_000)):
            store.workers.note(WorkerReport(f"far/{name}", name, state, "small", "", now - ago, host="far"))
    said = told(settings)
    url = make_url(settings.database)
    for expected in (
        "ok    PostgreSQL 1", f"postgresql://studio@127.0.0.1:{url.port}/postgres, revision 0",
        "connections are in use",
        "ok    the bell is heard: redis://127.0.0.1", "ok    images in s3://studio: a file was put, read and deleted",
        "links lead to it (redirect)", "ok    worker far/cpu of far: ready, small loaded, reported 0 s ago",
        "note  worker far/old of far: ready, small loaded, reported 100", "it is gone",
        f"links are signed with the key in {tmp_path}/secret_key: other hosts need it, as STUDIO_SECRET_KEY",
    ):  # fmt: skip
        assert expected in said, (expected, said)
    assert "clock" not in said
    assert "BAD" not in said


def test_what_a_bell_a_store_and_a_clock_lack_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_image_studio.host.stores.HEARD_S", 1.0)
    monkeypatch.setattr(Database, "now", lambda _: time.time() - 7)
    nobody = {
        "storage_access_key": "a",
        "storage_secret_key": "b",
        "storage_url": "s3://studio?endpoint=http://127.0.0.1:1",
    }
    said = told(settings_of(tmp_path, broker_url="redis://:secret@127.0.0.1:1/0", **nobody))
    assert "BAD   the bell is not heard: redis://127.0.0.1; until it is, every process looks" in said
    assert "see that the broker runs and that STUDIO_BROKER_URL is right" in said
    assert "BAD   images cannot be kept in s3://studio: The image store failed (it cannot be reached)" in said
    assert re.search(r"note  the database's clock is \d+\.\d s behind this host's", said)
    assert "secret" not in said.replace("secret_key", "")


@pytest.fixture(scope="module")
def guarded(postgresql: PostgreSQL) -> Iterator[PostgreSQL]:
    """A PostgreSQL with a role that needs a password."""
    with PostgreSQL() as server:
        hba = server.cluster / "pg_hba.conf"
        hba.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
        with closing(server.connect()) as connection:
            connection.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'".encode())
            connection.execute("SELECT pg_reload_conf()")
        yield server


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("guarded:wrong@127.0.0.1:PORT/postgres", r"password authentication failed.*correct the user and the password"),
        ("guarded@127.0.0.1:PORT/postgres", r"no password supplied.*PGPASSWORD"),
        (f"guarded:{PASSWORD}@127.0.0.1:PORT/nowhere", r'database "nowhere" does not exist.*createdb'),
        ("nobody@127.0.0.1:PORT/postgres", r'role "nobody" does not exist.*createuser'),
        ("studio:words@127.0.0.1:1/postgres", r"Connection refused.*see that it runs and can be reached"),
        ("studio:words@nowhere.invalid/postgres", r"nowhere.invalid.*see that it runs and can be reached"),
        (f"guarded:{PASSWORD}@127.0.0.1:PORT/postgres", r"has no tables yet; run 'qwen-image-studio migrate'"),
    ],
)
def test_a_wrong_address_is_one_line(guarded: PostgreSQL, tmp_path: Path, url: str, said: str) -> None:
    settings = settings_of(tmp_path, database_url=f"postgresql://{url.replace('PORT', str(guarded.port))}")
    with pytest.raises(CannotServe, match=said) as caught:
        open_database(settings)
    line = str(caught.value)
    assert "\n" not in line
    for password in ("wrong@", "words", PASSWORD):
        assert password not in line
    reported = told(settings)
    assert "BAD   the database that STUDIO_DATABASE_URL names cannot be used" in reported
    assert line in reported
