"""Submits that share a job: which do, what a repeated one is answered, and what it takes to cancel the job."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import IntegrityError

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Review, Scope, State
from qwen_image_studio.database.tables import shares, usage
from qwen_image_studio.jobs import Job, JobStore, Progress, Submitted, open_store
from qwen_image_studio.jobs.review import Verdict
from qwen_image_studio.settings import Settings
from tests.ports.test_job_store import LIMIT, claim, new, picture
from tests.support.database import with_tables

NOW = 1_700_000_000.0
EQUAL: dict[str, Any] = {"share_key": "s" * 64, "seed": 5}
BOTH = pytest.mark.parametrize("keys", [("a", "b"), (None, None), ("a", None), (None, "b")])


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    """A store with nothing in it."""
    return open_store(with_tables(Settings(data_dir=tmp_path, lease_s=10)))


def submitted(store: JobStore, key: str | None = None, owner: str = "ann", **changes: Any) -> tuple[Job, Submitted]:
    """A job that equal submits share."""
    asked = new(owner, idempotency_key=key, **{**EQUAL, **changes})
    return store.jobs.submit(asked, queue_limit=LIMIT)


def two(store: JobStore, keys: Sequence[str | None] = (None, None)) -> Job:
    """A job that two submits with these keys share."""
    jobs = [submitted(store, key)[0] for key in keys]
    assert jobs[0].id == jobs[1].id
    return jobs[1]


def number_of(store: JobStore, table: Any) -> int:
    """How many rows a table has."""
    with store.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


# -- one job -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_keys", [False, True])
@pytest.mark.parametrize("processes", [1, 2])
def test_twelve_equal_submits_at_once_make_one_job(tmp_path: Path, processes: int, with_keys: bool) -> None:
    settings = with_tables(Settings(data_dir=tmp_path))
    stores, start = [open_store(settings) for _ in range(processes)], threading.Barrier(12)

    def send(number: int) -> tuple[Job, Submitted]:
        start.wait()
        return submitted(stores[number % processes], f"k{number}" if with_keys else None)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(send, range(12)))
    assert len({job.id for job, _ in answers}) == 1
    assert sorted(job.shared for job, _ in answers) == list(range(1, 13))
    assert sorted(how.name for _, how in answers) == ["ADDED", *["SHARED"] * 11]
    assert (stores[0].jobs.counts(), number_of(stores[0], shares)) == ((1, 0), 11)


def test_what_is_not_to_be_shared_is_not(store: JobStore) -> None:
    assert len({submitted(store, share_key=None)[0].id for _ in range(12)}) == 12


def test_submits_that_differ_and_other_owners_have_jobs_of_their_own(store: JobStore) -> None:
    answers = [submitted(store), submitted(store, share_key="t" * 64), submitted(store, owner="bob")]
    assert {how for _, how in answers} == {Submitted.ADDED}
    assert len({job.id for job, _ in answers}) == 3


def test_a_share_takes_no_place_is_charged_once_and_counts_as_a_request_alone(store: JobStore) -> None:
    limits = KeyLimits(key=Limits(jobs_at_once=1, images_per_day=1))
    asked = new(key="shop", **EQUAL)
    for _ in range(3):
        store.jobs.check_room(1, asked, limits)
        store.jobs.submit(asked, queue_limit=1, limits=limits)
    assert number_of(store, usage) == 1
    other = replace(asked, share_key="t" * 64)
    with pytest.raises(StudioError) as full:
        store.jobs.check_room(1, other)
    assert full.value.code == "queue_full"
    with pytest.raises(StudioError) as limited:
        store.jobs.submit(other, queue_limit=LIMIT, limits=limits)
    assert limited.value.code == "rate_limited"


@pytest.mark.parametrize("of_person", [False, True])
def test_submits_of_a_minute_are_counted_with_those_that_share_a_job(store: JobStore, of_person: bool) -> None:
    limit = Limits(requests_per_minute=3)
    limits = KeyLimits(person=limit) if of_person else KeyLimits(key=limit)
    asked = new(key="shop", user="bob", **EQUAL)
    for moment in (0, 10, 20):
        store.jobs.submit(asked, queue_limit=LIMIT, limits=limits, now=NOW + moment)
    for act in (store.jobs.check_room, store.jobs.submit):
        with pytest.raises(StudioError) as limited:
            act(new=asked, queue_limit=LIMIT, limits=limits, now=NOW + 30)
        assert (limited.value.code, limited.value.retry_after) == ("rate_limited", 30)
    others = replace(asked, user="eve") if of_person else replace(asked, key="other")
    store.jobs.submit(others, queue_limit=LIMIT, limits=limits, now=NOW + 30)
    assert store.jobs.submit(asked, queue_limit=LIMIT, limits=limits, now=NOW + 61)[1] is Submitted.SHARED


def test_a_running_job_and_one_in_review_are_shared_and_one_that_has_ended_is_not(store: JobStore) -> None:
    first = submitted(store)[0]
    lease = claim(store)
    assert submitted(store)[0].id == first.id
    store.leases.finish(lease, [replace(picture(first), review=Review.HELD)], [])
    resting = submitted(store)[0]
    assert (resting.id, resting.state, resting.shared) == (first.id, State.REVIEW, 3)
    store.reviews.decide(f"img_{first.id}_0", Verdict(Review.APPROVED), Caller("ann", "k", frozenset({Scope.REVIEW})))
    after, how = submitted(store)
    assert (store.jobs.get(first.id).state, how) == (State.SUCCEEDED, Submitted.ADDED)
    assert after.id != first.id


def test_a_job_that_is_tried_again_is_still_shared(store: JobStore) -> None:
    first = submitted(store)[0]
    store.leases.release(claim(store))
    assert submitted(store)[0].id == first.id


def test_what_is_to_be_cancelled_is_shared_no_more(store: JobStore) -> None:
    first = submitted(store)[0]
    lease = claim(store)
    store.jobs.cancel(first.id, "ann")
    second, how = submitted(store)
    assert (how, second.id != first.id) == (Submitted.ADDED, True)
    assert submitted(store)[0].id == second.id
    store.leases.stop(lease)
    assert [store.jobs.get(each.id).state for each in (first, second)] == [State.CANCELLED, State.QUEUED]


def test_all_who_share_a_job_hear_of_one_more(store: JobStore) -> None:
    first = submitted(store)[0]
    before = store.jobs.tags([first.id])[first.id]
    submitted(store)
    assert store.jobs.tags([first.id])[first.id] != before


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_submit_that_meets_another_at_the_index_looks_again(store: JobStore, times: int) -> None:
    """As on PostgreSQL, where neither sees the other before its commit; and the other may have ended by then."""
    met: list[str] = []

    def meet(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO jobs") and len(met) < times:
            met.append(statement)
            raise IntegrityError(statement, None, Exception("UNIQUE constraint failed"))

    event.listen(store.database.engine, "before_cursor_execute", meet)
    job, how = submitted(store)
    assert (len(met), how, number_of(store, shares)) == (times, Submitted.ADDED, 0)
    assert (job.share_key is None) == (times == 3), "where equal ones come and go, it is a job of its own"


def test_a_share_is_kept_whole_or_not_at_all(store: JobStore) -> None:
    """As where the process is killed between its row and the count of the job."""
    first = submitted(store)[0]

    def die(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE jobs"):
            raise SystemExit

    event.listen(store.database.engine, "before_cursor_execute", die)
    with pytest.raises(SystemExit):
        submitted(store, "b")
    event.remove(store.database.engine, "before_cursor_execute", die)
    assert (store.jobs.get(first.id), number_of(store, shares)) == (first, 0)
    again, how = submitted(store, "b")
    assert (again.shared, how) == (2, Submitted.SHARED)


# -- sent again ----------------------------------------------------------------------------------------------------


def test_a_share_sent_again_is_the_same_share_also_after_the_end(store: JobStore) -> None:
    job = two(store, ("a", "b"))
    assert submitted(store, "b") == (job, Submitted.REPLAYED)
    store.leases.finish(claim(store), [picture(job)], [])
    again, how = submitted(store, "b")
    assert (again.id, again.state, how) == (job.id, State.SUCCEEDED, Submitted.REPLAYED)
    replay = store.jobs.replay("ann", "b", "f")
    assert replay is not None
    assert (replay.id, number_of(store, shares)) == (job.id, 1)
    assert store.jobs.replay("bob", "b", "f") is None


def test_the_key_of_a_share_is_refused_for_another_request(store: JobStore) -> None:
    two(store, ("a", "b"))
    with pytest.raises(StudioError) as caught:
        submitted(store, "b", fingerprint="g")
    assert caught.value.code == "idempotency_key_reused"


def test_a_client_that_sends_its_share_again_without_a_key_finds_the_job(store: JobStore) -> None:
    job = submitted(store, fingerprint="f")[0]
    submitted(store, fingerprint="g")  # said in other words, and equal all the same
    assert [getattr(store.jobs.unfinished("ann", sent), "id", None) for sent in "fgh"] == [job.id, job.id, None]
    assert store.jobs.unfinished("ann", "f", "another key") is None
    store.leases.finish(claim(store), [], [])
    assert store.jobs.unfinished("ann", "g") is None


# -- cancel --------------------------------------------------------------------------------------------------------


@BOTH
def test_a_job_is_cancelled_with_the_last_of_its_submits(store: JobStore, keys: tuple[str | None, str | None]) -> None:
    job = two(store, keys)
    left = store.jobs.cancel(job.id, "ann", key=keys[0])
    assert (left.state, left.shared) == (State.QUEUED, 1)
    ended = store.jobs.cancel(job.id, "ann", key=keys[1])
    assert (ended.state, ended.shared) == (State.CANCELLED, 0)


@BOTH
def test_a_running_job_goes_on_for_those_who_are_left(store: JobStore, keys: tuple[str | None, str | None]) -> None:
    job = two(store, keys)
    lease = claim(store)
    store.jobs.cancel(job.id, "ann", key=keys[0])
    assert not store.leases.renew(lease, Progress("denoising", 1, 2))
    store.jobs.cancel(job.id, "ann", key=keys[1])
    assert store.leases.renew(lease, Progress("denoising", 1, 2))


@pytest.mark.parametrize("own", ["a", "b"])
def test_a_cancel_that_is_repeated_takes_no_other_submit_back(store: JobStore, own: str) -> None:
    job = two(store, ("a", "b"))
    once = store.jobs.cancel(job.id, "ann", key=own)
    assert store.jobs.cancel(job.id, "ann", key=own) == once
    store.leases.finish(claim(store), [picture(job)], [])
    after = store.jobs.cancel(job.id, "ann", key=own)
    assert (after.state, after.shared) == (State.SUCCEEDED, 1)
    other = {"a": "b", "b": "a"}[own]
    with pytest.raises(StudioError) as caught:
        store.jobs.cancel(job.id, "ann", key=other)
    assert caught.value.code == "job_finished"


@pytest.mark.parametrize(
    ("keys", "taken"), [(("a", None, None), 1), (("a", "b", None), 2), (("a", "b", "c"), 0), ((None, "b", None), 0)]
)
def test_a_cancel_that_names_no_submit_takes_back_one_that_cannot_be_named(
    store: JobStore, keys: tuple[str | None, ...], taken: int
) -> None:
    """The oldest without a key; where all have one, the oldest."""
    job, *_ = [submitted(store, key)[0] for key in keys]
    assert store.jobs.cancel(job.id, "ann", key="of nobody").shared == 3, "a key that none has takes nothing back"
    after = store.jobs.cancel(job.id, "ann")
    with store.database.reading() as connection:
        rows = connection.execute(select(shares.c.withdrawn_at).order_by(shares.c.seq)).all()
    assert [after.withdrawn, *(row.withdrawn_at is not None for row in rows)] == [n == taken for n in range(3)]
    assert (after.state, after.shared) == (State.QUEUED, 2)


def test_whoever_comes_after_a_cancel_shares_what_is_left(store: JobStore) -> None:
    job = two(store, ("a", "b"))
    store.jobs.cancel(job.id, "ann", key="a")
    assert submitted(store, "c")[0].shared == 2
    store.jobs.cancel(job.id, "ann", key="b")
    assert store.jobs.get(job.id).state is State.QUEUED
    assert store.jobs.cancel(job.id, "ann", key="c").state is State.CANCELLED


def test_operators_cancel_for_all(store: JobStore) -> None:
    job = two(store, ("a", "b"))
    assert store.queue.cancel([State.QUEUED]) == 1
    assert store.jobs.get(job.id).state is State.CANCELLED
    assert store.jobs.cancel(job.id, "ann", key="a").state is State.CANCELLED


def test_two_who_cancel_at_once_cancel_the_job(store: JobStore) -> None:
    for _ in range(10):
        job, start = two(store), threading.Barrier(2)

        def cancel(job: Job = job, start: threading.Barrier = start) -> None:
            start.wait()
            store.jobs.cancel(job.id, "ann")

        threads = [threading.Thread(target=cancel) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.jobs.get(job.id).state is State.CANCELLED


# -- deletion ------------------------------------------------------------------------------------------------------


def test_a_job_is_deleted_together_with_its_shares(store: JobStore) -> None:
    job = two(store, ("a", "b"))
    store.leases.finish(claim(store), [], [])
    store.forgetting.forget_job(job.id, "ann")
    assert number_of(store, shares) == 0
    assert submitted(store, "b")[1] is Submitted.ADDED
