"""What every job store promises of batches, run against each adapter; and how an older database is brought to them."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Connection, event, text

from qwen_image_studio.contract.errors import LeaseLost, StudioError
from qwen_image_studio.contract.words import Lane, Operation, State
from qwen_image_studio.database.connection import Database, alembic_config, open_database
from qwen_image_studio.database.tables import jobs
from qwen_image_studio.jobs import (
    FEW_ROWS,
    OPEN_ROWS,
    Job,
    JobStore,
    Lease,
    NewJob,
    Progress,
    RowCounts,
    Submitted,
)
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from tests.ports.test_job_store import LIMIT, new, picture, submit, variant_of
from tests.support.database import runs_on_postgresql, sqlite_alone, with_tables, without_tables

PLAN = {"table": [], "seeds": [0], "output_format": "jpeg"}


def opened(folder: Path) -> JobStore:
    return open_store(
        with_tables(Settings(data_dir=folder, lease_s=10, max_attempts=3, affinity_patience_s=20, queue_share=1))
    )


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    """A store with nothing in it."""
    return opened(tmp_path)


def batch(store: JobStore, rows: int = 3, owner: str = "ann", now: float | None = None) -> Job:
    """A batch to be made into jobs."""
    parent = NewJob(
        owner=owner,
        operation=Operation.BATCH,
        lane=Lane.LIGHT,
        model="",
        tier="quality",
        plan=PLAN,
        fingerprint="f",
        rows=rows,
    )
    return store.jobs.submit(parent, queue_limit=LIMIT, now=now)[0]


def take(store: JobStore, lane: Lane = Lane.PAINT, *, now: float | None = None, worker: str = "w1") -> Lease:
    lease = store.leases.claim(worker, lane, ["small"], now=now)
    assert lease is not None
    return lease


def light(store: JobStore, now: float | None = None) -> Lease:
    return take(store, Lane.LIGHT, now=now, worker="light")


def made(store: JobStore, rows: int = 3, owner: str = "ann", now: float | None = None) -> Job:
    """A batch of which every row is a job."""
    parent = batch(store, rows, owner, now)
    lease = light(store, now)
    assert lease.job.id == parent.id
    for row in range(rows):
        assert store.rows.add(lease, row, new(owner), now=now)
    store.leases.release(lease, now)
    return parent


def paint(store: JobStore, count: int = 1, now: float | None = None) -> list[Job]:
    """Let so many rows be painted."""
    done = []
    for _ in range(count):
        lease = take(store, now=now)
        store.leases.finish(lease, [picture(lease.job)], [], now=now)
        done.append(lease.job)
    return done


def stand(store: JobStore, parent: Job) -> RowCounts:
    return store.rows.counts([parent.id])[parent.id]


def nobody_has_work(store: JobStore) -> bool:
    return store.leases.claim("light", Lane.LIGHT) is None


def test_a_batch_is_made_waited_for_and_gathered(store: JobStore) -> None:
    parent = batch(store)
    assert stand(store, parent) == RowCounts(3, 3, 3, 0, 0, 0, 0)
    lease = light(store)
    assert store.rows.add(lease, 0, new(plan={"prompt": "a"}))
    store.leases.release(lease)
    lease = light(store)  # rows are missing
    assert store.rows.add(lease, 1, new(plan={"prompt": "b"}))
    assert store.rows.add(lease, 2, new(plan={"prompt": "c"}))
    store.leases.release(lease)
    assert nobody_has_work(store)
    rows = store.rows.of_batch(parent.id)
    assert [(row.parent_id, row.row, row.plan["prompt"]) for row in rows] == [
        (parent.id, number, letter) for number, letter in enumerate("abc")
    ]
    assert [job.id for job in paint(store, 2)] == [rows[0].id, rows[1].id]
    assert nobody_has_work(store)
    store.leases.fail(take(store), "engine_failed", "x")
    assert stand(store, parent) == RowCounts(3, 0, 0, 0, 2, 1, 0)
    lease = light(store)
    assert (lease.job.id, lease.job.attempt) == (parent.id, 1)
    assert store.leases.finish(lease, [picture(parent)], ["1 failed"]) is State.SUCCEEDED
    assert nobody_has_work(store)
    assert store.leases.claim("w1", Lane.PAINT, ["small"]) is None


def test_a_row_is_added_once_and_by_the_lease_only(store: JobStore) -> None:
    parent = batch(store)
    old = light(store, now=time.time() - 100)
    assert store.rows.add(old, 0, new(plan={"prompt": "first"}))
    young = light(store)
    with pytest.raises(LeaseLost):
        store.rows.add(old, 1, new())
    assert store.rows.add(young, 0, new(plan={"prompt": "second"}))
    assert [row.plan["prompt"] for row in store.rows.of_batch(parent.id)] == ["first"]
    store.leases.finish(young, [], [])
    with pytest.raises(LeaseLost):
        store.rows.add(young, 1, new())


def test_a_refused_row_has_failed_and_is_never_given_out(store: JobStore) -> None:
    parent = batch(store, rows=1)
    lease = light(store)
    store.rows.add(lease, 0, new(), ("image_not_found", "There is none."))
    store.leases.release(lease)
    assert store.leases.claim("w1", Lane.PAINT, ["small"]) is None
    [row] = store.rows.of_batch(parent.id)
    assert (row.state, row.error_code, row.error_message) == (State.FAILED, "image_not_found", "There is none.")
    assert row.finished_at is not None
    assert light(store).job.id == parent.id


def test_each_change_of_a_row_is_news_of_its_batch(store: JobStore) -> None:
    parent = batch(store, rows=5)
    seen = [store.jobs.tags([parent.id])[parent.id]]

    def told(act: Callable[[], object]) -> None:
        act()
        seen.append(store.jobs.tags([parent.id])[parent.id])

    lease = light(store)
    told(lambda: store.rows.add(lease, 0, new()))
    for row in range(1, 5):
        store.rows.add(lease, row, new())
    told(lambda: store.leases.release(lease))
    leases: list[Lease] = []
    told(lambda: leases.append(take(store)))
    store.leases.renew(leases[0], Progress("denoising", 1, 2))
    assert store.jobs.tags([parent.id])[parent.id] == seen[-1], "a batch shows nothing of the steps of a row"
    told(lambda: store.leases.finish(leases[0], [], []))
    told(lambda: store.leases.fail(take(store), "engine_failed", "x"))
    told(lambda: store.leases.release(take(store)))
    take(store, worker="w9")
    told(lambda: store.leases.abandon("w9"))
    told(lambda: store.jobs.cancel(store.rows.of_batch(parent.id)[2].id, "ann"))
    told(lambda: store.leases.refuse_unserved([]))
    assert len({tag.version for tag in seen}) == len(seen)
    assert stand(store, parent) == RowCounts(5, 0, 0, 0, 1, 3, 1)


def test_a_batch_has_no_place_in_the_queue_and_blocks_none(store: JobStore) -> None:
    parent = made(store)
    beside = submit(store, "bob", lane=Lane.LIGHT, model="")
    tags = store.jobs.tags([parent.id, beside.id])
    assert (tags[parent.id].place, tags[beside.id].place) == (None, 1)
    assert light(store).job.id == beside.id
    rows = store.rows.of_batch(parent.id)
    assert [store.jobs.tags([row.id])[row.id].place for row in rows] == [1, 2, 3]
    lease = take(store)
    assert store.jobs.tags([parent.id])[parent.id].place is None
    store.leases.finish(lease, [], [])
    assert store.jobs.tags([parent.id])[parent.id].place is None
    assert store.jobs.counts() == (2, 1)


def test_the_state_that_is_listed_is_that_of_the_rows(store: JobStore) -> None:
    parent = made(store)

    def listed(state: State) -> list[str]:
        return [job.id for job in store.jobs.page("ann", limit=9, after=None, state=state)[0]]

    assert (listed(State.QUEUED), listed(State.RUNNING)) == ([parent.id], [])
    paint(store)
    assert (listed(State.QUEUED), listed(State.RUNNING)) == ([], [parent.id])
    paint(store, 2)
    lease = light(store)
    assert listed(State.RUNNING) == [parent.id]
    store.leases.finish(lease, [], [])
    assert (listed(State.RUNNING), listed(State.SUCCEEDED)) == ([], [parent.id])


def test_a_batch_has_started_with_its_first_row(store: JobStore) -> None:
    parent = made(store, now=5)
    assert (stand(store, parent).started, stand(store, parent).started_at) == (False, None)
    paint(store, now=50)
    paint(store, now=60)
    assert (stand(store, parent).started, stand(store, parent).started_at) == (True, 50)


def test_pages_of_rows(store: JobStore) -> None:
    parent, other, alone = made(store, 5), made(store, 1), submit(store)
    assert [job.id for job in store.jobs.page("ann", limit=9, after=None, state=None)[0]] == [
        alone.id,
        other.id,
        parent.id,
    ]
    batches, more = store.jobs.page("ann", limit=1, after=None, state=None, operation="batch,campaign")
    assert ([job.id for job in batches], more) == ([other.id], True)
    assert store.jobs.page("ann", limit=9, after=other.id, state=None, operation="batch")[0][0].id == parent.id
    first, more = store.jobs.page("ann", limit=2, after=None, state=None, parent_id=parent.id)
    assert ([job.row for job in first], more) == ([0, 1], True)
    rest, more = store.jobs.page("ann", limit=9, after=first[-1].id, state=None, parent_id=parent.id)
    assert ([job.row for job in rest], more) == ([2, 3, 4], False)
    assert store.jobs.page("ann", limit=9, after=None, state=State.RUNNING, parent_id=parent.id)[0] == []
    wrong: list[dict[str, Any]] = [
        {"after": None, "parent_id": "job_unknown"},
        {"after": store.rows.of_batch(other.id)[0].id, "parent_id": parent.id},
        {"after": first[0].id},
        {"after": alone.id, "parent_id": parent.id},
    ]
    for query in wrong:
        with pytest.raises(StudioError) as caught:
            store.jobs.page("ann", limit=9, state=None, **query)
        assert caught.value.code == "not_found"
    with pytest.raises(StudioError) as caught:
        store.jobs.page("bob", limit=9, after=None, state=None, parent_id=parent.id)
    assert caught.value.code == "not_found"


def test_cancelling_a_batch_ends_what_waits_and_stops_what_runs(store: JobStore) -> None:
    parent = made(store, 4)
    [done] = paint(store)
    running = take(store)
    assert store.jobs.cancel(parent.id, "ann").state is State.CANCELLED
    assert stand(store, parent) == RowCounts(4, 0, 0, 1, 1, 0, 2)
    assert store.leases.renew(running, Progress()) is True
    assert store.leases.finish(running, [picture(running.job)], []) is State.CANCELLED
    assert stand(store, parent) == RowCounts(4, 0, 0, 0, 1, 0, 3)
    assert len(store.images.of_jobs([done.id])[done.id]) == 1
    assert store.leases.claim("w1", Lane.PAINT, ["small"]) is None
    assert nobody_has_work(store)


def test_a_batch_cancelled_while_it_is_made_gets_no_more_rows(store: JobStore) -> None:
    parent = batch(store)
    lease = light(store)
    store.rows.add(lease, 0, new())
    assert store.jobs.cancel(parent.id, "ann").cancel_requested
    assert stand(store, parent) == RowCounts(3, 2, 0, 0, 0, 0, 3)
    assert store.rows.add(lease, 1, new()) is False
    store.leases.stop(lease)
    assert store.jobs.get(parent.id).state is State.CANCELLED
    assert stand(store, parent) == RowCounts(3, 2, 0, 0, 0, 0, 3)


def test_no_row_comes_after_a_cancel_however_they_race(store: JobStore) -> None:
    for _ in range(10):
        parent = batch(store, rows=40)
        lease = light(store)
        start, after = threading.Barrier(2), threading.Event()
        late: list[int] = []

        def make(
            lease: Lease = lease,
            start: threading.Barrier = start,
            after: threading.Event = after,
            late: list[int] = late,
        ) -> None:
            start.wait()
            for row in range(40):
                known = after.is_set()
                if store.rows.add(lease, row, new()) and known:
                    late.append(row)

        maker = threading.Thread(target=make)
        maker.start()
        start.wait()
        time.sleep(0.005)
        store.jobs.cancel(parent.id, "ann")
        after.set()
        maker.join()
        assert not late
        assert {row.state for row in store.rows.of_batch(parent.id)} <= {State.CANCELLED}
        store.leases.stop(lease)


@pytest.mark.parametrize("end", ["fail", "worker_lost"])
def test_a_batch_that_fails_takes_its_rows_along(store: JobStore, end: str) -> None:
    parent = batch(store)
    lease = light(store, now=0)
    store.rows.add(lease, 0, new(), now=0)
    store.rows.add(lease, 1, new(), now=0)
    running = take(store, now=0)
    if end == "fail":
        store.leases.fail(lease, "engine_failed", "x")
    else:
        for _ in range(2):
            store.leases.abandon("light")
            light(store, now=0)
        store.leases.abandon("light")
    assert store.jobs.get(parent.id).state is State.FAILED
    assert stand(store, parent) == RowCounts(3, 1, 0, 1, 0, 0, 2)
    assert store.leases.renew(running, Progress()) is True


def test_no_row_of_a_failed_batch_waits_on_where_all_leases_are_lost_at_once(store: JobStore) -> None:
    parent = batch(store)
    lease = light(store, now=0)
    store.rows.add(lease, 0, new(), now=0)
    running = take(store, now=0)
    for _ in range(2):
        store.leases.abandon("light")
        light(store, now=0)
    assert store.leases.expire(now=1000) == 2
    assert store.jobs.get(parent.id).state is State.FAILED
    assert store.jobs.get(running.job.id).state is State.CANCELLED


def test_a_row_that_came_through_gives_the_batch_new_attempts(store: JobStore) -> None:
    parent = batch(store, rows=9)
    for row in range(5):
        for _ in range(2):
            light(store)
            store.leases.abandon("light")
        lease = light(store)
        assert lease.job.attempt == 3
        store.rows.add(lease, row, new())
        store.leases.release(lease)
        assert (store.jobs.get(parent.id).state, store.jobs.get(parent.id).attempt) == (State.QUEUED, 0)


def test_rows_are_tried_again_like_any_job(store: JobStore) -> None:
    parent = made(store, 1)
    for _ in range(3):
        take(store)
        store.leases.abandon("w1")
    [row] = store.rows.of_batch(parent.id)
    assert (row.state, row.error_code, row.attempt) == (State.FAILED, "worker_lost", 3)
    assert light(store).job.id == parent.id


def test_a_job_of_the_same_owner_waits_for_one_row(store: JobStore) -> None:
    made(store, 20, now=0)
    other = made(store, 20, now=1)
    for number in range(6):
        paint(store, now=50 + number)
    mine = submit(store, now=60)
    assert store.jobs.tags([mine.id])[mine.id].place == 1
    assert take(store, now=61).job.id == mine.id
    two = [submit(store, now=62).id for _ in range(2)]
    order = [take(store, now=63 + number).job for number in range(4)]
    assert [job.id in two for job in order] == [False, True, False, True]
    assert other.id in {job.parent_id for job in order} | {job.parent_id for job in store.rows.of_batch(other.id)}


def test_batches_of_one_owner_take_turns_and_so_do_owners(store: JobStore) -> None:
    first, second = made(store, 4, now=1), made(store, 4, now=2)
    parents = [paint(store, now=10 + number)[0].parent_id for number in range(8)]
    assert parents == [first.id, second.id] * 4
    made(store, 4, "ann", now=30)
    made(store, 4, "bob", now=31)
    owners = [paint(store, now=40 + number)[0].owner for number in range(8)]
    assert owners == ["bob", "ann"] * 4


def test_rows_need_no_room_in_the_queue(store: JobStore) -> None:
    made(store, 20)
    store.jobs.check_room(1, new())
    assert store.jobs.submit(new(), queue_limit=1)[1] is Submitted.ADDED
    with pytest.raises(StudioError) as caught:
        store.jobs.submit(new(), queue_limit=1)
    assert caught.value.code == "queue_full"


@contextmanager
def counting_work(store: JobStore) -> Iterator[list[int]]:
    """Count what SQLite does within the block, in thousands of instructions of its virtual machine."""
    thousands = [0]

    def count() -> int:
        thousands[0] += 1
        return 0

    def begin(connection: Connection) -> None:
        connection.connection.driver_connection.set_progress_handler(count, 1000)  # type: ignore[union-attr]

    event.listen(store.database.engine, "engine_connect", begin)
    yield thousands
    event.remove(store.database.engine, "engine_connect", begin)


@sqlite_alone("the work of its virtual machine; `make bench-queue` measures both")
def test_the_queue_is_ranked_quickly_however_long_the_past(store: JobStore) -> None:
    served = {column.name: 0 for column in jobs.columns if not column.nullable} | {
        "state": "succeeded",
        "model": "small",
    }
    past = [served | {"seq": n, "id": f"old_{n}", "owner": "ann", "claimed_at": n} for n in range(1, 30_001)]
    with store.database.writing() as connection:
        connection.execute(jobs.insert(), past)
    for number in range(3):
        made(store, 120, now=40_000 + number)
        submit(store, now=40_000)
    with counting_work(store) as thousands:
        paint(store, 5, now=60_000)
    assert thousands[0] / 5 < 1000  # 344; looked up for each waiting job it is 26,500


def test_a_batch_is_given_out_again_when_few_of_its_rows_are_open(store: JobStore) -> None:
    parent = batch(store, rows=100)
    lease = light(store)
    for row in range(FEW_ROWS):
        store.rows.add(lease, row, new())
    store.leases.release(lease)
    assert nobody_has_work(store)
    paint(store)
    assert light(store).job.id == parent.id


def test_many_long_batches_leave_the_queue_short(store: JobStore) -> None:
    count = 200
    row: dict[str, Any] = {column.name: 0 for column in jobs.columns if not column.nullable}
    row |= {"owner": "ann", "state": "queued", "model": "small", "lane": Lane.PAINT, "inputs": [], "warnings": []}
    row |= {"parent_id": None, "row": None, "rows": None}
    del row["seq"]
    parents = [
        row | {"id": f"b{n}", "party": f"b{n}", "model": "", "lane": Lane.LIGHT, "rows": 510} for n in range(count)
    ]
    rows = [
        row
        | {"id": f"b{n}r{k}", "parent_id": f"b{n}", "party": f"b{n}", "row": k}
        | {"state": "succeeded" if k < 480 else "queued"}
        for n in range(count)
        for k in range(480 + OPEN_ROWS)
    ]
    with store.database.writing() as connection:
        connection.execute(jobs.insert(), parents)
        connection.execute(jobs.insert(), rows)
    assert nobody_has_work(store)  # no more rows, however many are missing
    assert take(store).job.id == "b0r480"
    assert store.jobs.tags(["b1r480"])["b1r480"].place == 1


def test_a_batch_whose_rows_are_all_refused_holds_up_no_other(store: JobStore) -> None:
    first, second = batch(store, 10), batch(store, 10)
    served = []
    for number in range(20):
        lease = light(store, now=100.0 + number)
        served.append(lease.job.id)
        made_before = 10 - stand(store, lease.job).missing
        store.rows.add(lease, made_before, new(), ("image_not_found", "There is none."))
        store.leases.release(lease)
    assert served == [first.id, second.id] * 10


def test_deleting_what_was_painted_earns_no_turn(store: JobStore) -> None:
    now, order = 1.0, ""
    for owner in ("ann", "bob", "cid") * 2:
        submit(store, owner, now=now)
    for _ in range(12):
        now += 10
        lease = store.leases.claim("w1", Lane.PAINT, ["small"], now=now)
        assert lease is not None
        owner = lease.job.owner
        store.leases.finish(lease, [], [], now=now)
        if owner == "ann":
            store.forgetting.forget_job(lease.job.id, owner)
        submit(store, owner, now=now)
        order += owner[0]
    assert order == "abc" * 4


@pytest.mark.parametrize("owners", [("ann", "bob"), ("ann", "ann")])
def test_batches_of_two_models_do_not_swap_them_at_each_row(store: JobStore, owners: tuple[str, str]) -> None:
    for owner, model in zip(owners, "XY", strict=True):
        batch(store, 20, owner, now=1)
        lease = light(store, now=1)
        for row in range(20):
            store.rows.add(lease, row, new(owner, model=model), now=1)
        store.leases.release(lease)
    now, loaded, painted, waited = 5.0, "X", "", {"X": 1.0, "Y": 1.0}
    longest = 0.0
    while lease := store.leases.claim("w1", Lane.PAINT, ["X", "Y"], variant_of(loaded), now=now):  # type: ignore[assignment]
        loaded = lease.job.model
        longest = max(longest, now - waited[loaded])
        now += 10
        waited[loaded] = now
        store.leases.finish(lease, [], [], now=now)
        painted += loaded
    assert sorted(painted) == ["X"] * 20 + ["Y"] * 20
    assert sum(one != other for one, other in itertools.pairwise(painted)) <= 14
    assert longest <= 20 + 10  # the patience, and the row in hand


def test_one_owner_who_never_stops_asking_for_a_model_starves_no_job_of_another(store: JobStore) -> None:
    wanted, now = submit(store, model="Y", now=1), 2.0
    for _ in range(5):
        submit(store, model="X", now=now)
        submit(store, model="X", now=now)
        lease = store.leases.claim("w1", Lane.PAINT, ["X", "Y"], variant_of("X"), now=now)
        assert lease is not None
        if lease.job.id == wanted.id:
            return
        now += 10
        store.leases.finish(lease, [], [], now=now)
    raise AssertionError("starved")


def test_only_a_young_image_that_no_job_uses_is_forgotten(store: JobStore) -> None:
    done = submit(store)
    lease = take(store)
    its = picture(done)
    store.leases.finish(lease, [its], [], now=50)
    for name, at in (("img_old", 10.0), ("img_used", 50.0), ("img_new", 50.0)):
        store.images.add(
            replace(its, id=name, job_id=None, created_at=at, key=f"{name}.png", thumbnail_key=f"{name}.webp")
        )
    submit(store, inputs=[its.id, "img_used"])
    for name in (its.id, "img_old", "img_used", "img_unknown"):
        assert store.forgetting.forget_upload(name, 40) == []
    assert store.forgetting.forget_upload("img_new", 40) == ["img_new.png", "img_new.webp"]
    with pytest.raises(StudioError):
        store.images.get("img_new")
    assert store.images.get("img_used").id == "img_used"


def test_batches_have_a_limit_of_their_own(store: JobStore) -> None:
    for _ in range(4):
        made(store)
    store.jobs.check_room(1, new(lane=Lane.LIGHT, model=""))  # an adjustment is not held up by those
    parent = NewJob(
        owner="ann", operation=Operation.BATCH, lane=Lane.LIGHT, model="", tier="quality", plan=PLAN, rows=3
    )
    for light_job in (new(lane=Lane.LIGHT, model=""), parent):
        store.jobs.submit(light_job, queue_limit=5)
    for limit, refused in ((5, parent), (1, new(lane=Lane.LIGHT, model=""))):
        with pytest.raises(StudioError) as caught:
            store.jobs.submit(refused, queue_limit=limit)
        assert (caught.value.code, caught.value.retry_after is not None) == ("queue_full", True)
        assert ("batches" in caught.value.message) is (refused is parent)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(["light", "hold", "paint", "lose", "break", "cancel", "cancel row", "late"]), max_size=40)
)
def test_every_batch_ends_and_counts_each_row_once(tmp_path_factory: pytest.TempPathFactory, acts: list[str]) -> None:
    """Whatever happens: rows are made once and in order, none after the end, and the batch ends last."""
    store = opened(tmp_path_factory.mktemp("law"))
    parent = batch(store, rows=4)
    stale: list[Lease] = []

    def go_on() -> bool:
        """One claim of the light worker, as server/batches.py uses it."""
        lease = store.leases.claim("light", Lane.LIGHT)
        if lease is None:
            return False
        stale.append(lease)
        missing = stand(store, parent).missing
        if not missing:
            store.leases.finish(lease, [picture(parent)], [])
        elif store.rows.add(lease, 4 - missing, new()):
            store.leases.release(lease)
        else:
            store.leases.stop(lease)
        return True

    def act(name: str) -> None:
        rows = store.rows.of_batch(parent.id)
        if name == "light":
            go_on()
        elif name == "hold":
            store.leases.claim("light", Lane.LIGHT)
        elif name == "late" and stale:
            with pytest.raises(LeaseLost):
                store.rows.add(stale[0], 3, new())
        elif name == "cancel row" and rows and not rows[-1].state.final:
            store.jobs.cancel(rows[-1].id, "ann")
        elif name == "cancel" and not store.jobs.get(parent.id).state.final:
            store.jobs.cancel(parent.id, "ann")
        elif name in {"paint", "lose", "break"} and (lease := store.leases.claim("w1", Lane.PAINT, ["small"])):
            if name == "paint":
                store.leases.finish(lease, [picture(lease.job)], [])
            elif name == "lose":
                store.leases.abandon("w1")
            else:
                store.leases.fail(lease, "engine_failed", "x")

    for name in acts:
        act(name)
        now = stand(store, parent)
        assert now.queued + now.running + now.ended == now.total == 4
        assert [row.row for row in store.rows.of_batch(parent.id)] == list(range(4 - now.missing))
        tag, job = store.jobs.tags([parent.id])[parent.id], store.jobs.get(parent.id)
        assert (tag.version, tag.place) == (job.version, None)
    store.leases.abandon("light")
    while True:
        if lease := store.leases.claim("w1", Lane.PAINT, ["small"]):
            store.leases.finish(lease, [picture(lease.job)], [])
        elif not go_on():
            break
    assert store.jobs.get(parent.id).state in {State.SUCCEEDED, State.CANCELLED}
    assert stand(store, parent).ended == 4


def test_a_database_of_the_first_revision_is_brought_up_to_date(tmp_path: Path) -> None:
    from alembic import command

    where = without_tables(Settings(data_dir=tmp_path))
    database = Database(where)
    with database.writing() as connection:
        command.upgrade(alembic_config(connection), "0001")
    kept = {
        "jobs": "(id, owner, operation, model, tier, state, plan, inputs, warnings, fingerprint, attempt, lease_token, "
        "cancel_requested, phase, step, steps, created_at, version) VALUES ('job_1', 'ann', 'generate', 'small', "
        "'quality', 'succeeded', :plan, '[]', '[]', 'f', 1, 1, FALSE, '', 0, 0, 5.0, 3)",
        "images": "(id, owner, job_id, number, key, thumbnail_key, width, height, mime_type, bytes, sha256, seed, "
        "created_at) VALUES ('img_1', 'ann', 'job_1', 0, 'k.png', 'k.webp', 8, 8, 'image/png', 10, '0', 7, 6.0)",
    }
    with database.writing() as connection:
        for table, row in kept.items():
            asked = {"plan": '{"prompt": "杯子"}'} if table == "jobs" else {}
            connection.execute(text(f"INSERT INTO {table} {row}"), asked)
    database.close()
    if runs_on_postgresql():  # where a command of its own does that
        open_database(where, "migrate").close()
    store = open_store(where)
    job = store.jobs.get("job_1", "ann")
    assert (job.state, job.rows, job.parent_id) == (State.SUCCEEDED, None, None)
    assert job.plan == {"prompt": "杯子", "kind": "paint", "way": "generate"}
    assert [image.id for image in store.images.of_jobs(["job_1"])["job_1"]] == ["img_1"]
    assert store.images.get("img_1", "ann").comparison_key is None
    assert [each.id for each in store.jobs.page("ann", limit=5, after=None, state=None)[0]] == ["job_1"]
    parent = made(store, 2)
    assert stand(store, parent).queued == 2
