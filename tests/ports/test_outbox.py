"""The outbox: the end of a job and its delivery are one transaction, and a delivery is claimed by one sender."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen_image_studio.contract.errors import LeaseLost
from qwen_image_studio.contract.words import Lane, Operation
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.guard.receivers import Receivers
from qwen_image_studio.jobs import Job, JobStore, Lease, NewJob
from qwen_image_studio.jobs.news import DELIVERIES
from qwen_image_studio.jobs.outbox import Delivery, Line
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from tests.ports.test_job_store import LIMIT, new, submit
from tests.ports.test_query_plans import planned, reads_of_the_past
from tests.support.database import sqlite_alone, with_tables

URL = "https://Hooks.example:8443/studio?token=secret"
OF_KEY = "https://key.example/all"
LINE = Line("", "hooks.example:8443")


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    """A store of a test's own."""
    return open_store(with_tables(Settings(data_dir=tmp_path, lease_s=10, max_attempts=1)))


def claimed(store: JobStore, now: float = 1.0) -> Lease:
    """The lease of the next job."""
    lease = store.leases.claim("worker", Lane.PAINT, ["small"], now=now)
    assert lease is not None
    return lease


def rows(store: JobStore) -> list[Delivery]:
    """All deliveries, oldest first."""
    return list(reversed(store.outbox.page(limit=100)[0]))


ENDS: dict[str, Callable[[JobStore, Job], object]] = {
    "job.succeeded": lambda store, _: store.leases.finish(claimed(store), [], [], now=2),
    "job.failed": lambda store, _: store.leases.fail(claimed(store), "engine_failed", "no", now=2),
    "job.cancelled": lambda store, job: store.jobs.cancel(job.id, "ann", now=2),
    "job.cancelled while it ran": lambda store, _: store.leases.stop(claimed(store), now=2),
    "job.failed with its worker": lambda store, _: (claimed(store), store.leases.abandon("worker", now=2)),
    "job.failed with its lease": lambda store, _: (claimed(store), store.leases.expire(now=2 + 100)),
    "job.failed without its model": lambda store, _: store.leases.refuse_unserved(["other"], now=2),
}
"""How a job can end, by the event that tells of it."""


@pytest.mark.parametrize("end", ENDS)
def test_each_end_of_a_job_writes_one_delivery(store: JobStore, end: str) -> None:
    job = submit(store, webhook_url=URL)
    assert rows(store) == []
    ENDS[end](store, job)
    [delivery] = rows(store)
    assert (delivery.job_id, delivery.owner, delivery.url) == (job.id, "ann", URL)
    assert (delivery.event, delivery.host, delivery.key) == (end.split()[0], LINE.host, "")
    assert (delivery.state, delivery.tries, delivery.next_at) == ("waiting", 0, delivery.created_at)


def test_a_job_that_goes_on_tells_nothing(store: JobStore) -> None:
    submit(store, webhook_url=URL)
    store.leases.release(claimed(store))
    assert claimed(store)
    assert rows(store) == []


def test_what_ends_without_an_address_tells_nobody(store: JobStore) -> None:
    submit(store)
    submit(store, key="nobody")
    for _ in range(2):
        store.leases.finish(claimed(store), [], [])
    assert rows(store) == []


def test_an_attempt_that_has_lost_its_lease_tells_nothing(store: JobStore, tmp_path: Path) -> None:
    submit(store, webhook_url=URL)
    first = claimed(store, now=1)
    patient = open_store(Settings(data_dir=tmp_path, lease_s=10, max_attempts=2))
    patient.leases.expire(now=100)
    with pytest.raises(LeaseLost):
        store.leases.finish(first, [], [])
    assert rows(store) == []


@pytest.mark.parametrize(
    ("own", "revoked", "told"),
    [(None, False, OF_KEY), (URL, False, URL), (None, True, None), (URL, True, URL)],
    ids=["the key's", "the job's own", "none of a revoked key", "the job's own all the same"],
)
def test_a_jobs_own_address_goes_before_that_of_its_key(
    store: JobStore, own: str | None, revoked: bool, told: str | None
) -> None:
    keys = KeyStore(store.database)
    keys.add("shop", "ann")
    Receivers(store.database).set_address("shop", OF_KEY)
    submit(store, key="shop", webhook_url=own)
    if revoked:
        keys.revoke("shop")
    store.leases.finish(claimed(store), [], [])
    assert [(each.url, each.key) for each in rows(store)] == ([(told, "shop")] if told else [])


