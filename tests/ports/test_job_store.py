"""What every job store promises, run against each adapter; and its law, walked through by a state machine."""

import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event

from qwen_image_studio.contract.errors import LeaseLost, StudioError
from qwen_image_studio.contract.words import Lane, Operation, Precision, State, Tier, WorkerState
from qwen_image_studio.jobs import (
    Job,
    JobStore,
    Lease,
    NewJob,
    Progress,
    StoredImage,
    Submitted,
    WorkerReport,
)
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.planning.plan import Variant
from qwen_image_studio.settings import Settings
from tests.support.database import sqlite_alone, with_tables

LIMIT = 50


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    """A store with nothing in it."""
    return open_store(with_tables(Settings(data_dir=tmp_path, lease_s=10, max_attempts=2, affinity_patience_s=20)))


def new(owner: str = "ann", **changes: Any) -> NewJob:
    """A job to submit."""
    fields: dict[str, Any] = {"model": "small", "lane": Lane.PAINT, "plan": {"prompt": "杯子"}, "fingerprint": "f"}
    asked = {**fields, **changes}
    if asked["lane"] is Lane.PAINT:
        variant = variant_of(asked["model"])
        asked = {"variant": str(variant), "weights": variant.weights, **asked}
    return NewJob(owner=owner, operation=Operation.GENERATE, tier="quality", **asked)


def variant_of(model: str, tier: Tier = Tier.QUALITY) -> Variant:
    """What has to be loaded for a model at a tier."""
    return Variant(model, tier, Precision.BF16)


def submit(store: JobStore, owner: str = "ann", now: float | None = None, **changes: Any) -> Job:
    return store.jobs.submit(new(owner, **changes), queue_limit=LIMIT, now=now)[0]


def claim(store: JobStore, now: float | None = None, loaded: str | None = None, worker: str = "w1") -> Lease:
    lease = store.leases.claim(worker, Lane.PAINT, ["small", "large"], variant_of(loaded) if loaded else None, now=now)
    assert lease is not None
    return lease


def picture(job: Job, number: int = 0) -> StoredImage:
    return StoredImage(
        id=f"img_{job.id}_{number}", owner=job.owner, key=f"k{number}.png", thumbnail_key=f"k{number}.webp", width=8,
        height=8, mime_type="image/png", bytes=10, sha256="0" * 64, job_id=job.id, number=number, seed=2**32 - 1,
    )  # fmt: skip


def test_a_job_goes_from_queued_to_succeeded(store: JobStore) -> None:
    job = submit(store, warnings=["old"])
    assert (job.state, job.attempt, job.plan) == (State.QUEUED, 0, {"prompt": "杯子"})
    lease = claim(store)
    assert (lease.job.id, lease.job.state, lease.job.attempt) == (job.id, State.RUNNING, 1)
    assert store.leases.renew(lease, Progress("denoising", 3, 20)) is False
    assert store.jobs.get(job.id).progress == Progress("denoising", 3, 20)
    assert store.leases.finish(lease, [picture(job, 1), picture(job, 0)], ["new"]) is State.SUCCEEDED
    ended = store.jobs.get(job.id)
    assert (ended.state, ended.warnings, ended.leased_by) == (State.SUCCEEDED, ("new",), None)
    assert [image.number for image in store.images.of_jobs([job.id])[job.id]] == [0, 1]
    assert store.images.get(f"img_{job.id}_0").seed == 2**32 - 1
    assert store.leases.claim("w1", Lane.PAINT, ["small"], None) is None


def test_each_change_gives_a_new_tag(store: JobStore) -> None:
    job = submit(store)
    seen = [store.jobs.tags([job.id])[job.id]]
    lease = claim(store)
    seen.append(store.jobs.tags([job.id])[job.id])
    store.leases.renew(lease, Progress("denoising", 1, 2))
    seen.append(store.jobs.tags([job.id])[job.id])
    store.leases.finish(lease, [], [])
    seen.append(store.jobs.tags([job.id])[job.id])
    assert len(set(seen)) == 4
    assert store.jobs.tags(["job_unknown"]) == {}


def test_the_same_key_gives_the_same_job(store: JobStore) -> None:
    first, how = store.jobs.submit(new(idempotency_key="k"), queue_limit=LIMIT)
    again, how_again = store.jobs.submit(new(idempotency_key="k"), queue_limit=LIMIT)
    assert (how, how_again, again.id) == (Submitted.ADDED, Submitted.REPLAYED, first.id)
    other, how_other = store.jobs.submit(new("bob", idempotency_key="k"), queue_limit=LIMIT)
    assert how_other is Submitted.ADDED
    assert other.id != first.id
    with pytest.raises(StudioError) as caught:
        store.jobs.submit(new(idempotency_key="k", fingerprint="g"), queue_limit=LIMIT)
    assert caught.value.code == "idempotency_key_reused"
    assert store.jobs.counts() == (2, 0)


