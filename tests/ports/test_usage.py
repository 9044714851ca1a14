"""What keys and their people use: counted with the submit, settled at the end, and never beyond a limit."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Lane, Review, State
from qwen_image_studio.database.tables import usage
from qwen_image_studio.jobs import Job, JobStore, Lease
from qwen_image_studio.jobs.states import Measured
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from tests.ports.test_job_store import LIMIT, claim, new, picture
from tests.ports.test_query_plans import planned, reads_of_the_past
from tests.support.database import sqlite_alone, with_tables

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
DAY_S = 86400.0


def opened(folder: Path) -> JobStore:
    """A store without shares of the queue, which have tests of their own."""
    return open_store(with_tables(Settings(_env_file=None, data_dir=folder, queue_share=1, max_attempts=2)))


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    """A store without jobs."""
    return opened(tmp_path)


def of_key(**limits: int) -> KeyLimits:
    """Limits of a whole key."""
    return KeyLimits(key=Limits(**limits))


def of_person(**limits: int) -> KeyLimits:
    """Limits of each person of a key."""
    return KeyLimits(person=Limits(**limits))


def sent(store: JobStore, limits: KeyLimits, now: float = NOON, key: str = "dify", **changes: Any) -> Job:
    """A job that was taken."""
    return store.jobs.submit(new("shop", key=key, **changes), queue_limit=LIMIT, limits=limits, now=now)[0]


def refused(store: JobStore, limits: KeyLimits, now: float = NOON, **changes: Any) -> StudioError:
    """The refusal of a job: the same before its inputs are stored as when it is added."""
    asked = new("shop", **{"key": "dify", **changes})
    with pytest.raises(StudioError) as before:
        store.jobs.check_room(LIMIT, asked, limits, now)
    with pytest.raises(StudioError) as error:
        store.jobs.submit(asked, queue_limit=LIMIT, limits=limits, now=now)
    assert (before.value.code, before.value.message) == (error.value.code, error.value.message)
    return error.value


def rows(store: JobStore) -> Mapping[str, Any]:
    """The rows of the table, by job."""
    with store.database.reading() as connection:
        return {row.job_id: row for row in connection.execute(select(usage))}


def painted(store: JobStore, count: int = 1, now: float = NOON, measured: Measured | None = None) -> Lease:
    """The end of the next job that waits, with so many pictures."""
    lease = claim(store, now)
    store.leases.finish(lease, [picture(lease.job, each) for each in range(count)], [], now=now, measured=measured)
    return lease


# -- counting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("span", ["day", "month"])
def test_the_images_of_a_key_are_counted_and_no_more_are_taken(store: JobStore, span: str) -> None:
    limits = of_key(**{f"images_per_{span}": 5})
    sent(store, limits, images=3)
    error = refused(store, limits, images=3)
    assert (error.code, error.status, error.param) == ("quota_exceeded", 429, None)
    assert f"The API key 'dify' may make 5 images a {span}, of which 2 are left; this asks for 3." in error.message
    assert error.message.endswith(" UTC, or the operator for more.")
    sent(store, limits, images=2)
    assert "of which 0 are left" in refused(store, limits).message
    sent(store, limits, key="another")


def test_each_person_of_a_key_has_the_persons_limit(store: JobStore) -> None:
    limits = KeyLimits(key=Limits(images_per_day=5), person=Limits(images_per_day=2))
    sent(store, limits, user="ann", images=2)
    error = refused(store, limits, user="ann")
    assert (error.code, error.param) == ("quota_exceeded", "user")
    assert "Each person of the API key 'dify' may make 2 images a day" in error.message
    sent(store, limits, user="bob", images=2)
    assert refused(store, limits, user="cid", images=2).param is None


def test_all_jobs_of_a_key_that_name_nobody_are_one_persons(store: JobStore) -> None:
    limits = of_person(images_per_day=2)
    sent(store, limits)
    sent(store, limits)
    assert refused(store, limits).param == "user"
    sent(store, limits, user="ann")


def test_a_batch_counts_all_its_images_at_submit_and_is_one_job_at_once(store: JobStore) -> None:
    limits = of_key(images_per_day=10, jobs_at_once=2)
    batch = sent(store, limits, rows=3, images=6, lane=Lane.LIGHT, model="")
    lease = store.leases.claim("light", Lane.LIGHT, now=NOON)
    assert lease is not None
    for number in range(3):
        assert store.rows.add(lease, number, new("shop", images=2), now=NOON)
    store.leases.release(lease)
    assert rows(store)[batch.id].images == 6
    assert [(row.images, row.key, row.person) for row in rows(store).values() if row.parent_id] == [(0, "dify", "")] * 3
    assert "4 are left" in refused(store, limits, images=5).message
    sent(store, limits, images=4)
    assert "may have 2 jobs at once, and 2 have not ended" in refused(store, limits).message


def test_what_a_batch_did_not_paint_is_given_back_and_its_rows_tell_the_cost(store: JobStore) -> None:
    limits = of_key(images_per_day=10)
    batch = sent(store, limits, rows=3, images=6, lane=Lane.LIGHT, model="")
    lease = store.leases.claim("light", Lane.LIGHT, now=NOON)
    assert lease is not None
    for number in range(2):
        assert store.rows.add(lease, number, new("shop", images=2), now=NOON)
    assert store.rows.add(lease, 2, new("shop", images=2), ("invalid_value", "width: too large"), now=NOON)
    store.leases.release(lease)
    painted(store, 2, measured=Measured(device_s=1.5, megapixel_steps=20))
    painted(store, 1, measured=Measured(device_s=1, megapixel_steps=10))
    lease = store.leases.claim("light", Lane.LIGHT, now=NOON)
    assert lease is not None
    store.leases.finish(lease, [picture(batch)], [], now=NOON + 9)
    of_batch = rows(store)[batch.id]
    assert (of_batch.images, of_batch.pictures, of_batch.device_s, of_batch.ended_at) == (3, 0, 0, NOON + 9)
    assert sum(row.pictures for row in rows(store).values()) == 3
    assert sum(row.megapixel_steps for row in rows(store).values()) == 30


def test_a_cancelled_batch_gives_back_the_rows_that_were_not_painted(store: JobStore) -> None:
    limits = of_key(images_per_day=6)
    batch = sent(store, limits, rows=3, images=6, lane=Lane.LIGHT, model="")
    lease = store.leases.claim("light", Lane.LIGHT, now=NOON)
    assert lease is not None
    for number in range(3):
        assert store.rows.add(lease, number, new("shop", images=2), now=NOON)
    store.leases.release(lease)
    painted(store, 2)
    store.jobs.cancel(batch.id, "shop", now=NOON)
    assert all(row.ended_at is not None for row in rows(store).values())
    sent(store, limits, images=4)
    assert refused(store, limits).code == "quota_exceeded"


# -- giving back ---------------------------------------------------------------------------------------------------


def test_what_ends_without_a_picture_is_given_back(store: JobStore) -> None:
    limits = of_key(images_per_day=2)
    failed = sent(store, limits, images=2)
    store.leases.fail(claim(store, NOON), "engine_failed", "It broke.", now=NOON)
    stopped = sent(store, limits, images=2)
    lease = claim(store, NOON)
    store.jobs.cancel(stopped.id, "shop", now=NOON)
    store.leases.stop(lease, now=NOON)
    waited = sent(store, limits, images=2)
    store.jobs.cancel(waited.id, "shop", now=NOON)
    lost = sent(store, limits, images=2)
    for _ in range(2):  # attempts
        claim(store, NOON)
        store.leases.abandon("w1", now=NOON)
    assert store.jobs.get(lost.id).error_code == "worker_lost"
    counted = rows(store)
    assert [counted[job.id].images for job in (failed, stopped, waited, lost)] == [0] * 4
    assert all(row.ended_at == NOON for row in counted.values())
    sent(store, limits, images=2)
    assert refused(store, limits).code == "quota_exceeded"


def test_fewer_pictures_than_asked_for_give_back_the_rest(store: JobStore) -> None:
    limits = of_key(images_per_day=4)
    job = sent(store, limits, images=4)
    painted(store, 3, measured=Measured(device_s=4.5, megapixel_steps=31.5))
    row = rows(store)[job.id]
    assert (row.images, row.pictures, row.device_s, row.megapixel_steps) == (3, 3, 4.5, 31.5)
    sent(store, limits)
    assert refused(store, limits).code == "quota_exceeded"


def test_a_picture_that_waits_for_a_reviewer_was_painted_and_its_job_is_no_longer_at_once(store: JobStore) -> None:
    limits = of_person(images_per_day=4, jobs_at_once=1)
    job = sent(store, limits, images=3)
    lease = claim(store, NOON)
    held = [replace(picture(lease.job), review=Review.HELD), picture(lease.job, 1)]
    store.leases.finish(lease, held, [], now=NOON, measured=Measured(device_s=2))
    assert store.jobs.get(job.id).state is State.REVIEW
    row = rows(store)[job.id]
    assert (row.images, row.pictures, row.device_s, row.ended_at) == (2, 2, 2, NOON)
    sent(store, limits, images=2)
    store.jobs.cancel(job.id, "shop", now=NOON + 60)
    assert rows(store)[job.id].images == 2
    assert rows(store)[job.id].ended_at == NOON


def test_a_job_that_asks_for_nothing_to_be_painted_is_free(store: JobStore) -> None:
    limits = of_key(images_per_day=1)
    sent(store, limits)
    sent(store, limits, images=0)


def test_what_was_used_stays_when_the_job_is_deleted(store: JobStore) -> None:
    limits = of_key(images_per_day=1)
    job = sent(store, limits)
    painted(store)
    store.forgetting.forget_job(job.id, "shop")
    assert rows(store)[job.id].pictures == 1
    assert refused(store, limits).code == "quota_exceeded"


# -- time ----------------------------------------------------------------------------------------------------------


def at(text: str) -> float:
    """A time in UTC, in Unix seconds."""
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


@pytest.mark.parametrize(
    ("limit", "before", "after", "reset"),
    [
        ("images_per_day", "2026-11-29T23:59:59", "2026-11-30T00:00:00", "2026-11-30 00:00 UTC"),
        ("images_per_month", "2026-11-30T23:59:59", "2026-12-01T00:00:00", "2026-12-01 00:00 UTC"),
        ("images_per_month", "2026-12-31T23:59:58", "2027-01-01T00:00:00", "2027-01-01 00:00 UTC"),
        ("images_per_month", "2028-02-29T12:00:00", "2028-03-01T00:00:00", "2028-03-01 00:00 UTC"),
    ],
)
def test_days_and_months_are_those_of_utc(store: JobStore, limit: str, before: str, after: str, reset: str) -> None:
    limits = of_key(**{limit: 1})
    sent(store, limits, now=at(before[:11] + "00:00:00"))
    error = refused(store, limits, now=at(before))
    assert error.retry_after == at(after) - at(before)
    assert reset in error.message
    sent(store, limits, now=at(after))


def test_submits_of_a_minute_are_counted_and_the_wait_is_until_the_first_leaves_it(store: JobStore) -> None:
    limits = of_person(requests_per_minute=3)
    for second in (0, 20, 40):
        sent(store, limits, now=NOON + second)
    error = refused(store, limits, now=NOON + 45)
    assert (error.code, error.status, error.retry_after) == ("rate_limited", 429, 15)
    assert "Each person of the API key 'dify' may submit 3 jobs a minute, and has. Send it again in 15" in error.message
    sent(store, limits, now=NOON + 60)
    assert refused(store, limits, now=NOON + 61).retry_after == 19


def test_jobs_at_once_are_those_that_have_not_ended(store: JobStore) -> None:
    limits = of_person(jobs_at_once=1)
    sent(store, limits, user="ann")
    sent(store, limits, user="bob")
    error = refused(store, limits, user="ann", now=NOON + DAY_S)
    assert (error.code, error.retry_after) == ("rate_limited", 5)
    painted(store)
    sent(store, limits, user="ann")
    assert refused(store, limits, user="bob").code == "rate_limited"


# -- for sure ------------------------------------------------------------------------------------------------------


def test_a_submit_that_is_sent_again_is_neither_counted_nor_refused(store: JobStore) -> None:
    limits = of_key(images_per_day=1, requests_per_minute=1, jobs_at_once=1)
    first = sent(store, limits, idempotency_key="k")
    assert sent(store, limits, idempotency_key="k").id == first.id
    assert len(rows(store)) == 1


def test_limits_hold_over_a_restart(tmp_path: Path) -> None:
    limits = KeyLimits(key=Limits(images_per_month=3), person=Limits(images_per_day=2, requests_per_minute=2))
    with opened(tmp_path) as store:
        sent(store, limits, user="ann")
        sent(store, limits, user="ann")
    with open_store(Settings(_env_file=None, data_dir=tmp_path, queue_share=1)) as again:
        assert refused(again, limits, user="ann").code == "rate_limited"
        assert refused(again, limits, user="ann", now=NOON + 61).code == "quota_exceeded"
        sent(again, limits, user="bob")
        assert "may make 3 images a month" in refused(again, limits, user="cid").message


def test_a_clock_that_was_set_back_locks_nobody_out(store: JobStore) -> None:
    limits = of_key(requests_per_minute=1)
    sent(store, limits, NOON)
    sent(store, limits, NOON - 3600)
    assert refused(store, limits, NOON - 3600).retry_after == 60


@pytest.mark.parametrize("limit", ["images_per_day", "images_per_month", "requests_per_minute", "jobs_at_once"])
def test_thirty_who_submit_at_once_never_get_beyond_a_limit_of_ten(store: JobStore, limit: str) -> None:
    limits, together = of_key(**{limit: 10}), threading.Barrier(30)
    taken: list[str] = []
    codes: list[str] = []

    def submit() -> None:
        together.wait()
        try:
            taken.append(sent(store, limits).id)
        except StudioError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=submit) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == len(rows(store)) == 10
    assert codes in (["rate_limited"] * 20, ["quota_exceeded"] * 20)


@sqlite_alone("its query plans")
def test_counting_reads_an_index_alone(store: JobStore) -> None:
    every = {"images_per_day": 9, "images_per_month": 9, "requests_per_minute": 9, "jobs_at_once": 9}
    limits = KeyLimits(key=Limits(**every), person=Limits(**every))
    with planned(store) as steps:
        sent(store, limits)
        painted(store)
    indexes = ("usage_by_key", "usage_by_person", "usage_open", "shares_counted")
    counted = [step for step in steps if any(index in step for index in indexes)]
    assert all(any(index in step for step in counted) for index in indexes), steps
    looked_at = [step for step in counted if "COVERING INDEX" not in step]
    assert set(looked_at) <= {"SEARCH usage USING INDEX usage_open (key=?)"}, "all else is in the indexes"
    assert not reads_of_the_past(steps)


def test_a_month_is_counted_right_whatever_ends_when(store: JobStore) -> None:
    """The days that are over are added up once a day, unless one of their jobs goes on."""
    limits = of_key(images_per_month=10)
    held = sent(store, limits, now=at("2026-11-01T00:00:00"), images=4)
    assert held.id
    assert "of which 6 are left" in refused(store, limits, images=9).message
    painted(store, 1, now=NOON)
    assert "of which 9 are left" in refused(store, limits, images=10).message
    sent(store, limits, images=3)
    assert "of which 6 are left" in refused(store, limits, images=9).message
    for day in (DAY_S, DAY_S + 60):
        assert "of which 6 are left" in refused(store, limits, images=9, now=NOON + day).message
    painted(store, 2, now=NOON + DAY_S + 61)
    sent(store, limits, images=7, now=NOON + DAY_S + 62)
    assert "of which 0 are left" in refused(store, limits, now=NOON + DAY_S + 63).message
    sent(store, limits, images=10, now=NOON + 3 * DAY_S)


def test_what_is_left_is_told_by_limit(store: JobStore) -> None:
    limits = KeyLimits(key=Limits(images_per_month=9), person=Limits(images_per_day=5, jobs_at_once=2))
    sent(store, limits, user="ann", images=3)
    told = store.allowance.uses(Caller("shop", "dify", limits=limits), "ann", NOON)
    assert _told(told) == [
        ("images_per_month", False, 6, at("2026-12-01T00:00:00")),
        ("jobs_at_once", True, 1, None),
        ("images_per_day", True, 2, at("2026-11-30T00:00:00")),
    ]
    free = store.allowance.uses(Caller("shop", "dify"), None, NOON, with_free=True)
    assert [(use.name, use.used, use.left) for use in free if use.name == "images_per_day"] == [
        ("images_per_day", 3, None)
    ]


def _told(uses: Sequence[Any]) -> list[tuple[str, bool, int | None, float | None]]:
    return [(use.name, use.of_person, use.left, use.resets_at) for use in uses]
