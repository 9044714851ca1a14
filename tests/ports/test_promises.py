"""Promises: a job's picture goes to whoever sends its request again, to one of them, and once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qwen_image_studio.jobs import Job, JobStore, open_store
from qwen_image_studio.jobs.promises import KEPT_S, MOST
from qwen_image_studio.settings import Settings
from tests.ports.test_job_store import submit
from tests.ports.test_query_plans import planned, reads_of_the_past
from tests.support.database import sqlite_alone


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    """A job store."""
    with open_store(Settings(data_dir=tmp_path)) as store:
        yield store


def promised(store: JobStore, number: int = 1, owner: str = "ann", fingerprint: str = "same") -> list[Job]:
    """Jobs of equal requests, each promised to whoever sends it again."""
    made = [submit(store, owner, fingerprint=fingerprint) for _ in range(number)]
    for job in made:
        store.promises.make(job)
    return made


def test_a_promise_is_kept_once(store: JobStore) -> None:
    [job] = promised(store)
    taken = store.promises.take("ann", None, "same")
    assert taken is not None
    assert taken.id == job.id
    assert store.promises.take("ann", None, "same") is None
    store.promises.make(taken)
    assert store.promises.take("ann", None, "same") is not None


def test_it_is_kept_for_an_hour_after_the_end_of_its_job(store: JobStore) -> None:
    [job] = promised(store)
    store.jobs.cancel(job.id, "ann", now=1000.0)
    assert store.promises.take("ann", None, "same", now=1000.0 + KEPT_S + 1) is None
    assert store.promises.take("ann", None, "same", now=1000.0 + KEPT_S - 1) is not None


def test_it_holds_for_this_owner_this_api_key_and_this_request_alone(store: JobStore) -> None:
    promised(store)
    assert store.promises.take("bob", None, "same") is None
    assert store.promises.take("ann", None, "other") is None
    assert store.promises.take("ann", "another key", "same") is None


def test_a_job_with_a_key_of_its_callers_keeps_it(store: JobStore) -> None:
    job = submit(store, "ann", fingerprint="same", idempotency_key="mine")
    store.promises.make(job)
    assert store.jobs.get(job.id).idempotency_key == "mine"
    assert store.promises.take("ann", None, "same") is None


def test_the_oldest_goes_first_and_there_are_not_more_than_ten(store: JobStore) -> None:
    made = promised(store, MOST + 2)
    taken = [store.promises.take("ann", None, "same") for _ in range(MOST + 1)]
    assert [job.id for job in taken if job is not None] == [job.id for job in made[:MOST]]
    assert taken[-1] is None


def test_of_many_who_ask_at_once_each_gets_another_job(store: JobStore) -> None:
    made = promised(store, MOST)
    with ThreadPoolExecutor(2 * MOST) as pool:
        taken = list(pool.map(lambda _: store.promises.take("ann", None, "same"), range(2 * MOST)))
    assert sorted(job.id for job in taken if job is not None) == sorted(job.id for job in made)


@sqlite_alone("its query plans")
def test_promises_are_found_by_the_index_of_keys(store: JobStore) -> None:
    with planned(store) as steps:
        promised(store)
        store.promises.take("ann", None, "same")
    assert any("jobs_by_key (owner=? AND idempotency_key=?)" in step for step in steps)
    assert not any("jobs_by_owner" in step for step in steps)
    assert reads_of_the_past(steps) == []
