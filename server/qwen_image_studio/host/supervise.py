"""``serve``: run the web process and the workers, restart those that die, and leave no orphan."""

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import FrameType

from qwen_image_studio.contract.errors import CannotServe, Locked, StudioError
from qwen_image_studio.contract.words import LIGHT_DEVICE, SAFETY_DEVICE, WorkerState
from qwen_image_studio.database.connection import check_database
from qwen_image_studio.gallery.links import open_links
from qwen_image_studio.guard.safety import unanswered
from qwen_image_studio.host.checks import check_data_dir, check_port, refuse_open_door
from qwen_image_studio.host.stalled import StalledJobs
from qwen_image_studio.imaging.label import lacking
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.models.table import configured_models
from qwen_image_studio.recipe import check_files
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import devices, largest_card_gib, worker_name
from qwen_image_studio.system.logs import TELL_THREADS
from qwen_image_studio.system.processes import lock

_log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Longest time between two looks at the processes, in seconds; the end of one is heard of at once."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
"""Longest pause before a process is started again, in seconds."""
STEADY_S = 10.0
"""Time after which a web process counts as started, in seconds."""
VOUCH_S = 5.0
"""Age in seconds from which the report of a worker that is starting is renewed for it."""
SILENT_S = 30.0
"""Age in seconds of the last report of a classifier that hangs; it has no lease that could run out."""
WORRYING_PAUSE_S = 1.0
"""Pause in seconds; a worker whose restart waits longer than this has died several times in a row."""

_ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}
"""Environment in which the C library keeps freed memory once, and not once for each thread."""


@dataclass
class Child:
    """One supervised process, and when to start it again."""

    name: str
    command: list[str]
    device: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause_s: float = 0.0
    start_at: float = field(default=0.0)

    def start(self) -> None:
        """Start the process; it dies with this one (``child``)."""
        # Without this setting CUDA numbers the cards by speed, and not as their driver does.
        environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **self.environment, **os.environ}
        self.process = subprocess.Popen([*self.command, "--parent", str(os.getpid())], env=environment)
        self.started_at = time.monotonic()

    def died(self) -> bool:
        """Return whether the process has died since the last look."""
        return self.process is not None and self.process.poll() is not None

    def plan_restart(self, *, had_started: bool) -> None:
        """Set when to start it again: soon where it `had_started`, after ever longer pauses where it keeps failing."""
        self.pause_s = FIRST_PAUSE_S if had_started else min(max(self.pause_s * 2, 0.5), LONGEST_PAUSE_S)
        self.start_at = time.monotonic() + self.pause_s
        self.process = None