def test_a_batch_tells_of_its_end_once_and_its_rows_of_none(store: JobStore) -> None:
    batch = NewJob("ann", Operation.BATCH, Lane.LIGHT, "", "quality", {}, rows=3, webhook_url=URL)
    store.jobs.submit(batch, queue_limit=LIMIT)
    lease = store.leases.claim("light", Lane.LIGHT, now=1)
    assert lease is not None
    store.rows.add(lease, 0, new(webhook_url="https://row.example/"))
    store.rows.add(lease, 1, new(), ("content_blocked", "no"))
    store.rows.add(lease, 2, new())
    store.leases.finish(claimed(store), [], [])
    assert rows(store) == []
    store.jobs.cancel(lease.job.id, "ann")
    store.leases.stop(lease)
    assert [(each.event, each.job_id) for each in rows(store)] == [("job.cancelled", lease.job.id)]


def test_an_address_that_no_check_has_seen_does_not_keep_a_job_from_ending(store: JobStore) -> None:
    for url in ("", "nonsense", "http://[1::zz/", "http://" + "x" * 3000):
        submit(store, webhook_url=url)
        store.leases.finish(claimed(store), [], [])
    assert len(rows(store)) == 4


def test_the_end_of_a_job_wakes_the_sender(store: JobStore) -> None:
    ear = store.bell.listen(DELIVERIES)
    submit(store, webhook_url=URL)
    assert not ear.wait(0)
    store.leases.finish(claimed(store), [], [])
    assert ear.wait(10)
    ear.close()


# -- claims ----------------------------------------------------------------------------------------------------------


def ended(store: JobStore, count: int = 1, **more: Any) -> list[Delivery]:
    """Deliveries of jobs that have ended at 2."""
    for _ in range(count):
        submit(store, **{"webhook_url": URL, **more})
        store.leases.finish(claimed(store), [], [], now=2)
    return rows(store)


def test_a_delivery_is_claimed_by_one_sender_until_its_claim_runs_out(store: JobStore) -> None:
    ended(store)
    first = store.outbox.claim(LINE, until=20, now=3)
    assert first is not None
    assert store.outbox.due(now=3) == []
    assert store.outbox.claim(LINE, until=20, now=19) is None
    assert store.outbox.due(now=20) == [LINE]
    second = store.outbox.claim(LINE, until=40, now=20)
    assert second is not None
    assert (second.id, second.tries) == (first.id, 0), "a try that was cut off is none"
    store.outbox.failed(first, None, 500, "too late", now=21)
    assert rows(store)[0].state == "waiting", "the claim of the first was over"
    store.outbox.failed(second, 50, 500, "answered 500", now=22)
    [delivery] = rows(store)
    assert (delivery.tries, delivery.next_at, delivery.status, delivery.error) == (1, 50, 500, "answered 500")


