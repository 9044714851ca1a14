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
from qwen_image_studio.database.connection import alembic_config, connect, writing
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
    state_shown,
)
from qwen_image_studio.jobs.opening import open_store
from qwen_image_studio.jobs.transitions import columns
from qwen_image_studio.settings import Settings
from tests.ports.test_job_store import LIMIT, new, picture, submit, variant_of
from tests.support.database import with_tables

PLAN = {"table": [], "seeds": [0], "output_format": "jpeg"}


def opened(folder: Path) -> JobStore:
    return open_store(with_tables(Settings(data_dir=folder, lease_s=10, max_attempts=3, affinity_patience_s=20)))


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> JobStore:
    """One store of each adapter."""
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
    return store.submit(parent, queue_limit=LIMIT, now=now)[0]


def take(store: JobStore, lane: Lane = Lane.PAINT, *, now: float | None = None, worker: str = "w1") -> Lease:
    lease = store.claim(worker, lane, ["small"], now=now)
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
        assert store.add_row(lease, row, new(owner), now=now)
    store.release(lease, now)
    return parent


def paint(store: JobStore, count: int = 1, now: float | None = None) -> list[Job]:
    """Let so many rows be painted."""
    done = []
    for _ in range(count):
        lease = take(store, now=now)
        store.finish(lease, [picture(lease.job)], [], now=now)
        done.append(lease.job)
    return done


def stand(store: JobStore, parent: Job) -> RowCounts:
    return store.rows([parent.id])[parent.id]


def nobody_has_work(store: JobStore) -> bool:
    return store.claim("light", Lane.LIGHT) is None


def test_a_batch_is_made_waited_for_and_gathered(store: JobStore) -> None:
    parent = batch(store)
    assert stand(store, parent) == RowCounts(3, 3, 3, 0, 0, 0, 0)
    lease = light(store)
    assert store.add_row(lease, 0, new(plan={"prompt": "a"}))
    store.release(lease)
    lease = light(store)  # rows are missing
    assert store.add_row(lease, 1, new(plan={"prompt": "b"}))
    assert store.add_row(lease, 2, new(plan={"prompt": "c"}))
    store.release(lease)
    assert nobody_has_work(store)
    rows = store.row_jobs(parent.id)
    assert [(row.parent_id, row.row, row.plan["prompt"]) for row in rows] == [
        (parent.id, number, letter) for number, letter in enumerate("abc")
    ]
    assert [job.id for job in paint(store, 2)] == [rows[0].id, rows[1].id]
    assert nobody_has_work(store)
    store.fail(take(store), "engine_failed", "x")
    assert stand(store, parent) == RowCounts(3, 0, 0, 0, 2, 1, 0)
    lease = light(store)
    assert (lease.job.id, lease.job.attempt) == (parent.id, 1)
    assert store.finish(lease, [picture(parent)], ["1 failed"]) is State.SUCCEEDED
    assert nobody_has_work(store)
    assert store.claim("w1", Lane.PAINT, ["small"]) is None


def test_a_row_is_added_once_and_by_the_lease_only(store: JobStore) -> None:
    parent = batch(store)
    old = light(store, now=time.time() - 100)
    assert store.add_row(old, 0, new(plan={"prompt": "first"}))
    young = light(store)
    with pytest.raises(LeaseLost):
        store.add_row(old, 1, new())
    assert store.add_row(young, 0, new(plan={"prompt": "second"}))
    assert [row.plan["prompt"] for row in store.row_jobs(parent.id)] == ["first"]
    store.finish(young, [], [])
    with pytest.raises(LeaseLost):
        store.add_row(young, 1, new())


def test_a_refused_row_has_failed_and_is_never_given_out(store: JobStore) -> None:
    parent = batch(store, rows=1)
    lease = light(store)
    store.add_row(lease, 0, new(), ("image_not_found", "There is none."))
    store.release(lease)
    assert store.claim("w1", Lane.PAINT, ["small"]) is None
    [row] = store.row_jobs(parent.id)
    assert (row.state, row.error_code, row.error_message) == (State.FAILED, "image_not_found", "There is none.")
    assert row.finished_at is not None
    assert light(store).job.id == parent.id


