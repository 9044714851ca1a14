"""B10: what health says of workers that the supervisor has started, and of those that it starts again."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen_image_studio.contract.service import HealthState
from qwen_image_studio.contract.words import LIGHT_DEVICE, WorkerState
from qwen_image_studio.host.supervise import Child, Supervisor
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.health import health_now
from tests.support.database import with_tables
from tests.support.waiting import until

IMPORTS_FOR_LONG = [sys.executable, "-c", "import time; time.sleep(600)"]
DIES_AT_ONCE = [sys.executable, "-c", "raise SystemExit(3)"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a server with one worker that paints."""
    return with_tables(Settings(_env_file=None, data_dir=tmp_path, devices="cpu", models="miniature"))


@pytest.fixture
def store(settings: Settings) -> Iterator[JobStore]:
    """Its job store."""
    with open_store(settings) as store:
        yield store


@pytest.fixture
def supervisor(settings: Settings, store: JobStore) -> Iterator[Supervisor]:
    """A supervisor whose children have all been started, and never come to the end of their imports."""
    models = configured_models(settings, card_gib=0)
    supervisor = Supervisor(settings.model_copy(update={"shutdown_grace_s": 0}), store, models)
    for child in supervisor.children:
        child.command = IMPORTS_FOR_LONG
    supervisor.tend()
    yield supervisor
    supervisor.stop_children()


def painter(supervisor: Supervisor) -> Child:
    return next(child for child in supervisor.children if child.device == "cpu")


def reported(child: Child, store: JobStore, state: WorkerState, age: float) -> None:
    store.workers.note(WorkerReport(child.worker, child.device or "", state, None, "", time.time() - age))


def test_a_worker_that_imports_for_long_is_starting_and_not_lost(
    supervisor: Supervisor, store: JobStore, settings: Settings
) -> None:
    for age in (20, 60, 300):
        for child in supervisor.children:
            if child.device in {"cpu", LIGHT_DEVICE}:
                reported(child, store, WorkerState.STARTING, age)
        supervisor.tend()
        assert health_now(store, settings).state is HealthState.STARTING


def test_a_worker_that_was_killed_is_starting_again(
    supervisor: Supervisor, store: JobStore, settings: Settings
) -> None:
    reported(painter(supervisor), store, WorkerState.READY, 0)
    process = painter(supervisor).process
    assert process is not None
    process.kill()
    process.wait()
    supervisor.tend()
    health = health_now(store, settings)
    assert (health.state, health.message) == (
        HealthState.STARTING,
        "cpu: The worker ended with signal 9; it is started again.",
    )


def test_a_worker_that_keeps_dying_has_failed_until_it_reports(
    supervisor: Supervisor, store: JobStore, settings: Settings
) -> None:
    child = painter(supervisor)
    child.command = DIES_AT_ONCE
    assert child.process is not None
    child.process.kill()

    def worried() -> bool:
        supervisor.tend()
        return "keeps dying" in health_now(store, settings).message

    until(worried)
    child.command = IMPORTS_FOR_LONG

    def lives() -> bool:
        supervisor.tend()
        return child.process is not None and not child.died()

    until(lives)
    reported_by_the_supervisor = next(each for each in store.workers.all() if each.device == "cpu")
    store.workers.vouch(reported_by_the_supervisor, time.time() - 60)
    supervisor.tend()
    health = health_now(store, settings)
    assert health.state is HealthState.FAILED
    assert "keeps dying" in health.message


def test_a_worker_that_is_ready_and_silent_is_not_vouched_for(
    supervisor: Supervisor, store: JobStore, settings: Settings
) -> None:
    reported(painter(supervisor), store, WorkerState.READY, 60)
    supervisor.tend()
    assert health_now(store, settings).state is HealthState.FAILED


def test_a_worker_that_reports_nothing_while_others_do_is_ended(
    settings: Settings, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease may have run out and been taken back by a worker of any host, before this supervisor saw it."""
    monkeypatch.setattr("qwen_image_studio.host.supervise.SILENT_S", 0.0)
    hasty = settings.model_copy(update={"shutdown_grace_s": 0, "lease_s": 0.001})
    supervisor = Supervisor(hasty, store, configured_models(settings, card_gib=0))
    for child in supervisor.children:
        child.command = IMPORTS_FOR_LONG
    try:
        supervisor.tend()
        frozen = painter(supervisor)
        process = frozen.process
        assert process is not None
        for child in supervisor.children[1:]:
            reported(child, store, WorkerState.READY, 60)
        supervisor.tend()
        supervisor.tend()
        assert process.poll() is None, "nobody's reports are written: that proves nothing"
        reported(supervisor.children[1], store, WorkerState.READY, 0)
        supervisor.tend()  # from here on it is behind

        def is_ended() -> bool:
            supervisor.tend()
            return process.poll() is not None

        until(is_ended)
        assert not supervisor.children[1].died()
    finally:
        supervisor.stop_children()


def test_a_report_that_came_meanwhile_stays(store: JobStore) -> None:
    child = Child("worker cpu", [], "cpu", "h/cpu/1")
    reported(child, store, WorkerState.STARTING, 30)
    [old] = store.workers.all()
    reported(child, store, WorkerState.READY, 10)
    [newer] = store.workers.all()
    store.workers.vouch(old, time.time())
    assert store.workers.all() == [newer]
