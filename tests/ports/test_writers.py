"""Many threads that write one SQLite database: they queue in the process, and none is told that the store is busy."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.database import sqlite, transactions
from qwen_image_studio.database.connection import Database, open_database
from qwen_image_studio.database.tables import api_keys
from qwen_image_studio.settings import Settings
from tests.support.database import sqlite_alone, with_tables
from tests.support.waiting import until

WRITERS = 32

pytestmark = sqlite_alone("PostgreSQL has many writers at once")


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database for which SQLite waits much shorter than all writers together take."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 100)
    return open_database(with_tables(Settings(_env_file=None, data_dir=tmp_path)))


def test_thirty_two_callers_at_once_are_all_served(database: Database) -> None:
    """B8: SQLite alone lets writers race for its lock, and turns those away that lose for as long as its time-out."""

    def write(number: int) -> None:
        with database.writing() as transaction:
            row = {"name": f"key-{number}", "owner": "ann", "hash": str(number), "created_at": 0.0}
            transaction.execute(api_keys.insert().values(row))
            time.sleep(0.02)

    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(write, range(WRITERS)))
    with database.reading() as transaction:
        assert transaction.scalar(select(func.count()).select_from(api_keys)) == WRITERS


def test_writers_are_served_in_the_order_in_which_they_came(database: Database) -> None:
    served: list[int] = []

    def write(number: int) -> None:
        with database.writing():
            served.append(number)

    with database.writing():
        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for number, thread in enumerate(threads):
            thread.start()
            until(partial(_have_come, database, number + 1))
    for thread in threads:
        thread.join()
    assert served == list(range(8))
    assert _have_come(database, 0)


def test_who_waits_too_long_is_told_and_holds_up_nobody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "LONGEST_TURN_S", 0.05)
    with database.writing(), ThreadPoolExecutor(2) as threads:
        for waiting in [threads.submit(_write, database) for _ in range(2)]:
            error = waiting.exception()
            assert isinstance(error, StudioError)
            assert (error.code, error.retry_after) == ("database_busy", 2)
    _write(database)


def test_a_writer_that_fails_lets_the_next_one_on(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.writing():
        raise ZeroDivisionError
    with pytest.raises(StudioError, match="no such table"), database.writing() as transaction:
        transaction.execute(text("DELETE FROM absent"))
    _write(database)


def test_another_process_is_waited_for_as_long_as_sqlite_says(database: Database, tmp_path: Path) -> None:
    """The queue is one process's own: a second one, here a second object, meets it at SQLite's lock."""
    other = open_database(Settings(_env_file=None, data_dir=tmp_path))
    with other.writing(), pytest.raises(StudioError) as caught:
        _write(database)
    assert caught.value.code == "database_busy"
    _write(database)


def _have_come(database: Database, number: int) -> bool:
    assert database.writers is not None
    return database.writers.waiting == number


def _write(database: Database) -> None:
    with database.writing() as transaction:
        transaction.execute(api_keys.delete())