def test_twenty_at_once_with_one_key_make_one_job(store: JobStore) -> None:
    ids: list[str] = []
    start = threading.Barrier(20)

    def send() -> None:
        start.wait()
        ids.append(store.jobs.submit(new(idempotency_key="k"), queue_limit=LIMIT)[0].id)

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 20
    assert len(set(ids)) == 1
    assert store.jobs.counts() == (1, 0)


def test_many_workers_never_share_a_job(store: JobStore) -> None:
    wanted = {submit(store).id for _ in range(30)}
    claimed: list[str] = []

    def work(name: str) -> None:
        while lease := store.leases.claim(name, Lane.PAINT, ["small"], None):
            claimed.append(lease.job.id)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(wanted)


def test_a_full_queue_is_refused_and_a_replay_is_not(store: JobStore) -> None:
    first = store.jobs.submit(new(idempotency_key="k"), queue_limit=1)[0]
    with pytest.raises(StudioError) as caught:
        store.jobs.submit(new(), queue_limit=1)
    assert (caught.value.code, caught.value.retry_after is not None) == ("queue_full", True)
    assert store.jobs.submit(new(idempotency_key="k"), queue_limit=1)[0].id == first.id


def test_an_expired_lease_is_another_attempt_and_the_old_one_can_do_nothing(store: JobStore) -> None:
    job = submit(store, now=0)
    old = claim(store, now=0)
    young = claim(store, now=11)
    assert (young.job.id, young.job.attempt) == (job.id, 2)
    for act in late_words(store, old):
        with pytest.raises(LeaseLost):
            act()
    assert store.jobs.get(job.id).state is State.RUNNING
    store.leases.finish(young, [picture(job)], [])
    for act in late_words(store, old):
        with pytest.raises(LeaseLost):
            act()
    assert store.jobs.get(job.id).state is State.SUCCEEDED


def late_words(store: JobStore, lease: Lease) -> list[Callable[[], object]]:
    """Everything that a worker can say with a lease."""
    return [
        lambda: store.leases.renew(lease, Progress()),
        lambda: store.leases.finish(lease, [], []),
        lambda: store.leases.fail(lease, "engine_failed", "x"),
        lambda: store.leases.stop(lease),
        lambda: store.leases.release(lease),
    ]


def test_renewing_keeps_the_lease(store: JobStore) -> None:
    submit(store, now=0)
    lease = claim(store, now=0)
    store.leases.renew(lease, Progress(), now=9)
    assert store.leases.expire(now=15) == 0
    assert store.leases.overdue(now=15) == []
    assert store.leases.overdue(now=20) == ["w1"]
    assert store.leases.expire(now=20) == 1


def test_the_last_attempt_fails_as_worker_lost(store: JobStore) -> None:
    job = submit(store, now=0)
    claim(store, now=0)
    claim(store, now=100)
    assert store.leases.claim("w1", Lane.PAINT, ["small"], None, now=200) is None
    ended = store.jobs.get(job.id)
    assert (ended.state, ended.error_code, ended.attempt) == (State.FAILED, "worker_lost", 2)


def test_a_dead_workers_jobs_come_back_at_once(store: JobStore) -> None:
    mine, other = submit(store), submit(store)
    claim(store, worker="w1")
    claim(store, worker="w2")
    assert store.leases.abandon("w1") == 1
    assert store.jobs.get(mine.id).state is State.QUEUED
    assert store.jobs.get(other.id).state is State.RUNNING


def test_a_released_attempt_does_not_count(store: JobStore) -> None:
    job = submit(store)
    for _ in range(5):
        store.leases.release(claim(store))
    assert (store.jobs.get(job.id).state, store.jobs.get(job.id).attempt) == (State.QUEUED, 0)


