"""PostgreSQL as the job store: what passes is told as busy, a restart costs nothing, and one process migrates."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select, text

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.contract.words import Lane, Operation, State
from qwen_image_studio.database import connection
from qwen_image_studio.database.connection import Database, connect, open_database
from qwen_image_studio.database.copying import set_sequences
from qwen_image_studio.database.tables import REVISION, jobs
from qwen_image_studio.jobs import NewJob, Progress, open_store
from qwen_image_studio.settings import Settings
from tests.support.database import with_tables, without_tables
from tests.support.servers.postgresql import PostgreSQL
from tests.support.waiting import until

LIMIT = 10


def new() -> NewJob:
    return NewJob("ann", Operation.GENERATE, Lane.PAINT, "small", "quality", {}, variant="small/bf16")


@pytest.fixture
def settings(tmp_path: Path, postgresql: PostgreSQL) -> Settings:
    return with_tables(Settings(_env_file=None, data_dir=tmp_path, lease_s=10))


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = open_database(settings, "web")
    yield database
    database.close()


def execute(database: Database, statement: str) -> None:
    with database.writing() as transaction:
        for each in statement.split("; ") if not statement.startswith("DO") else [statement]:
            transaction.exec_driver_sql(each)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SET LOCAL statement_timeout = 10; SELECT pg_sleep(5)", "database_busy"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "database_busy"),
        ("DO $$BEGIN RAISE SQLSTATE '25P03'; END$$", "database_busy"),
        ("SET TRANSACTION READ ONLY; CREATE TABLE t (i int)", "database_busy"),
        ("DO $$BEGIN RAISE SQLSTATE '40P01'; END$$", "database_busy"),
        ("DO $$BEGIN RAISE SQLSTATE '08006'; END$$", "database_busy"),
        ("DO $$BEGIN RAISE SQLSTATE '53100'; END$$", "storage_failed"),
        ("DO $$BEGIN RAISE SQLSTATE 'XX001'; END$$", "storage_failed"),
        ("SET LOCAL ROLE pg_monitor; SELECT rolname FROM pg_authid", "storage_failed"),
        ("SET LOCAL search_path = nowhere; CREATE TABLE t (i int)", "storage_failed"),
        ("SELECT 'long'::varchar(1)::int", "invalid_value"),
    ],
)
def test_errors_are_told_apart_by_their_codes(database: Database, statement: str, code: str) -> None:
    with pytest.raises(StudioError) as caught:
        execute(database, statement)
    assert caught.value.code == code
    with database.reading() as transaction:
        assert transaction.scalar(text("SELECT 1")) == 1


def test_all_connections_in_use_are_told_as_busy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_image_studio.database.postgresql.POOL_TIMEOUT_S", 0.1)
    database = open_database(settings)
    with database.reading(), database.reading(), pytest.raises(StudioError) as caught, database.reading():
        pass
    assert caught.value.code == "database_busy"
    database.close()


def test_a_session_has_its_limits(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_image_studio.database.postgresql.LOCK_MS", 7_000)  # tests are more patient
    with closing(open_database(settings, "web")) as database, database.writing() as transaction:
        shown = {
            name: transaction.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout", "jit")
        }
        name = transaction.exec_driver_sql("SHOW application_name").scalar()
    expected = {"idle_in_transaction_session_timeout": "5s", "statement_timeout": "30s", "lock_timeout": "7s"}
    assert shown == {**expected, "jit": "off"}
    assert str(name).startswith("studio web ")


def test_the_databases_clock_counts_and_no_hosts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """J: a host whose clock is ahead takes no job from its worker."""
    with open_store(settings) as store, open_store(settings) as other:
        store.jobs.submit(new(), queue_limit=LIMIT)
        lease = store.leases.claim("w", Lane.PAINT, ["small"])
        assert lease is not None
        ahead = time.time() + 3600
        monkeypatch.setattr("time.time", lambda: ahead)
        assert other.leases.expire() == 0
        assert abs(other.database.now() - store.database.now()) < 60
        with other.database.reading() as transaction:
            told = transaction.scalar(text("SELECT extract(epoch FROM clock_timestamp())::float8"))
        assert abs(other.database.now() - float(told or 0)) < 60


def test_one_of_several_processes_migrates(tmp_path: Path, postgresql: PostgreSQL) -> None:
    settings = without_tables(Settings(_env_file=None, data_dir=tmp_path))

    def prepare(number: int) -> None:
        own = settings.model_copy(update={"data_dir": tmp_path / str(number)})
        open_database(own, "migrate").close()

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(prepare, range(3)))
    open_database(settings).close()


def test_others_refuse_an_older_database_or_wait_for_it(
    tmp_path: Path, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = without_tables(Settings(_env_file=None, data_dir=tmp_path))
    with pytest.raises(CannotServe, match="has no tables yet; run 'qwen-image-studio migrate'"):
        open_database(settings)
    monkeypatch.setattr(connection, "WAIT_S", 0.1)
    with pytest.raises(CannotServe, match="run 'qwen-image-studio migrate'"):
        open_database(settings, "worker")
    monkeypatch.setattr(connection, "WAIT_S", 60.0)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(open_database, settings, "web")
        open_database(settings, "serve").close()
        waiting.result().close()
    engine = connect(settings)
    with engine.begin() as transaction:
        transaction.exec_driver_sql("UPDATE alembic_version SET version_num = '0008'")
    engine.dispose()
    with pytest.raises(CannotServe, match=f"has revision 0008, and this version needs {REVISION}; run"):
        open_database(settings)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://ann:secret@127.0.0.1:1/studio",
        "postgresql://127.0.0.1:1/x?password=secret",
        "postgresql://ann:secret@127.0.0.1:port/studio",
        "postgresql://ann:secret@127.0.0.1:1/studio?bogus=secret",
        "postgresql+psycopg2://ann:secret@127.0.0.1:1/studio",
    ],
)
def test_a_server_that_is_not_there_is_told_in_a_line_without_the_password(
    tmp_path: Path, url: str, postgresql: PostgreSQL
) -> None:
    with pytest.raises(CannotServe) as caught:
        open_database(Settings(_env_file=None, data_dir=tmp_path, database_url=url))
    told = str(caught.value)
    assert "STUDIO_DATABASE_URL" in told
    assert "secret" not in told
    assert "\n" not in told


def test_numbers_go_on_after_rows_that_brought_their_own(settings: Settings) -> None:
    with open_store(settings) as store:
        first, _how = store.jobs.submit(new(), queue_limit=LIMIT)
        with store.database.writing() as transaction:
            row = dict(transaction.execute(select(jobs)).mappings().one())
            transaction.execute(jobs.insert().values({**row, "id": "job_copied", "seq": row["seq"] + 1}))
            set_sequences(transaction)
        second, _how = store.jobs.submit(new(), queue_limit=LIMIT)
        assert store.jobs.page("ann", limit=3, after=None, state=None)[0][0].id == second.id
        assert first.id != second.id


def test_a_worker_paints_on_while_the_server_is_restarted(
    tmp_path: Path, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease may run out meanwhile: those who look at it first after that leave it for a moment."""
    monkeypatch.setattr("qwen_image_studio.database.transactions.SETTLING_S", 3600.0)
    with PostgreSQL() as server:
        settings = Settings(_env_file=None, data_dir=tmp_path, database_url=server.url, lease_s=10)
        with open_store(settings, "serve") as store, open_store(settings) as other:
            store.jobs.submit(new(), queue_limit=LIMIT)
            lease = store.leases.claim("w", Lane.PAINT, ["small"], now=store.database.now() - settings.lease_s)
            assert lease is not None
            server.kill()
            for each in (store, other):
                with pytest.raises(StudioError) as caught:
                    each.jobs.counts()
                assert caught.value.code == "database_busy"
            server.start()
            until(lambda: _answers(other.database))
            assert (other.leases.overdue(), other.leases.expire()) == ([], 0)
            assert other.leases.claim("w2", Lane.PAINT, ["small"]) is None
            assert store.leases.renew(lease, Progress("denoising", 1, 2)) is False
            assert store.leases.finish(lease, [], []) is State.SUCCEEDED


def _answers(database: Database) -> bool:
    try:
        with database.reading():
            return True
    except StudioError:
        return False