def test_each_change_of_a_row_is_news_of_its_batch(store: JobStore) -> None:
    parent = batch(store, rows=5)
    seen = [store.tags([parent.id])[parent.id]]

    def told(act: Callable[[], object]) -> None:
        act()
        seen.append(store.tags([parent.id])[parent.id])

    lease = light(store)
    told(lambda: store.add_row(lease, 0, new()))
    for row in range(1, 5):
        store.add_row(lease, row, new())
    told(lambda: store.release(lease))
    leases: list[Lease] = []
    told(lambda: leases.append(take(store)))
    store.renew(leases[0], Progress("denoising", 1, 2))
    assert store.tags([parent.id])[parent.id] == seen[-1], "a batch shows nothing of the steps of a row"
    told(lambda: store.finish(leases[0], [], []))
    told(lambda: store.fail(take(store), "engine_failed", "x"))
    told(lambda: store.release(take(store)))
    take(store, worker="w9")
    told(lambda: store.abandon("w9"))
    told(lambda: store.cancel(store.row_jobs(parent.id)[2].id, "ann"))
    told(lambda: store.refuse_unserved([]))
    assert len({tag.version for tag in seen}) == len(seen)
    assert stand(store, parent) == RowCounts(5, 0, 0, 0, 1, 3, 1)


def test_a_batch_has_no_place_in_the_queue_and_blocks_none(store: JobStore) -> None:
    parent = made(store)
    beside = submit(store, "bob", lane=Lane.LIGHT, model="")
    tags = store.tags([parent.id, beside.id])
    assert (tags[parent.id].position, tags[beside.id].position) == (None, 1)
    assert light(store).job.id == beside.id
    rows = store.row_jobs(parent.id)
    assert [store.tags([row.id])[row.id].position for row in rows] == [1, 2, 3]
    lease = take(store)
    assert store.tags([parent.id])[parent.id].position == 0
    store.finish(lease, [], [])
    assert store.tags([parent.id])[parent.id].position == 0
    assert store.counts() == (2, 1)


def test_the_state_that_is_listed_is_that_of_the_rows(store: JobStore) -> None:
    parent = made(store)

    def listed(state: State) -> list[str]:
        return [job.id for job in store.page("ann", limit=9, after=None, state=state)[0]]

    assert (listed(State.QUEUED), listed(State.RUNNING)) == ([parent.id], [])
    paint(store)
    assert (listed(State.QUEUED), listed(State.RUNNING)) == ([], [parent.id])
    paint(store, 2)
    lease = light(store)
    assert listed(State.RUNNING) == [parent.id]
    store.finish(lease, [], [])
    assert (listed(State.RUNNING), listed(State.SUCCEEDED)) == ([], [parent.id])


def test_a_batch_has_started_with_its_first_row(store: JobStore) -> None:
    parent = made(store, now=5)
    assert (stand(store, parent).started, stand(store, parent).started_at) == (False, None)
    paint(store, now=50)
    paint(store, now=60)
    assert (stand(store, parent).started, stand(store, parent).started_at) == (True, 50)


def test_pages_of_rows(store: JobStore) -> None:
    parent, other, alone = made(store, 5), made(store, 1), submit(store)
    assert [job.id for job in store.page("ann", limit=9, after=None, state=None)[0]] == [alone.id, other.id, parent.id]
    first, more = store.page("ann", limit=2, after=None, state=None, parent_id=parent.id)
    assert ([job.row for job in first], more) == ([0, 1], True)
    rest, more = store.page("ann", limit=9, after=first[-1].id, state=None, parent_id=parent.id)
    assert ([job.row for job in rest], more) == ([2, 3, 4], False)
    assert store.page("ann", limit=9, after=None, state=State.RUNNING, parent_id=parent.id)[0] == []
    wrong: list[dict[str, Any]] = [
        {"after": None, "parent_id": "job_unknown"},
        {"after": store.row_jobs(other.id)[0].id, "parent_id": parent.id},
        {"after": first[0].id},
        {"after": alone.id, "parent_id": parent.id},
    ]
    for query in wrong:
        with pytest.raises(StudioError) as caught:
            store.page("ann", limit=9, state=None, **query)
        assert caught.value.code == "not_found"
    with pytest.raises(StudioError) as caught:
        store.page("bob", limit=9, after=None, state=None, parent_id=parent.id)
    assert caught.value.code == "not_found"


def test_cancelling_a_batch_ends_what_waits_and_stops_what_runs(store: JobStore) -> None:
    parent = made(store, 4)
    [done] = paint(store)
    running = take(store)
    assert store.cancel(parent.id, "ann").state is State.CANCELLED
    assert stand(store, parent) == RowCounts(4, 0, 0, 1, 1, 0, 2)
    assert store.renew(running, Progress()) is True
    assert store.finish(running, [picture(running.job)], []) is State.CANCELLED
    assert stand(store, parent) == RowCounts(4, 0, 0, 0, 1, 0, 3)
    assert len(store.images([done.id])[done.id]) == 1
    assert store.claim("w1", Lane.PAINT, ["small"]) is None
    assert nobody_has_work(store)