def test_cancel_queued_running_and_ended(store: JobStore) -> None:
    queued, running, ended = submit(store), submit(store), submit(store)
    assert store.jobs.cancel(queued.id, "ann").state is State.CANCELLED
    lease = claim(store)
    assert lease.job.id == running.id
    assert store.jobs.cancel(running.id, "ann").state is State.RUNNING
    assert store.jobs.cancel(running.id, "ann").state is State.RUNNING
    assert store.leases.renew(lease, Progress()) is True
    assert store.leases.finish(lease, [picture(running)], []) is State.CANCELLED
    assert store.images.of_jobs([running.id]) == {}
    assert store.jobs.cancel(running.id, "ann").state is State.CANCELLED
    store.leases.finish(claim(store), [picture(ended)], [])
    with pytest.raises(StudioError) as caught:
        store.jobs.cancel(ended.id, "ann")
    assert caught.value.code == "job_finished"
    assert store.jobs.get(ended.id).state is State.SUCCEEDED


@pytest.mark.parametrize("end", ["fail", "release", "abandon", "expire", "stop"])
def test_an_accepted_cancel_ends_cancelled_however_the_attempt_ends(store: JobStore, end: str) -> None:
    job = submit(store, now=0)
    lease = claim(store, now=0)
    store.jobs.cancel(job.id, "ann", now=1)
    ends: dict[str, Callable[[], object]] = {
        "fail": lambda: store.leases.fail(lease, "engine_failed", "x"),
        "release": lambda: store.leases.release(lease),
        "abandon": lambda: store.leases.abandon("w1"),
        "expire": lambda: store.leases.expire(now=99),
        "stop": lambda: store.leases.stop(lease),
    }
    ends[end]()
    ended = store.jobs.get(job.id)
    assert (ended.state, ended.error_code, ended.finished_at is not None) == (State.CANCELLED, None, True)


def test_what_is_anothers_is_not_found(store: JobStore) -> None:
    job = submit(store)
    store.leases.finish(claim(store), [picture(job)], [])
    for act in (
        lambda: store.jobs.get(job.id, "bob"),
        lambda: store.jobs.cancel(job.id, "bob"),
        lambda: store.images.get(f"img_{job.id}_0", "bob"),
        lambda: store.jobs.page("bob", limit=5, after=job.id, state=None),
        lambda: store.jobs.get("job_unknown"),
    ):
        with pytest.raises(StudioError) as caught:
            act()
        assert caught.value.code == "not_found"
    assert store.jobs.page("bob", limit=5, after=None, state=None) == ([], False)


def test_pages_go_back_in_time(store: JobStore) -> None:
    ids = [submit(store).id for _ in range(5)]
    first, more = store.jobs.page("ann", limit=2, after=None, state=None)
    assert ([job.id for job in first], more) == (ids[:2:-1], True)
    rest, more = store.jobs.page("ann", limit=3, after=first[-1].id, state=None)
    assert ([job.id for job in rest], more) == (ids[2::-1], False)
    assert store.jobs.page("ann", limit=3, after=None, state=State.FAILED) == ([], False)


def test_owners_take_turns_and_positions_say_so(store: JobStore) -> None:
    flood = [submit(store, "ann", now=number) for number in range(4)]
    late = [submit(store, "bob", now=10 + number) for number in range(2)]
    expected = [flood[0], late[0], flood[1], late[1], flood[2], flood[3]]
    tags = store.jobs.tags([job.id for job in expected])
    assert [tags[job.id].place for job in expected] == [1, 2, 3, 4, 5, 6]
    for number, job in enumerate(expected):
        lease = claim(store, now=100 + number)
        assert lease.job.id == job.id
        store.leases.finish(lease, [], [], now=100.5 + number)


def test_a_newcomer_waits_for_one_job_at_most(store: JobStore) -> None:
    for number in range(20):
        submit(store, "ann", now=number)
    for number in range(5):
        store.leases.finish(claim(store, now=50 + number), [], [])
    submit(store, "bob", now=60)
    assert claim(store, now=61).job.owner == "bob"


def test_the_loaded_model_goes_first_until_others_have_waited(store: JobStore) -> None:
    large = submit(store, model="large", now=0)
    small = submit(store, "bob", now=1)
    assert claim(store, now=10, loaded="small").job.id == small.id
    submit(store, "bob", now=11)
    assert claim(store, now=25, loaded="small").job.id == large.id


def test_the_loaded_variant_goes_first_and_then_the_same_weights(store: JobStore) -> None:
    def wait_for(owner: str, variant: Variant) -> str:
        return submit(store, owner, now=1, model=variant.model, variant=str(variant), weights=variant.weights).id

    quick = replace(variant_of("small"), tier=Tier.TURBO)
    other, turbo, quality = (
        wait_for("ann", variant_of("large")),
        wait_for("bob", quick),
        wait_for("cid", variant_of("small")),
    )
    assert claim(store, now=2, loaded="small").job.id == quality
    assert claim(store, now=3, loaded="small").job.id == turbo
    assert claim(store, now=4, loaded="small").job.id == other


