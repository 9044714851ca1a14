"""Many threads at one job store: no job is lost, painted twice or counted wrongly, and nobody waits for each other."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qwen_image_studio.contract.errors import LeaseLost, StudioError
from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Lane, Operation, State
from qwen_image_studio.jobs import JobStore, Lease, NewJob, Progress, Submitted, open_store
from qwen_image_studio.jobs.states import Lookup, Measured
from qwen_image_studio.settings import Settings
from tests.ports.test_job_store import new, picture
from tests.support.database import with_tables
from tests.support.waiting import until

WORKERS = 8
JOBS = 40
LIMIT = 1000
ROUNDS = int(os.environ.get("TEST_ROUNDS", "6"))
"""Rounds of what has to meet at one moment."""


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Sequence[JobStore]]:
    """Two job stores over one database, as two hosts have them."""
    settings = with_tables(Settings(_env_file=None, data_dir=tmp_path, lease_s=3600))  # however slow the machine is
    with open_store(settings, "web") as one, open_store(settings, "web") as other:
        yield one, other


def at_once(number: int, do: Callable[[int], Any]) -> Sequence[Any]:
    """What threads return that begin at the same moment."""
    begin = threading.Barrier(number)

    def run(each: int) -> Any:
        begin.wait()
        return do(each)

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(run, range(number)))


def outcome(do: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """How a call ends that the store may refuse: the error's code, or nothing."""
    try:
        do(*arguments, **named)
    except StudioError as error:
        return error.code
    except LeaseLost:
        return "lease lost"
    return ""


def nth_outcome(calls: Sequence[Callable[[], Any]], number: int) -> str:
    return outcome(calls[number])


def claimed(store: JobStore, worker: str) -> Lease | None:
    return store.leases.claim(worker, Lane.PAINT, ["small", "large"])


def test_no_claim_comes_back_empty_while_jobs_wait(stores: Sequence[JobStore]) -> None:
    for number in range(JOBS):
        stores[0].jobs.submit(new(f"owner{number % 5}"), queue_limit=LIMIT)
    empty = Counter[str]()

    def work(number: int) -> Sequence[str]:
        store, got = stores[number % 2], []
        while True:
            if (lease := claimed(store, f"w{number}")) is not None:
                got.append(lease.job.id)
            elif store.jobs.counts()[0]:
                empty[f"w{number}"] += 1
            else:
                return got

    got = [job_id for each in at_once(WORKERS, work) for job_id in each]
    assert (len(got), len(set(got)), empty) == (JOBS, JOBS, Counter())


def test_a_cancelled_batch_leaves_no_row_and_nobody_waits_for_each_other(stores: Sequence[JobStore]) -> None:
    for number in range(ROUNDS):
        cancel_among_rows(stores[0], stores[1], number % 6)


def cancel_among_rows(web: JobStore, workers: JobStore, added: int) -> None:
    """Cancel a batch once so many rows were added beside the painting of others."""
    batch = NewJob("ann", Operation.BATCH, Lane.LIGHT, "", "quality", {}, rows=12)
    batch_id = web.jobs.submit(batch, queue_limit=LIMIT)[0].id
    lease = workers.leases.claim("light", Lane.LIGHT)
    assert lease is not None
    for row in range(6):
        workers.rows.add(lease, row, new("ann"))
    is_over = threading.Event()

    def add() -> set[str]:
        return {outcome(workers.rows.add, lease, row, new("ann")) for row in range(6, 12)}

    def paint(name: str) -> set[str]:
        found = set()
        while not is_over.is_set():
            found.add(outcome(one_painting, workers, name))
        return found

    with ThreadPoolExecutor(4) as threads:
        acting = [threads.submit(add), *(threads.submit(paint, f"w{each}") for each in range(3))]
        until(lambda: web.rows.counts([batch_id])[batch_id].missing <= 6 - added)
        web.jobs.cancel(batch_id, "ann")
        outcomes = acting[0].result() | {outcome(workers.leases.stop, lease)}
        until(lambda: not any(row.state is State.RUNNING for row in web.rows.of_batch(batch_id)))
        is_over.set()
        outcomes = outcomes.union(*(each.result() for each in acting))
    assert outcomes <= {"", "lease lost"}
    assert {row.state for row in web.rows.of_batch(batch_id)} <= {State.SUCCEEDED, State.CANCELLED}
    assert web.jobs.get(batch_id).state is State.CANCELLED


def one_painting(store: JobStore, worker: str) -> None:
    if (lease := claimed(store, worker)) is not None:
        store.leases.renew(lease, Progress("denoising", 1, 2))
        store.leases.finish(lease, [picture(lease.job)], [])


def test_a_cancel_that_was_accepted_is_one(stores: Sequence[JobStore]) -> None:
    for _ in range(ROUNDS):
        job, _how = stores[0].jobs.submit(new(), queue_limit=LIMIT)
        lease = claimed(stores[1], "w")
        assert lease is not None
        calls = (partial(stores[0].jobs.cancel, job.id, "ann"), partial(stores[1].leases.finish, lease, [], []))
        cancelled, finished = at_once(2, partial(nth_outcome, calls))
        state = stores[0].jobs.get(job.id).state
        assert (cancelled, finished, state) in {("", "", State.CANCELLED), ("job_finished", "", State.SUCCEEDED)}


