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
from qwen_image_studio.host.checks import check_data_dir, check_memory, check_port, check_storage, refuse_open_door
from qwen_image_studio.host.credentials import check_credentials
from qwen_image_studio.host.stalled import StalledJobs
from qwen_image_studio.imaging.label import lacking
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.loading.offering import Offering
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.models.table import Model
from qwen_image_studio.recipe import check_files
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import devices, largest_card_gib
from qwen_image_studio.system.logs import TELL_THREADS
from qwen_image_studio.system.processes import lock
from qwen_image_studio.system.seats import all_seats, host_name, new_name

_log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Longest time between two looks at the processes, in seconds; the end of one is heard of at once."""
TABLE_LOOK_S = 3.0
"""Least time between two looks at the tables of a database that serves many hosts, in seconds."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
"""Longest pause before a process is started again, in seconds."""
STEADY_S = 10.0
"""Time after which a web process counts as started, in seconds."""
VOUCH_S = 5.0
"""Age in seconds from which the report of a worker that is starting is renewed for it."""
SILENT_S = 30.0
"""Time in seconds after which a process hangs that reports nothing while others do."""
BEHIND_S = 12.0
"""Age in seconds by which its last report is behind those of others, which come every few seconds."""
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
    worker: str = ""
    """Name under which the process, or the next one, takes leases; empty for the web process."""
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause_s: float = 0.0
    start_at: float = field(default=0.0)

    def start(self) -> None:
        """Start the process; it dies with this one (``child``)."""
        # Without this setting CUDA numbers the cards by speed, and not as their driver does.
        environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **self.environment, **os.environ}
        named = ["--name", self.worker] if self.worker else []
        self.process = subprocess.Popen([*self.command, *named, "--parent", str(os.getpid())], env=environment)
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

    def __init__(self, settings: Settings, store: JobStore, models: Mapping[str, Model]) -> None:
        """`models` are those that the workers serve."""
        self._settings, self._store = settings, store
        self._look_at = 0.0
        self._stalled = StalledJobs(store, list(models), settings)
        self._stopping = False
        self._behind: dict[str, float] = {}
        """Since when (monotonic seconds) processes have reported nothing while others have."""
        self.children = [
            Child("web", _command("web"), environment=_ONE_ARENA),
            Child("light worker", _command("light"), LIGHT_DEVICE),
        ]
        if settings.classifier_name:
            self.children.append(Child("safety", _command("safety"), SAFETY_DEVICE))
        for device in devices(settings):
            child = Child(f"worker {device.id}", _command("worker", "--device", device.id), device.id)
            self.children.append(child)
        self._offers = {device.id: Offering(models, device.id, settings).now().as_row() for device in devices(settings)}
        for child in self.children:
            self._rename(child)
            self._note(child, WorkerState.STARTING, "Starting.")

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
                    self._tend_children()
                    if time.monotonic() >= self._look_at:
                        self._look_at = time.monotonic() + (TABLE_LOOK_S if self._store.database.is_postgresql else 0)
                        self._look()
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
        self._tend_children()
        self._look()

    def _tend_children(self) -> None:
        for child in self.children:
            if child.died():
                self._bury(child)
            if child.process is None and time.monotonic() >= child.start_at:
                child.start()

    def _look(self) -> None:
        """Look at the tables once: end those that are stuck, and renew the reports of those that start."""
        self._end_stuck()
        self._vouch()
        self._watch_idle()

    def _watch_idle(self) -> None:
        """Have workers that leave a job waiting, for no known reason, write what their threads do."""
        stalled = self._stalled.look()
        for child in self.children:
            if child.worker in stalled and child.process and not child.died():
                child.process.send_signal(TELL_THREADS)

    def _vouch(self) -> None:
        """Keep the reports of workers fresh that are starting, since a process that still imports reports nothing."""
        now = self._store.database.now()
        living = {child.worker for child in self.children if child.process}
        for report in self._store.workers.all():
            is_starting = report.name in living and report.state in {WorkerState.STARTING, WorkerState.FAILED}
            if is_starting and now - report.seen_at > VOUCH_S:
                self._store.workers.vouch(report, now)

    def _end_stuck(self) -> None:
        """End the workers that let a lease run out, or fell silent, even though they have not ended themselves."""
        stuck = {*self._store.leases.overdue(), *self._silent()}
        for child in self.children:
            # It has neither renewed its lease nor ended, so it is stuck where no thread of its own can help.
            if child.process and child.worker in stuck:
                _log.error("%s hangs; ending it", child.name)
                child.process.kill()
                child.process.wait()

    def _silent(self) -> Collection[str]:
        """Return the names of processes that were ready and report no more, although others can write their reports.

        The classifier's has no lease that could run out; and a lease that did may have been taken back by a worker of
        any host, before anybody here saw it.
        """
        own = {child.worker for child in self.children if child.process}
        reports = [each for each in self._store.workers.all() if each.name in own]
        newest, now = max((each.seen_at for each in reports), default=0.0), time.monotonic()
        behind = [each.name for each in reports if each.state.is_up and each.seen_at < newest - BEHIND_S]
        self._behind = {name: self._behind.get(name, now) for name in behind}
        return [name for name, since in self._behind.items() if now - since > max(SILENT_S, self._settings.lease_s)]

    def _bury(self, child: Child) -> None:
        """Plan the next start of a child that died, take back its jobs, and report its end."""
        assert child.process is not None  # noqa: S101 - it died, so it had been started
        ending = _ending(child.process.returncode)
        _log.warning("%s %s; starting it again", child.name, ending)
        if child.device is None:
            child.plan_restart(had_started=time.monotonic() - child.started_at > STEADY_S)
            return
        up = {report.name for report in self._store.workers.all() if report.state.is_up}
        # By its report and not by time, since loading weights may take long.
        child.plan_restart(had_started=child.worker in up)
        dead = child.worker
        self._rename(child)  # first: where the database is busy, the next process takes back what this one held
        self._store.leases.abandon(dead)
        self._store.workers.forget([dead])
        if child.pause_s > WORRYING_PAUSE_S:
            self._note(child, WorkerState.FAILED, "The worker keeps dying; the server's log says why.")
        else:
            self._note(child, WorkerState.STARTING, f"The worker {ending}; it is started again.")

    def _rename(self, child: Child) -> None:
        """Give the next process of a worker its name."""
        if child.device is not None:
            child.worker = new_name(child.device, self._settings.worker_name)

    def _note(self, child: Child, state: WorkerState, message: str) -> None:
        """Report for a worker that does not do so itself yet."""
        if child.device is not None:
            offers = self._offers.get(child.device)
            host, now = host_name(self._settings.worker_name), self._store.database.now()
            self._store.workers.note(
                WorkerReport(child.worker, child.device, state, None, message, now, host=host, offers=offers)
            )

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
        check_storage(settings)
        check_credentials(settings)
        store = stack.enter_context(open_store(settings, "serve"))
        check_database(store.database)
        refuse_open_door(settings, store.database)
        models = configured_models(settings, card_gib=largest_card_gib(settings))
        check_memory(settings, models)
        check_files(settings)
        if sentence := unanswered(settings, store.database):
            _log.warning("%s", sentence)
        if sentence := lacking(settings):
            _log.warning("%s", sentence)
        check_port(settings)
        _log.info("Qwen-Image Studio on %s, data in %s; Ctrl-C stops it", settings.address, settings.data_dir)
        forget_workers(settings, store)
        supervisor = Supervisor(settings, store, models)
        refuse_unserved(store, models)
        supervisor.run()


def forget_workers(settings: Settings, store: JobStore) -> None:
    """Forget the workers of this DATA_DIR that have ended; those of other hosts, and what was started by hand, stay."""
    seats = [seat for seat in all_seats(settings.data_dir) if not seat.taken]
    store.workers.forget([name for seat in seats for name in (seat.name, *seat.before)])
    store.workers.forget_of_earlier_version(host_name())


def refuse_unserved(store: JobStore, models: Collection[str]) -> None:
    """Fail what waits for models that are no longer served, where there are no other hosts that could serve them."""
    if store.database.is_postgresql:
        return  # the light workers look, and give the other hosts time to come back
    if refused := store.leases.refuse_unserved(list(models)):
        _log.warning("%d waiting jobs were for models that are no longer served; they have failed", refused)


def _ending(code: int) -> str:
    """Return how a process ended, by Popen's return code, which is negative for a signal."""
    return f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "qwen_image_studio.host.child", *arguments]
