"""What every job store promises of images that wait for reviewers, and of their jobs."""

import threading
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import select

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Lane, Operation, Review, Scope, State
from qwen_image_studio.database.tables import deliveries
from qwen_image_studio.jobs import OPEN_ROWS, Job, JobStore, Lease, NewJob, StoredImage, open_store
from qwen_image_studio.jobs.review import Verdict
from qwen_image_studio.settings import Settings
from tests.ports.test_job_store import LIMIT, claim, new, picture, submit
from tests.support.database import with_tables

ANN = Caller("ann", "ann-reviews", frozenset({Scope.REVIEW}))
YES, NO = Verdict(Review.APPROVED), Verdict(Review.REJECTED, ["blurred"])


def opened(folder: Path) -> JobStore:
    return open_store(with_tables(Settings(data_dir=folder, lease_s=10, max_attempts=2, queue_share=1)))


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    """A store with nothing in it."""
    return opened(tmp_path)


def held(lease: Lease, *numbers: int, of: int = 1) -> list[StoredImage]:
    """The pictures of a job, some of them held."""
    made = [picture(lease.job, number) for number in range(of)]
    return [replace(each, review=Review.HELD if each.number in numbers else Review.NONE) for each in made]


def in_review(store: JobStore, now: float | None = None) -> Job:
    """A job with one image, which is held."""
    job = submit(store, now=now)
    lease = claim(store, now=now)
    assert store.leases.finish(lease, held(lease, 0), ["w"], 0.5, now=now) is State.REVIEW
    return job


def image_of(job: Job, number: int = 0) -> str:
    return f"img_{job.id}_{number}"


def light(store: JobStore) -> Lease:
    lease = store.leases.claim("light", Lane.LIGHT)
    assert lease is not None
    return lease


def batch_in_review(store: JobStore, rows: int) -> tuple[Job, list[Job]]:
    """A batch all of whose rows were painted and are held; whoever claims it next finds only that."""
    asked = NewJob("ann", Operation.BATCH, Lane.LIGHT, "", "quality", {}, rows=rows, hold=True)
    parent = store.jobs.submit(asked, queue_limit=LIMIT)[0]
    made: list[Job] = []
    while len(made) < rows:
        lease = light(store)
        for row in range(len(made), min(rows, len(made) + OPEN_ROWS)):
            assert store.rows.add(lease, row, new())
        store.leases.release(lease)
        while (mine := store.leases.claim("w1", Lane.PAINT, ["small"])) is not None:
            assert mine.job.hold, "rows inherit it"
            store.leases.finish(mine, held(mine, 0), [])
            made.append(mine.job)
    return parent, made


def test_a_job_with_a_held_image_rests_without_a_lease_and_without_an_end(store: JobStore) -> None:
    job = in_review(store, now=10)
    resting = store.jobs.get(job.id)
    assert (resting.state, resting.leased_by, resting.finished_at, resting.progress.preview_key) == (
        State.REVIEW, None, None, None,
    )  # fmt: skip
    assert (resting.warnings, resting.compute_saved) == (("w",), 0.5)
    assert store.leases.claim("w1", Lane.PAINT, ["small"]) is None
    assert store.leases.abandon("w1") == 0
    assert store.leases.expire(now=1e6) == 0
    assert store.jobs.get(job.id) == resting
    assert store.jobs.counts() == (0, 0)


def test_jobs_in_review_take_no_room(store: JobStore) -> None:
    in_review(store)
    parent, _ = batch_in_review(store, 1)
    store.leases.release(light(store))
    assert store.jobs.get(parent.id).state is State.REVIEW
    store.jobs.submit(NewJob("ann", Operation.BATCH, Lane.LIGHT, "", "quality", {}, rows=1), queue_limit=1)
    store.jobs.submit(new(), queue_limit=1)


def test_the_last_verdict_ends_the_job(store: JobStore) -> None:
    job = submit(store)
    lease = claim(store)
    store.leases.finish(lease, held(lease, 0, 1, of=3), ["w"])
    store.reviews.decide(image_of(job, 0), NO, ANN, now=20)
    assert store.jobs.get(job.id).state is State.REVIEW
    store.reviews.decide(image_of(job, 1), NO, ANN, now=30)
    ended = store.jobs.get(job.id)
    assert (ended.state, ended.finished_at) == (State.SUCCEEDED, 30)
    assert ended.warnings == ("w", "A reviewer rejected 2 of the images: blurred.")


