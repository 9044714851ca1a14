"""A19: a job that waits beside a worker that is ready and idle is told of, with all that a claim depends on."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qwen_image_studio.contract.words import LIGHT_DEVICE, Lane, Operation, WorkerState
from qwen_image_studio.host.stalled import STALLED_S, StalledJobs
from qwen_image_studio.jobs import JobStore, NewJob, WorkerReport
from qwen_image_studio.jobs.news import work
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.seats import holding, worker_name
from tests.support import ROOT
from tests.support.database import with_tables
from tests.support.waiting import until

NOW = time.time()
DEVICES = {Lane.PAINT: "cpu", Lane.LIGHT: LIGHT_DEVICE}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    """A store with a job in each lane, which wait since a minute ago."""
    with open_store(with_tables(Settings(_env_file=None, data_dir=tmp_path))) as store:
        for lane in Lane:
            model = "miniature" if lane is Lane.PAINT else ""
            new = NewJob("ann", Operation.GENERATE, lane, model, "quality", {}, variant=model)
            store.jobs.submit(new, queue_limit=9, now=NOW - 60)
        yield store


@pytest.fixture
def report(store: JobStore, tmp_path: Path) -> Iterator[Callable[[Lane, WorkerState, float], None]]:
    """Have the worker of a lane, which holds its lock, report at a time."""

    def report(lane: Lane, state: WorkerState, at: float) -> None:
        device = DEVICES[lane]
        store.workers.note(WorkerReport(worker_name(device), device, state, "miniature", "", at))

    with holding(tmp_path, "cpu"), holding(tmp_path, LIGHT_DEVICE):
        yield report


Reporting = Callable[[Lane, WorkerState, float], None]


def told(
    watch: StalledJobs, report: Reporting, lane: Lane, seconds: int, state: WorkerState = WorkerState.READY
) -> bool:
    """Look for some seconds, during which the worker of a lane reports a state; whether it was told of."""
    began = time.time() + 1
    found: list[str] = []
    for second in range(seconds):
        report(lane, state, began + second)
        found += watch.look(began + second)
    return bool(found)


@pytest.fixture
def watch(store: JobStore, tmp_path: Path) -> StalledJobs:
    """The watch over that store."""
    return StalledJobs(store, ["miniature"], Settings(_env_file=None, data_dir=tmp_path))


@pytest.mark.parametrize("lane", Lane)
def test_a_job_that_waits_beside_an_idle_worker_is_logged_and_rung_again(
    store: JobStore, watch: StalledJobs, report: Reporting, caplog: pytest.LogCaptureFixture, lane: Lane
) -> None:
    ear = store.bell.listen(work(lane))
    assert not told(watch, report, lane, int(STALLED_S) - 1)
    assert ear.wait(0) == frozenset()
    assert told(watch, report, lane, int(STALLED_S) + 4)
    assert until(lambda: ear.wait(1)) == {lane}
    ear.close()
    [line] = {record.getMessage() for record in caplog.records}
    [job] = [job for job in store.jobs.page("ann", limit=9, after=None, state=None)[0] if job.lane is lane]
    for fact in (job.id, f"lane {lane.value}", worker_name(DEVICES[lane]), "miniature", "last served"):
        assert fact in line


def test_it_is_told_again_only_when_it_lasts(
    watch: StalledJobs, report: Reporting, caplog: pytest.LogCaptureFixture
) -> None:
    told(watch, report, Lane.PAINT, 35)
    assert len(caplog.records) == 3


@pytest.mark.parametrize("state", [state for state in WorkerState if state is not WorkerState.READY])
def test_a_worker_that_is_not_ready_lets_jobs_wait(watch: StalledJobs, report: Reporting, state: WorkerState) -> None:
    assert not told(watch, report, Lane.PAINT, 30, state)


def test_a_worker_with_a_lease_lets_others_wait(store: JobStore, watch: StalledJobs, report: Reporting) -> None:
    new = NewJob("bob", Operation.GENERATE, Lane.PAINT, "miniature", "quality", {}, variant="miniature")
    store.jobs.submit(new, queue_limit=9, now=NOW - 60)
    assert store.leases.claim(worker_name("cpu"), Lane.PAINT, ["miniature"], now=NOW - 50) is not None
    assert not told(watch, report, Lane.PAINT, 30)


def test_where_jobs_are_claimed_nothing_stalls(store: JobStore, watch: StalledJobs, report: Reporting) -> None:
    lease = store.leases.claim(worker_name("cpu"), Lane.PAINT, ["miniature"])
    assert lease is not None
    store.leases.release(lease)
    assert not told(watch, report, Lane.PAINT, 2 * int(STALLED_S) - 2)


def test_a_job_that_no_worker_can_do_is_not_claimable(store: JobStore, tmp_path: Path, report: Reporting) -> None:
    watch = StalledJobs(store, ["another"], Settings(_env_file=None, data_dir=tmp_path))
    assert not told(watch, report, Lane.PAINT, 30)


@pytest.mark.usefixtures("report")
def test_the_report_of_a_worker_before_is_not_trusted(store: JobStore, watch: StalledJobs) -> None:
    store.workers.note(WorkerReport("h/cpu/before", "cpu", WorkerState.READY, "miniature", "", time.time() - 5))
    assert not [found for second in range(30) if (found := watch.look(time.time() - 4 + second / 3))]


def test_a_worker_that_is_told_to_writes_what_its_threads_do() -> None:
    code = (
        "import signal, sys, time\n"
        "from qwen_image_studio.system.logs import TELL_THREADS, write_threads_when_told\n"
        "write_threads_when_told()\n"
        "def claims_for_ever():\n"
        "    signal.raise_signal(TELL_THREADS)\n"
        "claims_for_ever()\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "server", capture_output=True, text=True, check=True
    )
    assert "in claims_for_ever" in answer.stderr
