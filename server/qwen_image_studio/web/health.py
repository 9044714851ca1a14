"""The state of the server, as a word and a sentence, from its workers' last reports and whether they are alive."""

from collections.abc import Collection, Sequence
from functools import partial

from qwen_image_studio import __version__
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.service import Health, HealthState, WorkerView
from qwen_image_studio.contract.words import LIGHT_DEVICE, SAFETY_DEVICE, WorkerState
from qwen_image_studio.gallery.common import Common
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.jobs.workers import SILENT_S
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.seats import Seat, all_seats

FORGOTTEN_S = 120.0
"""Time without a report after which the worker of a device is no longer shown, in seconds."""
_DOWN = {WorkerState.FAILED, WorkerState.LOST}
_PAINTER = "painter"
_NO_PAINTERS = {
    LIGHT_DEVICE: f"{LIGHT_DEVICE}, for adjustments and batches",
    SAFETY_DEVICE: f"{SAFETY_DEVICE}, which scores pictures",
}


def health_now(store: JobStore, settings: Settings, common: Common | None = None) -> Health:
    """Return the state of workers and queue. A job store that cannot be read is reported as a state, not raised.

    `common` is what workers of other hosts must have in common with this process.
    """
    try:
        known = known_workers(store, settings)
        queued, running = store.jobs.counts()
    except StudioError as error:
        state = HealthState.DEGRADED if error.code == "database_busy" else HealthState.FAILED
        return Health(
            version=__version__,
            state=state,
            message=error.message,
            queued=None,
            running=None,
            workers=[],
            credentials=bool(settings.c2pa_certificate),
        )
    workers = [view for _, view in known]
    state, message = _judge(workers, queued)
    living = (report for report, view in known if view.state is not WorkerState.LOST)
    if state in {HealthState.READY, HealthState.BUSY} and common and (sentence := common.apart_from(living)):
        state, message = HealthState.DEGRADED, sentence
    return Health(
        version=__version__,
        state=state,
        message=message,
        queued=queued,
        running=running,
        workers=workers,
        credentials=bool(settings.c2pa_certificate),
    )


def can_work(health: Health) -> bool:
    """Return whether a job that is sent now can be stored and painted."""
    return any(worker.device not in _NO_PAINTERS and worker.state.is_up for worker in health.workers)


def workers_now(store: JobStore, settings: Settings) -> list[WorkerView]:
    """Return the workers of all hosts as they are now. Raises StudioError where the job store cannot be read."""
    return [view for _, view in known_workers(store, settings)]


def known_workers(store: JobStore, settings: Settings) -> list[tuple[WorkerReport, WorkerView]]:
    """Return the last reports of the workers of all hosts, and how each is now. Raises StudioError where the job store
    cannot be read.
    """
    now, seats = store.database.now(), {seat.device: seat for seat in all_seats(settings.data_dir)}
    reports = store.workers.all()
    names = {report.name for report in reports}
    found = [
        (report, _view(report, now - report.seen_at, seats.get(report.device)))
        for report in reports
        # Its successor has reported already.
        if (seat := seats.get(report.device)) is None or report.name not in seat.before or seat.name not in names
    ]
    up = {_kind(report) for report, view in found if view.state.is_up}
    lights = [(report.seen_at, report.name) for report, _ in found if report.device == LIGHT_DEVICE]
    last_light = max(lights, default=(0.0, ""))[1]

    def is_shown(report: WorkerReport) -> bool:
        if _kind(report) in up and report.state is WorkerState.LOST:  # it was stopped, and others of its kind go on
            return False
        # A device may have been removed for good, but a light worker is always needed.
        is_needed = report.name == last_light and LIGHT_DEVICE not in up
        return is_needed or now - report.seen_at < FORGOTTEN_S

    return [(report, view) for report, view in found if is_shown(report)]


def painting_workers(store: JobStore, settings: Settings) -> list[WorkerReport]:
    """Return the last reports of the workers that paint, or will once they have started. Raises StudioError."""
    workers = known_workers(store, settings)
    return [report for report, view in workers if _kind(report) == _PAINTER and view.state not in _DOWN]


def _kind(report: WorkerReport) -> str:
    return report.device if report.device in _NO_PAINTERS else _PAINTER


def _view(report: WorkerReport, silent_s: float, seat: Seat | None) -> WorkerView:
    """Return how a worker is. What the locks of this DATA_DIR prove goes before the age of its report."""
    state, message = report.state, report.message
    is_here = seat is not None and report.name == seat.name
    lives = seat is not None and seat.taken
    # In other states a missing lock tells nothing: the supervisor reports them before a process holds it.
    if is_here and not lives and state.is_up:
        state = WorkerState.LOST
        message = "The worker's process has ended; if it was started by hand, start it again."
    elif seat is not None and report.name in seat.before and state.is_up:
        state, message = WorkerState.STARTING, "The worker was started again and has not reported yet."
    elif silent_s > SILENT_S and state is not WorkerState.LOST:
        state, message = WorkerState.LOST, _of_silence(silent_s, lives=is_here and lives)
    return WorkerView(host=report.host, device=report.device, state=state, model=report.model, message=message)


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
    messages = partial(_messages, with_hosts=len({worker.host for worker in workers}) > 1)
    if not painters:
        return HealthState.STARTING, "No worker that paints is known; 'qwen-image-studio worker' starts one."
    if states <= _DOWN:
        return HealthState.FAILED, messages(painters) or "No worker can paint; 'qwen-image-studio doctor' tells why."
    if not any(state.is_up for state in states):
        return HealthState.STARTING, messages(painters) or "The worker is starting."
    if down:
        return HealthState.DEGRADED, messages(down) or "A worker is down; the server's log says why."
    if states == {WorkerState.BUSY}:
        return HealthState.BUSY, f"Painting; {queued} jobs wait."
    return HealthState.READY, "Ready to paint."


def _messages(workers: Collection[WorkerView], *, with_hosts: bool) -> str:
    return "; ".join(f"{_named(each, with_hosts)}: {each.message}" for each in workers if each.message)


def _named(worker: WorkerView, with_host: bool) -> str:
    name = _NO_PAINTERS.get(worker.device, worker.device)
    return f"{worker.host}, {name}" if with_host and worker.host else name