def test_two_senders_that_claim_at_once_never_get_the_same(store: JobStore, tmp_path: Path) -> None:
    wanted = {each.id for each in ended(store, 20)}
    got: list[str] = []

    def claim_all(outbox: Any) -> None:
        while (delivery := outbox.claim(LINE, until=100, now=3)) is not None:
            got.append(delivery.id)

    other = open_store(Settings(data_dir=tmp_path))
    threads = [threading.Thread(target=claim_all, args=(each.outbox,)) for each in (store, store, other, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(wanted)


def test_lines_are_of_one_key_and_one_host_and_the_oldest_comes_first(store: JobStore) -> None:
    for name in ("shop", "desk"):
        KeyStore(store.database).add(name, "ann")
    ended(store, key="shop")
    ended(store, key="desk")
    ended(store, key="shop", webhook_url="https://other.example/")
    other, shop, desk = Line("shop", "other.example"), Line("shop", LINE.host), Line("desk", LINE.host)
    assert set(store.outbox.due(now=2)) == {other, shop, desk}
    for line, until in ((shop, 30), (other, 20), (desk, 10)):
        assert store.outbox.claim(line, until=until, now=2)
    assert store.outbox.due(now=40) == [desk, other, shop]


def test_a_delivery_outlives_its_job(store: JobStore) -> None:
    [delivery] = ended(store)
    store.forgetting.forget_job(delivery.job_id, "ann")
    assert rows(store) == [delivery]
    assert store.outbox.claim(LINE, until=20, now=3) is not None


# -- for operators ---------------------------------------------------------------------------------------------------


def died(store: JobStore, at: float) -> Delivery:
    """A delivery that was given up then."""
    delivery = store.outbox.claim(LINE, until=at + 1, now=at)
    assert delivery is not None
    store.outbox.failed(delivery, None, None, "its host does not answer", now=at)
    return delivery


def test_dead_letters_are_listed_counted_and_sent_again(store: JobStore) -> None:
    ended(store, 3)
    early, late = died(store, 10), died(store, 20)
    assert store.outbox.counts() == (1, 2)
    assert {each.id for each in store.outbox.page(limit=10, dead=True)[0]} == {early.id, late.id}
    assert store.outbox.due(now=1000) == [LINE]
    assert store.outbox.resend_dead(since=15, now=30) == 1
    assert store.outbox.counts() == (2, 1)
    assert store.outbox.resend([early.id, "evt_none"], now=40) == 1
    [again] = [each for each in rows(store) if each.id == early.id]
    assert (again.state, again.tries, again.next_at, again.event) == ("waiting", 0, 40, early.event)


def test_what_was_delivered_can_be_sent_again(store: JobStore) -> None:
    ended(store)
    delivery = store.outbox.claim(LINE, until=20, now=3)
    assert delivery is not None
    store.outbox.delivered(delivery, 204, now=4)
    assert [(each.state, each.tries, each.status) for each in rows(store)] == [("delivered", 1, 204)]
    assert store.outbox.counts() == (0, 0)
    assert store.outbox.resend([delivery.id], now=5) == 1
    assert store.outbox.due(now=5) == [LINE]


def test_the_list_goes_on_after_a_page(store: JobStore) -> None:
    ended(store, 5)
    everything, _ = store.outbox.page(limit=100)
    first, has_more = store.outbox.page(limit=3)
    rest, ends = store.outbox.page(limit=3, after=first[-1].id)
    assert (has_more, ends) == (True, False)
    assert [*first, *rest] == list(everything)


def test_what_is_old_is_deleted_unless_it_waits(store: JobStore) -> None:
    ended(store, 3)
    died(store, 10)
    delivery = store.outbox.claim(LINE, until=30, now=20)
    assert delivery is not None
    store.outbox.delivered(delivery, 200, now=20)
    assert store.outbox.prune(before=2) == 0, "they are from then"
    assert store.outbox.prune(before=3) == 2
    assert [each.state for each in rows(store)] == ["waiting"]


@sqlite_alone("its query plans")
def test_no_question_goes_through_what_was_delivered(store: JobStore) -> None:
    [first, *_] = ended(store, 3)
    with planned(store) as steps:
        assert store.outbox.due(now=3) == [LINE]
        claim = store.outbox.claim(LINE, until=20, now=3)
        assert claim is not None
        store.outbox.failed(claim, 50, 500, "answered 500", now=4)
        store.outbox.delivered(claim, 204, now=5)
        store.outbox.counts()
        store.outbox.page(limit=10)
        store.outbox.page(limit=10, dead=True, after=first.id)
        store.outbox.resend_dead(0, now=6)
        store.outbox.prune(before=1)
        ended(store)
    assert len(steps) > 10
    assert [step for step in steps if step.startswith("SCAN deliveries") and "USING" not in step] == []
    assert [step for step in reads_of_the_past(steps) if "deliveries_by_time" not in step] == []


def test_an_address_of_a_key_is_set_and_taken_away(store: JobStore) -> None:
    receivers = Receivers(store.database)
    KeyStore(store.database).add("shop")
    receivers.set_address("shop", OF_KEY)
    assert receivers.address("shop") == OF_KEY
    receivers.set_address("shop", None)
    assert receivers.address("shop") is None