def test_only_offered_models_are_claimed(store: JobStore) -> None:
    submit(store, model="other")
    assert store.leases.claim("w1", Lane.PAINT, ["small"], None) is None


def test_waiting_jobs_of_a_model_that_is_gone_end(store: JobStore) -> None:
    gone, kept, running = submit(store, model="gone"), submit(store), submit(store, model="large")
    assert store.leases.claim("w1", Lane.PAINT, ["large"], None) is not None
    assert store.leases.refuse_unserved(["small"]) == 1
    ended = store.jobs.get(gone.id)
    assert (ended.state, ended.error_code) == (State.FAILED, "model_unavailable")
    assert "gone" in (ended.error_message or "")
    assert (store.jobs.get(kept.id).state, store.jobs.get(running.id).state) == (State.QUEUED, State.RUNNING)


def test_workers_are_forgotten_by_name(store: JobStore) -> None:
    for name in ("h/cpu/1", "h/cuda:0/2"):
        store.workers.note(WorkerReport(name, name.split("/")[1], WorkerState.READY, None, "", 1.0, host="h"))
    store.workers.forget(["h/cpu/1"])
    assert [worker.name for worker in store.workers.all()] == ["h/cuda:0/2"]


def test_workers_that_were_silent_for_long_are_forgotten_but_for_the_last_light_one(store: JobStore) -> None:
    for name, device, seen_at in (("a", "light", 1), ("b", "light", 2), ("c", "cpu", 2), ("d", "cpu", 9)):
        store.workers.note(WorkerReport(name, device, WorkerState.READY, None, "", seen_at))
    store.workers.forget_silent(before=5)
    assert [worker.name for worker in store.workers.all()] == ["b", "d"]


def test_reports_that_an_earlier_version_left_on_this_host_are_forgotten(store: JobStore) -> None:
    """Its workers were called HOST/DEVICE, and said nothing of their host."""
    for name, host in (("h/cpu", ""), ("h2/cpu", ""), ("h_/cpu", ""), ("h/cpu/1", "h")):
        store.workers.note(WorkerReport(name, "cpu", WorkerState.READY, None, "", 1.0, host=host))
    store.workers.forget_of_earlier_version("h")
    assert [worker.name for worker in store.workers.all()] == ["h/cpu/1", "h2/cpu", "h_/cpu"]


def test_workers_are_remembered_by_name(store: JobStore) -> None:
    store.workers.note(WorkerReport("h/cpu", "cpu", WorkerState.STARTING, None, "Loading.", 1.0))
    store.workers.note(WorkerReport("h/cpu", "cpu", WorkerState.READY, "small", "", 2.0))
    assert store.workers.all() == [WorkerReport("h/cpu", "cpu", WorkerState.READY, "small", "", 2.0)]


