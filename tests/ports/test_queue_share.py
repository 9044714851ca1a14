"""B7: shares of the queue. Whoever fills it, the next owner, and the next person of an owner, can still submit."""

import re
from pathlib import Path

import pytest

from qwen_image_studio.contract.caller import LOCAL_OWNER
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Lane
from qwen_image_studio.jobs import Job, JobStore, NewJob, Submitted
from qwen_image_studio.jobs.room import allowed
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from tests.ports.test_job_store import new
from tests.ports.test_query_plans import planned, reads_of_the_past
from tests.support.database import sqlite_alone, with_tables

LIMIT = 20


def store_in(folder: Path, share: float = 0.8) -> JobStore:
    return open_store(with_tables(Settings(_env_file=None, data_dir=folder, queue_share=share)))


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    """A store without jobs."""
    return store_in(tmp_path)


def filled(store: JobStore, one: NewJob) -> tuple[int, StudioError]:
    """Submit it again and again; how many were taken, and the refusal of the next."""
    for taken in range(LIMIT + 1):
        try:
            store.jobs.submit(one, queue_limit=LIMIT)
        except StudioError as error:
            return taken, error
    raise AssertionError("the queue has no end")


def test_one_owner_fills_its_share_and_the_next_one_can_still_submit(store: JobStore) -> None:
    assert [filled(store, new("ann", user=user))[0] for user in ("mia", "noa", "ida")] == [12, 3, 1]
    refused = filled(store, new("ann", user="eva"))[1]
    assert (refused.code, refused.retry_after is not None) == ("queue_full", True)
    assert "16 of your jobs wait" in refused.message
    assert "other owners" in refused.message
    assert "cancel" in refused.message
    assert [filled(store, new(owner))[0] for owner in ("bob", "cid", "dan", "eli")] == [2, 1, 1, 0]
    _, refused = filled(store, new("ann"))
    assert re.search(r"The queue is full \(jobs that wait: 20\)", refused.message)


def test_all_jobs_of_an_owner_that_name_nobody_are_one_persons(store: JobStore) -> None:
    taken, refused = filled(store, new("dify"))
    assert (taken, refused.param) == (12, "user")
    assert refused.message.startswith("user: 12 jobs that name no user wait, and the rest of the 16 places")
    assert filled(store, new("dify", user="ann"))[0] == 3


def test_a_person_fills_a_share_of_the_owners_and_the_next_one_can_still_submit(store: JobStore) -> None:
    taken, refused = filled(store, new("dify", user="ann"))
    assert taken == 12
    assert refused.param == "user"
    assert refused.message.startswith("user: ")
    assert "12 jobs of this person wait" in refused.message
    assert filled(store, new("dify", user="bob"))[0] == 3
    assert filled(store, new("dify", user="cid"))[0] == 1
    refused = filled(store, new("dify", user="dan"))[1]
    assert "of your jobs wait" in refused.message
    assert filled(store, new("other", user="ann"))[0] > 0


def test_room_comes_back_as_jobs_end(store: JobStore) -> None:
    filled(store, new("ann"))
    lease = store.leases.claim("w1", Lane.PAINT, ["small"])
    assert lease is not None
    assert filled(store, new("ann"))[0] == 1


def test_without_keys_nobody_is_waited_for_but_the_persons(store: JobStore) -> None:
    assert filled(store, new(LOCAL_OWNER, user="ann"))[0] == 16
    assert filled(store, new(LOCAL_OWNER))[0] == 4


def test_a_share_of_one_is_no_share(tmp_path: Path) -> None:
    store = store_in(tmp_path, share=1)
    assert filled(store, new("dify", user="ann"))[0] == LIMIT


def test_lanes_and_batches_have_shares_of_their_own(store: JobStore) -> None:
    filled(store, new("ann"))
    assert filled(store, new("ann", lane=Lane.LIGHT, model=""))[0] == 12
    taken, refused = filled(store, new("ann", lane=Lane.LIGHT, model="", rows=2))
    assert taken == 12
    assert "12 batches that name no user have not ended" in refused.message
    assert filled(store, new("ann", user="mia", lane=Lane.LIGHT, model="", rows=2))[0] == 3
    assert filled(store, new("ann", user="noa", lane=Lane.LIGHT, model="", rows=2))[0] == 1
    refused = filled(store, new("ann", user="eva", lane=Lane.LIGHT, model="", rows=2))[1]
    assert "16 of your batches have not ended" in refused.message
    assert filled(store, new("bob", lane=Lane.LIGHT, model="", rows=2))[0] == 2


def test_a_request_that_is_sent_again_needs_no_room(store: JobStore) -> None:
    first: Job = store.jobs.submit(new("ann", idempotency_key="k"), queue_limit=LIMIT)[0]
    filled(store, new("ann"))
    assert store.jobs.submit(new("ann", idempotency_key="k"), queue_limit=LIMIT) == (first, Submitted.REPLAYED)


@sqlite_alone("its query plans")
def test_the_share_is_counted_in_what_waits_alone(store: JobStore) -> None:
    with planned(store) as steps:
        store.jobs.submit(new("dify", user="ann"), queue_limit=LIMIT)
        store.jobs.submit(new("dify", user="ann", lane=Lane.LIGHT, model="", rows=2), queue_limit=LIMIT)
    assert reads_of_the_past(steps) == []
    assert not [step for step in steps if "jobs_by_owner" in step or "jobs_by_user" in step]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 10, 200, 1000])
def test_what_one_may_have_alone_leaves_room_for_another(limit: int, share: float) -> None:
    alone = allowed(limit, 0, share)
    assert 1 <= alone <= limit
    if limit > 1:
        assert alone < limit
        assert allowed(limit, alone, share) >= 1
    assert allowed(limit, limit, share) == 0
    assert allowed(limit, 0, 1.0) == limit