def test_a_batch_cancelled_while_it_is_made_gets_no_more_rows(store: JobStore) -> None:
    parent = batch(store)
    lease = light(store)
    store.add_row(lease, 0, new())
    assert store.cancel(parent.id, "ann").cancel_requested
    assert stand(store, parent) == RowCounts(3, 2, 0, 0, 0, 0, 3)
    assert store.add_row(lease, 1, new()) is False
    store.stop(lease)
    assert store.get(parent.id).state is State.CANCELLED
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
                if store.add_row(lease, row, new()) and known:
                    late.append(row)

        maker = threading.Thread(target=make)
        maker.start()
        start.wait()
        time.sleep(0.005)
        store.cancel(parent.id, "ann")
        after.set()
        maker.join()
        assert not late
        assert {row.state for row in store.row_jobs(parent.id)} <= {State.CANCELLED}
        store.stop(lease)


@pytest.mark.parametrize("end", ["fail", "worker_lost"])
def test_a_batch_that_fails_takes_its_rows_along(store: JobStore, end: str) -> None:
    parent = batch(store)
    lease = light(store, now=0)
    store.add_row(lease, 0, new(), now=0)
    store.add_row(lease, 1, new(), now=0)
    running = take(store, now=0)
    if end == "fail":
        store.fail(lease, "engine_failed", "x")
    else:
        for _ in range(2):
            store.abandon("light")
            light(store, now=0)
        store.abandon("light")
    assert store.get(parent.id).state is State.FAILED
    assert stand(store, parent) == RowCounts(3, 1, 0, 1, 0, 0, 2)
    assert store.renew(running, Progress()) is True


def test_no_row_of_a_failed_batch_waits_on_where_all_leases_are_lost_at_once(store: JobStore) -> None:
    parent = batch(store)
    lease = light(store, now=0)
    store.add_row(lease, 0, new(), now=0)
    running = take(store, now=0)
    for _ in range(2):
        store.abandon("light")
        light(store, now=0)
    assert store.expire(now=1000) == 2
    assert store.get(parent.id).state is State.FAILED
    assert store.get(running.job.id).state is State.CANCELLED


def test_a_row_that_came_through_gives_the_batch_new_attempts(store: JobStore) -> None:
    parent = batch(store, rows=9)
    for row in range(5):
        for _ in range(2):
            light(store)
            store.abandon("light")
        lease = light(store)
        assert lease.job.attempt == 3
        store.add_row(lease, row, new())
        store.release(lease)
        assert (store.get(parent.id).state, store.get(parent.id).attempt) == (State.QUEUED, 0)


def test_rows_are_tried_again_like_any_job(store: JobStore) -> None:
    parent = made(store, 1)
    for _ in range(3):
        take(store)
        store.abandon("w1")
    [row] = store.row_jobs(parent.id)
    assert (row.state, row.error_code, row.attempt) == (State.FAILED, "worker_lost", 3)
    assert light(store).job.id == parent.id


def test_a_job_of_the_same_owner_waits_for_one_row(store: JobStore) -> None:
    made(store, 20, now=0)
    other = made(store, 20, now=1)
    for number in range(6):
        paint(store, now=50 + number)
    mine = submit(store, now=60)
    assert store.tags([mine.id])[mine.id].position == 1
    assert take(store, now=61).job.id == mine.id
    two = [submit(store, now=62).id for _ in range(2)]
    order = [take(store, now=63 + number).job for number in range(4)]
    assert [job.id in two for job in order] == [False, True, False, True]
    assert other.id in {job.parent_id for job in order} | {job.parent_id for job in store.row_jobs(other.id)}


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
    store.check_room(1, new())
    assert store.submit(new(), queue_limit=1)[1]
    with pytest.raises(StudioError) as caught:
        store.submit(new(), queue_limit=1)
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

    event.listen(store.engine, "engine_connect", begin)  # type: ignore[attr-defined]
    yield thousands
    event.remove(store.engine, "engine_connect", begin)  # type: ignore[attr-defined]


def test_the_queue_is_ranked_quickly_however_long_the_past(store: JobStore) -> None:
    served = {column.name: 0 for column in jobs.columns if not column.nullable} | {
        "state": "succeeded",
        "model": "small",
    }
    past = [served | {"seq": n, "id": f"old_{n}", "owner": "ann", "claimed_at": n} for n in range(1, 30_001)]
    with writing(store.engine) as connection:  # type: ignore[attr-defined]
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
        store.add_row(lease, row, new())
    store.release(lease)
    assert nobody_has_work(store)
    paint(store)
    assert light(store).job.id == parent.id