@sqlite_alone("its one lock")
def test_a_locked_database_is_told_as_busy(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submit(store)
    engine = store.database.engine
    engine.dispose()
    monkeypatch.setattr("qwen_image_studio.database.sqlite.BUSY_TIMEOUT_MS", 100)
    assert engine.url.database is not None
    blocker = sqlite3.connect(engine.url.database, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StudioError) as caught:
        submit(store, idempotency_key="k")
    assert (caught.value.code, caught.value.status, caught.value.retry_after) == ("database_busy", 503, 2)
    assert store.jobs.get(job.id).state is State.QUEUED  # reading goes on meanwhile
    blocker.execute("ROLLBACK")
    blocker.close()
    submit(store, idempotency_key="k")
    assert store.jobs.counts() == (2, 0)


@sqlite_alone("the disk is a server's own")
def test_a_full_disk_is_told_as_what_it_is(store: JobStore) -> None:
    job = submit(store)
    engine = store.database.engine
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1"))
    with pytest.raises(StudioError) as caught:
        submit(store, plan={"prompt": "x" * 500_000})
    assert (caught.value.code, caught.value.status) == ("storage_failed", 503)
    assert "full" in caught.value.message
    assert store.jobs.get(job.id).state is State.QUEUED


class Law(RuleBasedStateMachine):
    """Any call either raises its documented error or does what it says; what has ended never changes, and what has not
    is cancelled with the last of the submits that share it.
    """

    jobs = Bundle("jobs")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.ended: dict[str, Job] = {}
        self.cancelled: set[str] = set()
        self.submits: Counter[str] = Counter()

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.settings = with_tables(Settings(data_dir=Path(self.folder.name), lease_s=10, max_attempts=2))
        self.store = open_store(self.settings)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.database.engine.dispose()
            self.folder.cleanup()

    @rule(
        target=jobs,
        owner=st.sampled_from(["ann", "bob"]),
        key=st.none() | st.sampled_from("kl"),
        equal=st.sampled_from(["s", None]),
    )
    def submit(self, owner: str, key: str | None, equal: str | None) -> str:
        asked = new(owner, idempotency_key=key, share_key=equal)
        job, how = self.store.jobs.submit(asked, queue_limit=1000, now=self.now)
        assert job.owner == owner
        assert (how is Submitted.ADDED) == (job.id not in self.submits)
        assert how is not Submitted.SHARED or (equal is not None and not job.state.final and not job.cancel_requested)
        self.submits[job.id] += how is not Submitted.REPLAYED
        return job.id

    @rule(target=leases, worker=st.sampled_from(["w1", "w2"]), loaded=st.sampled_from([None, "small"]))
    def claim(self, worker: str, loaded: str | None) -> Lease | None:
        lease = self.store.leases.claim(
            worker, Lane.PAINT, ["small"], variant_of(loaded) if loaded else None, now=self.now
        )
        if lease is None:
            assert self.store.jobs.counts()[0] == 0
        else:
            assert lease.job.attempt <= 2
            assert lease.job.id not in self.ended
        return lease

    def holds(self, lease: Lease) -> bool:
        job = self.store.jobs.get(lease.job.id)
        return job.state is State.RUNNING and job.lease_token == lease.token

    @rule(lease=leases, word=st.sampled_from(["renew", "finish", "fail", "stop", "release"]))
    def speak(self, lease: Lease | None, word: str) -> None:
        if lease is None:
            return
        held, before = self.holds(lease), self.store.jobs.get(lease.job.id)
        words: dict[str, Callable[[], object]] = {
            "renew": lambda: self.store.leases.renew(lease, Progress("denoising", 1, 2), now=self.now),
            "finish": lambda: self.store.leases.finish(lease, [picture(lease.job)], [], now=self.now),
            "fail": lambda: self.store.leases.fail(lease, "engine_failed", "x", now=self.now),
            "stop": lambda: self.store.leases.stop(lease, now=self.now),
            "release": lambda: self.store.leases.release(lease, now=self.now),
        }
        if held:
            words[word]()
            after = self.store.jobs.get(lease.job.id)
            assert after.leased_until == self.now + 10 if word == "renew" else after != before
        else:
            with pytest.raises(LeaseLost):
                words[word]()
            assert self.store.jobs.get(lease.job.id) == before

    @rule(owner=st.sampled_from(["ann", "bob"]), key=st.none() | st.sampled_from("mn"))
    def cancel_an_equal_one(self, owner: str, key: str | None) -> None:
        for _ in range(2):
            job_id = self.submit(owner, key, "s")
        self.cancel(job_id)

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        before = self.store.jobs.get(job_id)
        if before.state in {State.SUCCEEDED, State.FAILED}:
            with pytest.raises(StudioError):
                self.store.jobs.cancel(job_id, before.owner, now=self.now)
        else:
            after = self.store.jobs.cancel(job_id, before.owner, now=self.now)
            was_over = before.cancel_requested or before.state is State.CANCELLED  # also by a worker that stopped
            self.submits[job_id] -= not was_over
            is_over = after.cancel_requested or after.state is State.CANCELLED
            assert is_over == (was_over or self.submits[job_id] == 0)
            if is_over:
                self.cancelled.add(job_id)

    @rule(seconds=st.sampled_from([1, 5, 11]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def worker_dies(self, worker: str) -> None:
        self.store.leases.abandon(worker, now=self.now)

    @rule()
    def restart(self) -> None:
        self.store.database.engine.dispose()
        self.store = open_store(self.settings)

    @invariant()
    def law_holds(self) -> None:
        if not hasattr(self, "store"):
            return
        seen = [*self.store.jobs.page("ann", limit=1000, after=None, state=None)[0]]
        seen += self.store.jobs.page("bob", limit=1000, after=None, state=None)[0]
        for job in seen:
            assert job.shared == self.submits[job.id]
            if job.id in self.ended:
                assert job == self.ended[job.id]
            if job.state.final:
                self.ended[job.id] = job
                assert job.id not in self.cancelled or job.state is State.CANCELLED
                assert len(self.store.images.of_jobs([job.id]).get(job.id, ())) == (job.state is State.SUCCEEDED)
            assert (job.leased_by is not None) == (job.state is State.RUNNING)


def test_law() -> None:
    run_state_machine_as_test(
        Law,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