class Supervisor:
    """The supervisor of the processes of one DATA_DIR, which keeps them running until it is stopped."""

    def __init__(self, settings: Settings, store: JobStore, models: Collection[str]) -> None:
        """`models` are those that the workers serve."""
        self._settings, self._store = settings, store
        self._stalled = StalledJobs(store, models, settings.data_dir)
        self._stopping = False
        self.children = [
            Child("web", _command("web"), environment=_ONE_ARENA),
            Child("light worker", _command("light"), LIGHT_DEVICE),
        ]
        if settings.classifier_name:
            self.children.append(Child("safety", _command("safety"), SAFETY_DEVICE))
        for device in devices(settings):
            child = Child(f"worker {device.id}", _command("worker", "--device", device.id), device.id)
            self.children.append(child)
        reporting = [child.device for child in self.children if child.device is not None]
        store.workers.forget([worker_name(device) for device in reporting])
        for device_id in reporting:
            self._note(device_id, WorkerState.STARTING, "Starting.")

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT; then stop all children, giving workers their grace period."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)  # with SIG_DFL it would wake nobody
        alarm, rung = socket.socketpair()
        rung.setblocking(False)
        signal.set_wakeup_fd(rung.fileno(), warn_on_full_buffer=False)
        try:
            while not self._stopping:
                try:
                    self.tend()
                except StudioError as busy:  # it is the database; the next look may succeed
                    _log.warning("%s", busy)
                if select.select([alarm], [], [], self._pause_s())[0]:
                    alarm.recv(4096)
        finally:
            self.stop_children()
            signal.set_wakeup_fd(-1)
            alarm.close()
            rung.close()

    def _pause_s(self) -> float:
        """Return the time until the next look, in seconds: less than usual where a process is to be started before."""
        starts = [child.start_at - time.monotonic() for child in self.children if child.process is None]
        return max(FIRST_PAUSE_S, min([LOOK_S, *starts]))

    def tend(self) -> None:
        """Look at every process once: bury the dead, start those whose pause is over, end those that are stuck."""
        for child in self.children:
            if child.died():
                self._bury(child)
            if child.process is None and time.monotonic() >= child.start_at:
                child.start()
        self._end_stuck()
        self._vouch()
        self._watch_idle()

    def _watch_idle(self) -> None:
        """Have workers that leave a job waiting, for no known reason, write what their threads do."""
        stalled = self._stalled.look()
        for child in self.children:
            if child.device and child.process and worker_name(child.device) in stalled and not child.died():
                child.process.send_signal(TELL_THREADS)

    def _vouch(self) -> None:
        """Keep the reports of workers fresh that are starting, since a process that still imports reports nothing."""
        now = time.time()
        living = {worker_name(child.device) for child in self.children if child.device and child.process}
        for report in self._store.workers.all():
            is_starting = report.name in living and report.state in {WorkerState.STARTING, WorkerState.FAILED}
            if is_starting and now - report.seen_at > VOUCH_S:
                self._store.workers.vouch(report, now)

    def _end_stuck(self) -> None:
        """End the workers that let a lease run out, even though they have not ended themselves."""
        overdue = {*self._store.leases.overdue(), *self._silent_safety()}
        for child in self.children:
            # It has neither renewed its lease nor ended, so it is stuck where no thread of its own can help.
            if child.process and child.device and worker_name(child.device) in overdue:
                _log.error("%s hangs; ending it", child.name)
                child.process.kill()
                child.process.wait()

    def _silent_safety(self) -> list[str]:
        """Return the name of the classifier's process where it was ready, and reports no more."""
        silent_since = time.time() - SILENT_S
        reports = [each for each in self._store.workers.all() if each.device == SAFETY_DEVICE]
        return [each.name for each in reports if each.state is WorkerState.READY and each.seen_at < silent_since]

    def _bury(self, child: Child) -> None:
        """Plan the next start of a child that died, take back its jobs, and report its end."""
        assert child.process is not None  # noqa: S101 - it died, so it had been started
        ending = _ending(child.process.returncode)
        _log.warning("%s %s; starting it again", child.name, ending)
        if child.device is None:
            child.plan_restart(had_started=time.monotonic() - child.started_at > STEADY_S)
            return
        name = worker_name(child.device)
        reported = {report.name: report.state for report in self._store.workers.all()}
        # By its report and not by time, since loading weights may take long.
        child.plan_restart(had_started=reported.get(name) in {WorkerState.READY, WorkerState.BUSY})
        self._store.leases.abandon(name)
        if child.pause_s > WORRYING_PAUSE_S:
            self._note(child.device, WorkerState.FAILED, "The worker keeps dying; the server's log says why.")
        else:
            self._note(child.device, WorkerState.STARTING, f"The worker {ending}; it is started again.")

    def _note(self, device: str, state: WorkerState, message: str) -> None:
        name = worker_name(device)
        self._store.workers.note(WorkerReport(name, device, state, None, message, time.time()))

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def stop_children(self) -> None:
        """End all processes, workers after their grace period."""
        running = [child.process for child in self.children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._settings.shutdown_grace_s + 5
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def serve(settings: Settings) -> None:
    """Run the whole server. Raises CannotServe with one line for the operator."""
    check_data_dir(settings)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock(settings.data_dir / "serve.lock", wait=False))
        except Locked as error:
            raise CannotServe(
                f"Another server uses the folder {settings.data_dir}; stop it, or set STUDIO_DATA_DIR to another one."
            ) from error
        open_links(settings)
        store = stack.enter_context(open_store(settings))
        check_database(store.database)
        refuse_open_door(settings, store.database)
        models = configured_models(settings, card_gib=largest_card_gib(settings))
        check_files(settings)
        if sentence := unanswered(settings, store.database):
            _log.warning("%s", sentence)
        if sentence := lacking(settings):
            _log.warning("%s", sentence)
        if refused := store.leases.refuse_unserved(list(models)):
            _log.warning("%d waiting jobs were for models that are no longer served; they have failed", refused)
        check_port(settings)
        _log.info("Qwen-Image Studio on %s, data in %s; Ctrl-C stops it", settings.address, settings.data_dir)
        Supervisor(settings, store, list(models)).run()


def _ending(code: int) -> str:
    """Return how a process ended, by Popen's return code, which is negative for a signal."""
    return f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "qwen_image_studio.host.child", *arguments]
