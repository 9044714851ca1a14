"""Several hosts on one job store: each judges its own workers alone, and jobs wait for those of others."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.contract.words import LIGHT_DEVICE, Lane, Operation, State, WorkerState
from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.gallery.pruning import Pruned, prune
from qwen_image_studio.host.checks import check_models_named
from qwen_image_studio.host.supervise import Supervisor, forget_workers
from qwen_image_studio.jobs import JobStore, NewJob, WorkerReport
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.seats import holding
from qwen_image_studio.web.health import health_now
from qwen_image_studio.worker.unserved import Unserved
from tests.support.database import runs_on_postgresql, with_tables


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of one host, which waits for nobody."""
    asked: dict[str, Any] = {"devices": "cpu", "models": "miniature", "worker_name": "here", "unserved_s": 0}
    return with_tables(Settings(_env_file=None, data_dir=tmp_path, **asked))


@pytest.fixture
def store(settings: Settings) -> Iterator[JobStore]:
    """The job store of all hosts."""
    with open_store(settings) as store:
        yield store


@pytest.fixture
def report(store: JobStore) -> Callable[..., None]:
    """Have a worker of another host report."""

    def report(model: str, state: WorkerState = WorkerState.READY, age: float = 0, name: str = "far/cuda:0/1") -> None:
        offers: dict[str, Any] = {"models": {model: {}}}
        device = name.split("/")[1]
        store.workers.note(WorkerReport(name, device, state, None, "", time.time() - age, host="far", offers=offers))

    return report


def submit(store: JobStore, model: str, now: float | None = None) -> str:
    asked = NewJob("ann", Operation.GENERATE, Lane.PAINT, model, "quality", {}, variant=f"{model}/bf16/quality")
    return store.jobs.submit(asked, queue_limit=200, now=now)[0].id


def test_a_host_that_starts_forgets_its_own_workers_that_have_ended_and_no_others(
    settings: Settings, store: JobStore, report: Callable[..., None]
) -> None:
    report("Qwen-Image")
    report("miniature", name="here/cpu/1")
    report("miniature", name="here/cuda:1/2")
    report("miniature", name="here/cpu/of-another-container", age=1)
    for device, name in (("cpu", "here/cpu/1"), ("cuda:1", "here/cuda:1/2")):
        with holding(settings.data_dir, device, name):
            pass
    with holding(settings.data_dir, LIGHT_DEVICE, "here/light/3"):  # somebody started it by hand
        report("", name="here/light/3")
        forget_workers(settings, store)
    names = [worker.name for worker in store.workers.all()]
    assert names == ["far/cuda:0/1", "here/cpu/of-another-container", "here/light/3"]


def test_a_host_that_starts_leaves_others_and_what_they_serve_alone(
    settings: Settings, store: JobStore, report: Callable[..., None]
) -> None:
    """Fault I: it forgot their workers, and failed what waits for them."""
    report("Qwen-Image")
    waiting = submit(store, "Qwen-Image")
    supervisor = Supervisor(settings, store, configured_models(settings, card_gib=0))
    own = {child.worker for child in supervisor.children if child.worker}
    assert {worker.name for worker in store.workers.all()} == {"far/cuda:0/1", *own}
    assert all(name.startswith("here/") for name in own)
    Unserved(store, settings).look()
    assert store.jobs.get(waiting).state is State.QUEUED
    health = health_now(store, settings)
    assert [(worker.host, worker.device) for worker in health.workers] == [
        ("far", "cuda:0"), ("here", "cpu"), ("here", "light")
    ]  # fmt: skip


@pytest.mark.parametrize("state", [WorkerState.STARTING, WorkerState.FAILED, WorkerState.LOST, WorkerState.BUSY])
def test_a_job_waits_for_a_worker_that_was_seen_lately_whatever_its_state(
    settings: Settings, store: JobStore, report: Callable[..., None], state: WorkerState
) -> None:
    report("Qwen-Image", state, age=5)
    waiting = submit(store, "Qwen-Image")
    Unserved(store, settings).look()
    assert store.jobs.get(waiting).state is State.QUEUED


def test_a_job_for_a_model_that_nobody_offers_fails_after_the_time_of_grace(
    settings: Settings, store: JobStore, report: Callable[..., None]
) -> None:
    report("miniature")
    report("Qwen-Image", age=301, name="gone/cuda:0/2")
    patient = settings.model_copy(update={"unserved_s": 300})
    old, served = submit(store, "Qwen-Image", now=time.time() - 301), submit(store, "miniature", now=time.time() - 301)
    fresh = submit(store, "Qwen-Image")
    Unserved(store, patient).look()
    assert store.jobs.get(old).state is State.QUEUED, "whoever has just started to look knows nothing of before"
    watch = Unserved(store, settings)
    assert set(store.leases.waited_for(300)) == {"Qwen-Image", "miniature"}
    watch.look()
    failed = store.jobs.get(old)
    assert (failed.state, failed.error_code) == (State.FAILED, "model_unavailable")
    assert "No worker that paints Qwen-Image" in (failed.error_message or "")
    assert store.jobs.get(served).state is State.QUEUED
    assert store.jobs.get(fresh).state is State.FAILED, "this watch has no grace"


def test_the_time_of_grace_is_each_jobs_own(store: JobStore) -> None:
    old, fresh = submit(store, "Qwen-Image", now=time.time() - 301), submit(store, "Qwen-Image")
    assert store.leases.refuse_waiting(["Qwen-Image"], 300) == 1
    assert [store.jobs.get(job_id).state for job_id in (old, fresh)] == [State.FAILED, State.QUEUED]


def test_a_worker_that_does_not_say_what_it_offers_may_offer_anything(settings: Settings, store: JobStore) -> None:
    """An earlier version's, while hosts are brought up to date one by one."""
    store.workers.note(WorkerReport("old/cpu", "cpu", WorkerState.READY, None, "", time.time()))
    waiting = submit(store, "Qwen-Image")
    Unserved(store, settings).look()
    assert store.jobs.get(waiting).state is State.QUEUED


def test_a_host_that_paints_nothing_has_to_be_told_what_others_paint(settings: Settings, store: JobStore) -> None:
    check_models_named(settings, store.database)
    unnamed = settings.model_copy(update={"models": ()})
    if not runs_on_postgresql():  # it is one host, which paints
        check_models_named(unnamed, store.database)
        return
    with pytest.raises(CannotServe, match="STUDIO_MODELS is empty"):
        check_models_named(unnamed, store.database)


def test_two_light_workers_may_prune_at_once(settings: Settings, store: JobStore) -> None:
    ids = [submit(store, "miniature", now=float(number)) for number in range(40)]
    for job_id in ids:
        store.jobs.cancel(job_id, "ann", now=100.0)

    def prune_all(_: int) -> Pruned:
        with open_store(settings) as own:
            return prune(open_gallery(settings, own), own, settings, 1.0, dry_run=False)

    with ThreadPoolExecutor(3) as threads:
        pruned = list(threads.map(prune_all, range(3)))
    assert sum(each.jobs for each in pruned) == len(ids)
    assert store.jobs.page("ann", limit=50, after=None, state=None) == ([], False)