def test_many_long_batches_leave_the_queue_short(store: JobStore) -> None:
    count = 200
    row = columns(new(), 1.0) | {"attempt": 0, "lease_token": 0, "cancel_requested": False, "phase": "", "version": 1}
    row |= {"step": 0, "steps": 0, "parent_id": None, "row": None, "claimed_at": None}
    parents = [
        row | {"id": f"b{n}", "model": "", "lane": Lane.LIGHT, "operation": "batch", "rows": 510} for n in range(count)
    ]
    done = {"state": "succeeded", "claimed_at": 2.0}
    rows = [
        row | {"id": f"b{n}r{k}", "parent_id": f"b{n}", "row": k} | (done if k < 480 else {})
        for n in range(count)
        for k in range(480 + OPEN_ROWS)
    ]
    with writing(store.engine) as connection:  # type: ignore[attr-defined]
        connection.execute(jobs.insert(), parents)
        connection.execute(jobs.insert(), rows)
    assert nobody_has_work(store)  # no more rows, however many are missing
    assert take(store).job.id == "b0r480"
    assert store.tags(["b1r480"])["b1r480"].position == 1


def test_a_batch_whose_rows_are_all_refused_holds_up_no_other(store: JobStore) -> None:
    first, second = batch(store, 10), batch(store, 10)
    served = []
    for number in range(20):
        lease = light(store, now=100.0 + number)
        served.append(lease.job.id)
        made_before = 10 - stand(store, lease.job).missing
        store.add_row(lease, made_before, new(), ("image_not_found", "There is none."))
        store.release(lease)
    assert served == [first.id, second.id] * 10


def test_deleting_what_was_painted_earns_no_turn(store: JobStore) -> None:
    now, order = 1.0, ""
    for owner in ("ann", "bob", "cid") * 2:
        submit(store, owner, now=now)
    for _ in range(12):
        now += 10
        lease = store.claim("w1", Lane.PAINT, ["small"], now=now)
        assert lease is not None
        owner = lease.job.owner
        store.finish(lease, [], [], now=now)
        if owner == "ann":
            store.forget_job(lease.job.id, owner)
        submit(store, owner, now=now)
        order += owner[0]
    assert order == "abc" * 4


@pytest.mark.parametrize("owners", [("ann", "bob"), ("ann", "ann")])
def test_batches_of_two_models_do_not_swap_them_at_each_row(store: JobStore, owners: tuple[str, str]) -> None:
    for owner, model in zip(owners, "XY", strict=True):
        batch(store, 20, owner, now=1)
        lease = light(store, now=1)
        for row in range(20):
            store.add_row(lease, row, new(owner, model=model), now=1)
        store.release(lease)
    now, loaded, painted, waited = 5.0, "X", "", {"X": 1.0, "Y": 1.0}
    longest = 0.0
    while lease := store.claim("w1", Lane.PAINT, ["X", "Y"], variant_of(loaded), now=now):  # type: ignore[assignment]
        loaded = lease.job.model
        longest = max(longest, now - waited[loaded])
        now += 10
        waited[loaded] = now
        store.finish(lease, [], [], now=now)
        painted += loaded
    assert sorted(painted) == ["X"] * 20 + ["Y"] * 20
    assert sum(one != other for one, other in itertools.pairwise(painted)) <= 14
    assert longest <= 20 + 10  # the patience, and the row in hand


def test_one_owner_who_never_stops_asking_for_a_model_starves_no_job_of_another(store: JobStore) -> None:
    wanted, now = submit(store, model="Y", now=1), 2.0
    for _ in range(5):
        submit(store, model="X", now=now)
        submit(store, model="X", now=now)
        lease = store.claim("w1", Lane.PAINT, ["X", "Y"], variant_of("X"), now=now)
        assert lease is not None
        if lease.job.id == wanted.id:
            return
        now += 10
        store.finish(lease, [], [], now=now)
    raise AssertionError("starved")


def test_only_a_young_image_that_no_job_uses_is_forgotten(store: JobStore) -> None:
    done = submit(store)
    lease = take(store)
    its = picture(done)
    store.finish(lease, [its], [], now=50)
    for name, at in (("img_old", 10.0), ("img_used", 50.0), ("img_new", 50.0)):
        store.add_image(
            replace(its, id=name, job_id=None, created_at=at, key=f"{name}.png", thumbnail_key=f"{name}.webp")
        )
    submit(store, inputs=[its.id, "img_used"])
    for name in (its.id, "img_old", "img_used", "img_unknown"):
        assert store.forget_upload(name, 40) == []
    assert store.forget_upload("img_new", 40) == ["img_new.png", "img_new.webp"]
    with pytest.raises(StudioError):
        store.image("img_new")
    assert store.image("img_used").id == "img_used"