def test_ends_of_many_workers_are_all_counted(stores: Sequence[JobStore]) -> None:
    """Every end writes the same tallies; those of a whole queue that is cancelled at once, too."""
    for number in range(JOBS):
        stores[0].jobs.submit(new(model=["small", "large"][number % 2]), queue_limit=LIMIT)

    def end(number: int) -> Counter[str]:
        store, outcomes = stores[number % 2], Counter[str]()
        while (lease := claimed(store, f"w{number}")) is not None:
            measured = Measured(1.0, 2.0, {"denoising": 100.0 * number, "storing": 4.0, "loading": 3.0})
            outcomes[outcome(store.leases.finish, lease, [], [], measured=measured)] += 1
            if number == 0:
                outcomes[outcome(store.queue.cancel, [State.QUEUED, State.RUNNING])] += 1
        return outcomes

    assert set().union(*at_once(WORKERS, end)) <= {""}
    ended = stores[1].tallies.read().of("jobs")
    assert sum(ended.values()) == JOBS
    assert {outcome for _model, outcome in ended} <= {"succeeded", "cancelled"}


def test_the_queue_takes_as_many_as_its_limit_says(stores: Sequence[JobStore]) -> None:
    codes = at_once(30, lambda each: outcome(stores[each % 2].jobs.submit, new(f"o{each}"), queue_limit=10))
    assert Counter(codes) == {"": 10, "queue_full": 20}


@pytest.mark.parametrize(
    ("limit", "code"),
    [("requests_per_minute", "rate_limited"), ("jobs_at_once", "rate_limited"), ("images_per_day", "quota_exceeded")],
)
def test_limits_of_a_key_are_exact_over_two_hosts(stores: Sequence[JobStore], limit: str, code: str) -> None:
    limits = KeyLimits(key=Limits(**{limit: 5}))

    def submit(number: int) -> str:
        job = new(key="app")
        return outcome(stores[number % 2].jobs.submit, job, queue_limit=LIMIT, limits=limits)

    assert Counter(at_once(20, submit)) == {"": 5, code: 15}


def test_equal_submits_with_a_seed_are_one_job(stores: Sequence[JobStore]) -> None:
    job = new(cache_key="c", share_key="s", seed=3, lookup=Lookup(seed=3, similar=False))
    found = at_once(12, lambda each: stores[each % 2].jobs.submit(job, queue_limit=LIMIT))
    assert len({submitted.id for submitted, _how in found}) == 1
    assert Counter(how for _job, how in found) == {Submitted.ADDED: 1, Submitted.SHARED: 11}
    assert stores[0].jobs.get(found[0][0].id).shared == 12


def test_submits_with_one_idempotency_key_are_one_job(stores: Sequence[JobStore]) -> None:
    found = at_once(12, lambda each: stores[each % 2].jobs.submit(new(idempotency_key="k"), queue_limit=LIMIT))
    assert len({submitted.id for submitted, _how in found}) == 1
    assert Counter(how for _job, how in found) == {Submitted.ADDED: 1, Submitted.REPLAYED: 11}


def test_deletions_beside_answers_keep_every_file_that_is_named(stores: Sequence[JobStore]) -> None:
    """Jobs that were answered name the files of the first: it is the last deletion that has them deleted."""
    plan = {"prompt": "a cup", "seeds": [3]}
    job = new(cache_key="c", seed=3, lookup=Lookup(seed=3, similar=False), plan=plan)
    for _ in range(ROUNDS):
        first, _how = stores[0].jobs.submit(job, queue_limit=LIMIT)
        lease = claimed(stores[0], "w")
        assert lease is not None
        stores[0].leases.finish(lease, [picture(lease.job)], [])
        answered = [stores[0].jobs.submit(job, queue_limit=LIMIT)[0].id for _ in range(3)]

        def forget(number: int, ids: Sequence[str] = (first.id, *answered)) -> Sequence[str]:
            if number < len(ids):
                return stores[number % 2].forgetting.forget_job(ids[number], "ann")
            submitted, _how = stores[number % 2].jobs.submit(job, queue_limit=LIMIT)
            if not submitted.state.final:
                stores[number % 2].jobs.cancel(submitted.id, "ann")
            return stores[number % 2].forgetting.forget_job(submitted.id, "ann")

        deleted = [key for keys in at_once(6, forget) for key in keys]
        assert sorted(deleted) == ["k0.png", "k0.webp"]


def test_two_senders_share_the_deliveries(stores: Sequence[JobStore]) -> None:
    for number in range(20):
        job, _how = stores[0].jobs.submit(new(webhook_url=f"https://{number % 3}.example.com/"), queue_limit=LIMIT)
        stores[0].jobs.cancel(job.id, "ann")
    now = stores[0].database.now() + 1

    def send(number: int) -> Sequence[str]:
        outbox, got = stores[number % 2].outbox, []
        while lines := outbox.due(now):
            for line in lines:
                if (delivery := outbox.claim(line, now + 60, now)) is not None:
                    got.append(delivery.id)
        return got

    got = [each for one in at_once(4, send) for each in one]
    assert (len(got), len(set(got))) == (20, 20)