@pytest.mark.parametrize("verdict", [YES, NO])
def test_each_verdict_is_news(store: JobStore, verdict: Verdict) -> None:
    job = submit(store)
    lease = claim(store)
    store.leases.finish(lease, held(lease, 0, 1, of=2), [])
    seen = [store.jobs.tags([job.id])[job.id]]
    for number in (0, 1):
        store.reviews.decide(image_of(job, number), verdict, ANN)
        seen.append(store.jobs.tags([job.id])[job.id])
    assert len({tag.version for tag in seen}) == 3


def test_two_verdicts_at_once_end_the_job_once(store: JobStore) -> None:
    for _ in range(10):
        job = submit(store)
        lease = claim(store)
        store.leases.finish(lease, held(lease, 0, 1, of=2), [])
        start, versions = threading.Barrier(2), store.jobs.get(job.id).version

        def decide(number: int, job: Job = job, start: threading.Barrier = start) -> None:
            start.wait()
            store.reviews.decide(image_of(job, number), (YES, NO)[number], ANN)

        threads = [threading.Thread(target=decide, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.jobs.get(job.id).state is State.SUCCEEDED
        assert store.jobs.get(job.id).version == versions + 2


def test_a_callback_is_told_of_the_end_and_of_nothing_before(store: JobStore) -> None:
    job = submit(store, webhook_url="https://hooks.example/a")
    lease = claim(store)
    store.leases.finish(lease, held(lease, 0, 1, of=2), [])
    store.reviews.decide(image_of(job, 0), NO, ANN)

    def told() -> list[tuple[str, str]]:
        with store.database.reading() as connection:
            return [(row.job_id, row.event) for row in connection.execute(select(deliveries))]

    assert told() == []
    store.reviews.decide(image_of(job, 1), NO, ANN)
    store.reviews.decide(image_of(job, 1), NO, ANN)
    assert told() == [(job.id, "job.failed")]


def test_another_owners_image_takes_an_operator(store: JobStore) -> None:
    job = in_review(store)
    for stranger in (Caller("bob", "b", frozenset({Scope.REVIEW})), Caller("ann", "a", frozenset({Scope.EDIT}))):
        with pytest.raises(StudioError) as caught:
            store.reviews.decide(image_of(job), YES, stranger)
        assert caught.value.code == "not_found"
    decided, _ = store.reviews.decide(image_of(job), YES, Caller("ops", "o", frozenset({Scope.OPERATE})))
    assert (decided.review, decided.review_by) == (Review.APPROVED, "o")


# -- cancels and deletions -----------------------------------------------------------------------------------------


def test_a_cancel_takes_what_was_held_with_it(store: JobStore) -> None:
    job = submit(store)
    lease = claim(store)
    store.leases.finish(lease, held(lease, 0, of=2), [])
    assert store.jobs.cancel(job.id, "ann").state is State.CANCELLED
    assert [image.id for image in store.images.of_jobs([job.id])[job.id]] == [image_of(job, 1)]
    with pytest.raises(StudioError) as caught:
        store.reviews.decide(image_of(job), YES, ANN)
    assert caught.value.code == "not_found"
    gone = store.forgetting.forget_job(job.id, "ann")
    assert gone == ["k0.png", "k0.webp", "k1.png", "k1.webp"], "the files of both go with the job"


def test_an_image_stays_until_its_job_has_been_decided(store: JobStore) -> None:
    job = in_review(store)
    with pytest.raises(StudioError) as caught:
        store.forgetting.forget_image(image_of(job), "ann")
    assert caught.value.code == "image_in_use"
    with pytest.raises(StudioError) as caught:
        store.forgetting.forget_job(job.id, "ann")
    assert caught.value.code == "job_not_ended"
    assert store.forgetting.ended_jobs(1e12) == []


# -- batches -------------------------------------------------------------------------------------------------------


def test_reviewers_keep_no_row_of_a_batch_from_being_painted(store: JobStore) -> None:
    parent, rows = batch_in_review(store, 2 * OPEN_ROWS + 5)
    counts = store.rows.counts([parent.id])[parent.id]
    assert (counts.review, counts.held, counts.running, counts.ended) == (len(rows), len(rows), 0, 0)


def test_a_batch_rests_until_its_last_row_was_decided_on(store: JobStore) -> None:
    parent, rows = batch_in_review(store, 3)
    lease = light(store)
    store.leases.release(lease)
    resting = store.jobs.get(parent.id)
    assert (resting.state, resting.leased_by, resting.attempt) == (State.REVIEW, None, lease.job.attempt - 1)
    assert store.jobs.tags([parent.id])[parent.id].state is State.REVIEW
    assert [job.id for job in store.jobs.page("ann", limit=9, after=None, state=State.REVIEW)[0]] == [parent.id]
    for row in rows[:2]:
        store.reviews.decide(image_of(row), NO, ANN)
        assert store.leases.claim("light", Lane.LIGHT) is None
    store.reviews.decide(image_of(rows[2]), YES, ANN)
    assert store.jobs.tags([parent.id])[parent.id].state is State.RUNNING
    lease = light(store)
    assert lease.job.id == parent.id
    counts = store.rows.counts([parent.id])[parent.id]
    assert (counts.succeeded, counts.failed, counts.review, counts.held) == (1, 2, 0, 0)
    assert store.leases.finish(lease, [], []) is State.SUCCEEDED


def test_a_verdict_that_falls_while_the_batch_is_claimed_is_not_lost(store: JobStore) -> None:
    parent, [row] = batch_in_review(store, 1)
    lease = light(store)
    store.reviews.decide(image_of(row), YES, ANN)
    store.leases.release(lease)
    assert store.jobs.get(parent.id).state is State.QUEUED
    assert light(store).job.id == parent.id


def test_a_cancelled_row_lets_its_batch_go_on(store: JobStore) -> None:
    parent, [row] = batch_in_review(store, 1)
    store.leases.release(light(store))
    store.jobs.cancel(row.id, "ann")
    assert light(store).job.id == parent.id


def test_a_batch_in_review_is_cancelled_with_its_rows(store: JobStore) -> None:
    parent, rows = batch_in_review(store, 2)
    store.leases.release(light(store))
    assert store.jobs.cancel(parent.id, "ann").state is State.CANCELLED
    assert {store.jobs.get(row.id).state for row in rows} == {State.CANCELLED}
    assert store.images.of_jobs([row.id for row in rows]) == {}
    assert store.leases.claim("light", Lane.LIGHT) is None


# -- any order -----------------------------------------------------------------------------------------------------

REFUSALS = {"not_found", "not_held", "already_reviewed", "job_finished", "job_not_ended"}
STEPS = st.lists(
    st.tuples(st.sampled_from(["yes", "no", "cancel", "delete"]), st.integers(0, 2)), min_size=1, max_size=8
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(pattern=st.lists(st.booleans(), min_size=1, max_size=3), steps=STEPS)
def test_whatever_the_order_a_job_ends_with_its_last_verdict_and_then_stays(
    tmp_path_factory: pytest.TempPathFactory, pattern: list[bool], steps: list[tuple[str, int]]
) -> None:
    with opened(tmp_path_factory.mktemp("any")) as store:
        job = submit(store)
        lease = claim(store)
        numbers = [number for number, is_held in enumerate(pattern) if is_held]
        store.leases.finish(lease, held(lease, *numbers, of=len(pattern)), [])
        waiting, rejected, cancelled = set(numbers), set[int](), False
        for what, number in steps:
            before = store.jobs.get(job.id)
            try:
                match what:
                    case "cancel":
                        store.jobs.cancel(job.id, "ann")
                        cancelled, waiting = True, set()
                    case "delete":
                        store.forgetting.forget_job(job.id, "ann")
                        assert before.state.final
                        return
                    case verdict:
                        store.reviews.decide(image_of(job, number), YES if verdict == "yes" else NO, ANN)
                        waiting.discard(number)
                        rejected |= {number} if verdict == "no" else set()
            except StudioError as error:
                if error.code not in REFUSALS or store.jobs.get(job.id) != before:
                    raise
            state = store.jobs.get(job.id).state
            if cancelled:
                assert state is State.CANCELLED
            elif waiting:
                assert state is State.REVIEW
            else:
                assert state is (State.FAILED if len(rejected) == len(pattern) else State.SUCCEEDED)
