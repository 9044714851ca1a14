"""The state of the server, as a word and a sentence, from its workers' last reports and whether they are alive."""

import time
from collections.abc import Collection, Sequence

from qwen_image_studio import __version__
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.service import Health, HealthState, WorkerView
from qwen_image_studio.contract.words import LIGHT_DEVICE, SAFETY_DEVICE, WorkerState
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import held_since, worker_name

SILENT_S = 15.0
"""Time without a report after which a worker counts as lost, in seconds."""
FORGOTTEN_S = 120.0
"""Time without a report after which the worker of a device is no longer shown, in seconds."""
_DOWN = {WorkerState.FAILED, WorkerState.LOST}
_UP = {WorkerState.READY, WorkerState.BUSY}
_NO_PAINTERS = {
    LIGHT_DEVICE: f"{LIGHT_DEVICE}, for adjustments and batches",
    SAFETY_DEVICE: f"{SAFETY_DEVICE}, which scores pictures",
}


def health_now(store: JobStore, settings: Settings) -> Health:
    """Return the state of workers and queue. A job store that cannot be read is reported as a state, not raised."""
    try:
        workers = workers_now(store, settings)
        queued, running = store.jobs.counts()
    except StudioError as error:
        state = HealthState.DEGRADED if error.code == "database_busy" else HealthState.FAILED
        return Health(version=__version__, state=state, message=error.message, queued=None, running=None, workers=[])
    state, message = _judge(workers, queued)
    return Health(version=__version__, state=state, message=message, queued=queued, running=running, workers=workers)


def can_work(health: Health) -> bool:
    """Return whether a job that is sent now can be stored and painted."""
    return any(worker.device not in _NO_PAINTERS and worker.state in _UP for worker in health.workers)


def workers_now(store: JobStore, settings: Settings) -> list[WorkerView]:
    """Return the workers as they are now. Raises StudioError where the job store cannot be read."""
    now = time.time()
    return [
        _view(report, now - report.seen_at, settings)
        for report in store.workers.all()
        # A device may have been removed for good, but the light worker is always needed.
        if report.device == LIGHT_DEVICE or now - report.seen_at < FORGOTTEN_S
    ]


def _view(report: WorkerReport, silent_s: float, settings: Settings) -> WorkerView:
    state, message = report.state, report.message
    is_here = report.name == worker_name(report.device)
    since = held_since(settings.data_dir, report.device) if is_here else None
    # In other states a missing lock tells nothing: the supervisor reports them before a process holds it.
    if is_here and since is None and state in _UP:
        state = WorkerState.LOST
        message = "The worker's process has ended; if it was started by hand, start it again."
    elif since is not None and report.seen_at < since and state in _UP:
        state, message = WorkerState.STARTING, "The worker was started again and has not reported yet."
    elif silent_s > SILENT_S and state is not WorkerState.LOST:
        state, message = WorkerState.LOST, _of_silence(silent_s, lives=since is not None)
    return WorkerView(device=report.device, state=state, model=report.model, message=message)


def _of_silence(silent_s: float, *, lives: bool) -> str:
    if not lives:
        return f"The worker has not been heard of for {silent_s:.0f} seconds."
    return (
        f"The worker lives, but has not reported for {silent_s:.0f} seconds: it hangs, or its reports cannot be "
        "written (a full disk, a locked database)."
    )


def _judge(workers: Sequence[WorkerView], queued: int) -> tuple[HealthState, str]:
    painters = [worker for worker in workers if worker.device not in _NO_PAINTERS]
    states = {worker.state for worker in painters}
    down = [worker for worker in workers if worker.state in _DOWN]
    if not painters:
        return HealthState.STARTING, "No worker that paints is known; 'qwen-image-studio worker' starts one."
    if states <= _DOWN:
        return HealthState.FAILED, _messages(painters) or "No worker can paint; 'qwen-image-studio doctor' tells why."
    if not states & _UP:
        return HealthState.STARTING, _messages(painters) or "The worker is starting."
    if down:
        return HealthState.DEGRADED, _messages(down) or "A worker is down; the server's log says why."
    if states == {WorkerState.BUSY}:
        return HealthState.BUSY, f"Painting; {queued} jobs wait."
    return HealthState.READY, "Ready to paint."


def _messages(workers: Collection[WorkerView]) -> str:
    return "; ".join(
        f"{_NO_PAINTERS.get(each.device, each.device)}: {each.message}" for each in workers if each.message
    )
