"""What a worker leaves to others: a job goes to one that has all it needs, and to any where nobody has."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen_image_studio.contract.words import Lane, Operation, Precision, Tier, WorkerState
from qwen_image_studio.jobs import Job, JobStore, Lease, NewJob, WorkerReport
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.planning.offers import ModelOffer, Offer
from qwen_image_studio.planning.plan import Variant
from qwen_image_studio.settings import Settings
from qwen_image_studio.worker.choosing import Choosing
from tests.support.database import with_tables

PLAIN = Offer({"small": ModelOffer(frozenset({"quality"}), frozenset({"bf16"}))})
WITH_INK = Offer({"small": ModelOffer(frozenset({"quality"}), frozenset({"bf16"}), frozenset({"ink"}))})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    """A job store."""
    with open_store(with_tables(Settings(_env_file=None, data_dir=tmp_path))) as store:
        yield store


def submit(store: JobStore, lora: str = "") -> Job:
    variant = Variant("small", Tier.QUALITY, Precision.BF16, lora)
    asked = NewJob("ann", Operation.GENERATE, Lane.PAINT, "small", "quality", {}, variant=str(variant))
    return store.jobs.submit(asked, queue_limit=9)[0]


def choosing(store: JobStore, name: str, offer: Offer) -> Choosing:
    """The choice of a worker that offers this, and has reported so."""
    report(store, name, offer)
    return Choosing(store, name, lambda: offer, unserved_s=60)


def report(store: JobStore, name: str, offer: Offer, age: float = 0) -> None:
    seen_at = time.time() - age
    store.workers.note(WorkerReport(name, "cpu", WorkerState.READY, None, "", seen_at, offers=offer.as_row()))


def claim(store: JobStore, name: str, choice: Choosing) -> Lease | None:
    return store.leases.claim(name, Lane.PAINT, ["small"], choice=choice)


def test_a_job_is_left_to_the_worker_that_has_what_it_needs(store: JobStore) -> None:
    plain, able = choosing(store, "plain", PLAIN), choosing(store, "able", WITH_INK)
    inked, usual = submit(store, "ink"), submit(store)
    first = claim(store, "plain", plain)
    assert first is not None
    assert first.job.id == usual.id
    assert claim(store, "plain", plain) is None
    second = claim(store, "able", able)
    assert second is not None
    assert second.job.id == inked.id


def test_a_job_that_nobody_has_all_for_is_taken_by_any(store: JobStore) -> None:
    """It ends with the error that says what is missing, and does not wait for nothing."""
    plain = choosing(store, "plain", PLAIN)
    report(store, "gone", WITH_INK, age=61)
    inked = submit(store, "ink")
    lease = claim(store, "plain", plain)
    assert lease is not None
    assert lease.job.id == inked.id


def test_a_worker_counts_as_long_as_it_may_come_back(store: JobStore) -> None:
    plain = choosing(store, "plain", PLAIN)
    report(store, "away", WITH_INK, age=55)
    submit(store, "ink")
    assert claim(store, "plain", plain) is None