def test_batches_have_a_limit_of_their_own(store: JobStore) -> None:
    for _ in range(4):
        made(store)
    store.check_room(1, new(lane=Lane.LIGHT, model=""))  # an adjustment is not held up by those
    parent = NewJob(
        owner="ann", operation=Operation.BATCH, lane=Lane.LIGHT, model="", tier="quality", plan=PLAN, rows=3
    )
    for light_job in (new(lane=Lane.LIGHT, model=""), parent):
        store.submit(light_job, queue_limit=5)
    for limit, refused in ((5, parent), (1, new(lane=Lane.LIGHT, model=""))):
        with pytest.raises(StudioError) as caught:
            store.submit(refused, queue_limit=limit)
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
        lease = store.claim("light", Lane.LIGHT)
        if lease is None:
            return False
        stale.append(lease)
        missing = stand(store, parent).missing
        if not missing:
            store.finish(lease, [picture(parent)], [])
        elif store.add_row(lease, 4 - missing, new()):
            store.release(lease)
        else:
            store.stop(lease)
        return True

    def act(name: str) -> None:
        rows = store.row_jobs(parent.id)
        if name == "light":
            go_on()
        elif name == "hold":
            store.claim("light", Lane.LIGHT)
        elif name == "late" and stale:
            with pytest.raises(LeaseLost):
                store.add_row(stale[0], 3, new())
        elif name == "cancel row" and rows and not rows[-1].state.final:
            store.cancel(rows[-1].id, "ann")
        elif name == "cancel" and not store.get(parent.id).state.final:
            store.cancel(parent.id, "ann")
        elif name in {"paint", "lose", "break"} and (lease := store.claim("w1", Lane.PAINT, ["small"])):
            if name == "paint":
                store.finish(lease, [picture(lease.job)], [])
            elif name == "lose":
                store.abandon("w1")
            else:
                store.fail(lease, "engine_failed", "x")

    for name in acts:
        act(name)
        now = stand(store, parent)
        assert now.queued + now.running + now.ended == now.total == 4
        assert [row.row for row in store.row_jobs(parent.id)] == list(range(4 - now.missing))
        tag, job = store.tags([parent.id])[parent.id], store.get(parent.id)
        assert (tag.version, tag.position) == (job.version, 0 if state_shown(job, now) is State.RUNNING else None)
    store.abandon("light")
    while True:
        if lease := store.claim("w1", Lane.PAINT, ["small"]):
            store.finish(lease, [picture(lease.job)], [])
        elif not go_on():
            break
    assert store.get(parent.id).state in {State.SUCCEEDED, State.CANCELLED}
    assert stand(store, parent).ended == 4


def test_a_database_of_the_first_revision_is_brought_up_to_date(tmp_path: Path) -> None:
    from alembic import command

    where = Settings(data_dir=tmp_path)
    engine = connect(where.database)
    with writing(engine) as connection:
        command.upgrade(alembic_config(connection), "0001")
    kept = {
        "jobs": "(id, owner, operation, model, tier, state, plan, inputs, warnings, fingerprint, attempt, lease_token, "
        "cancel_requested, phase, step, steps, created_at, version) VALUES ('job_1', 'ann', 'generate', 'small', "
        "'quality', 'succeeded', :plan, '[]', '[]', 'f', 1, 1, 0, '', 0, 0, 5.0, 3)",
        "images": "(id, owner, job_id, number, key, thumbnail_key, width, height, mime_type, bytes, sha256, seed, "
        "created_at) VALUES ('img_1', 'ann', 'job_1', 0, 'k.png', 'k.webp', 8, 8, 'image/png', 10, '0', 7, 6.0)",
    }
    with writing(engine) as connection:
        for table, row in kept.items():
            asked = {"plan": '{"prompt": "杯子"}'} if table == "jobs" else {}
            connection.execute(text(f"INSERT INTO {table} {row}"), asked)
    engine.dispose()
    store = open_store(where)
    job = store.get("job_1", "ann")
    assert (job.state, job.rows, job.parent_id) == (State.SUCCEEDED, None, None)
    assert job.plan == {"prompt": "杯子", "kind": "paint", "way": "generate"}
    assert [image.id for image in store.images(["job_1"])["job_1"]] == ["img_1"]
    assert store.image("img_1", "ann").comparison_key is None
    assert [each.id for each in store.page("ann", limit=5, after=None, state=None)[0]] == ["job_1"]
    parent = made(store, 2)
    assert stand(store, parent).queued == 2
