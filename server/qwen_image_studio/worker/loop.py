"""The worker process of one device: claim, paint, store, finish. It owns the models; the web process never does.

A job runs on two threads: the painting thread talks only to the engine, and the keeper beside it to the table.
"""

import contextlib
import logging
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from PIL import Image

from qwen_image_studio.contract.errors import Cancelled, DeviceLost, EndUnwritten, LeaseLost, Released, StudioError
from qwen_image_studio.contract.words import ADJUSTED, Band, Lane, State, WorkerState
from qwen_image_studio.credentials import Ingredient, open_credentials
from qwen_image_studio.gallery import Gallery, open_gallery
from qwen_image_studio.gallery.attempt import Attempt, clear_attempts
from qwen_image_studio.gallery.holding import held
from qwen_image_studio.gallery.pruning import Retention
from qwen_image_studio.guard.safety import Safety
from qwen_image_studio.imaging import open_image, read_origin
from qwen_image_studio.imaging.label import Label
from qwen_image_studio.jobs import JobStore, Lease, StoredImage
from qwen_image_studio.jobs.leases import ALL, Choice
from qwen_image_studio.jobs.news import CANCELS, DEAF_LOOK_S, Ear, work
from qwen_image_studio.jobs.retries import DEVICE_LOST, INPUT_UNREADABLE, WORKER_LOST, is_frugal, told
from qwen_image_studio.jobs.states import Measured
from qwen_image_studio.planning.engine import Engine
from qwen_image_studio.planning.offers import Offer
from qwen_image_studio.planning.plan import read_plan
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.logs import begin_with
from qwen_image_studio.system.processes import EXIT_HUNG
from qwen_image_studio.system.seats import worker_name
from qwen_image_studio.worker.batches import Batches
from qwen_image_studio.worker.checking import Checks, checks_for
from qwen_image_studio.worker.choosing import Choosing
from qwen_image_studio.worker.ends import OUTAGE_S, attempts_to_clear, settled
from qwen_image_studio.worker.faults import contained
from qwen_image_studio.worker.finishing import Finisher
from qwen_image_studio.worker.inputs import InputUnreadable, read_inputs
from qwen_image_studio.worker.keeper import LeaseKeeper
from qwen_image_studio.worker.reporting import Reporter
from qwen_image_studio.worker.stopwatch import CHECKING, Stopwatch
from qwen_image_studio.worker.unserved import Unserved

_log = logging.getLogger(__name__)

LISTEN_S = 60.0
"""Time after which all is looked at even if no word has come, in seconds."""

_BANDS = {"content_blocked": Band.BLOCK, "safety_unavailable": Band.UNAVAILABLE}
"""The classifier's band of a job that has failed for it, by the error's code."""
_FAULT_MESSAGE = "The worker failed at this job; the server's log has the cause."


@dataclass(frozen=True)
class _Result:
    """The result of a painting."""

    images: Sequence[StoredImage]
    warnings: Sequence[str]
    compute_saved: float | None
    band: Band | None = None
    """The classifier's on its images; None where it is not asked."""


class Worker:
    """The loop that runs jobs on one device, one at a time, until it is stopped."""

    def __init__(
        self,
        settings: Settings,
        device: str,
        engine: Engine[Any],
        models: Sequence[str],
        store: JobStore,
        *,
        lane: Lane = Lane.PAINT,
        batches: Batches | None = None,
        retention: Retention | None = None,
        unserved: Unserved | None = None,
        name: str = "",
        offer: Callable[[], Offer] | None = None,
    ) -> None:
        """Run the jobs of `lane`, under the name or by default one of this process's own; `batches`, `retention` and
        `unserved` are given to light workers only. With an `offer`, jobs are left to others that they suit better.
        """
        self._batches, self._retention, self._unserved = batches, retention, unserved
        self._lane = lane
        self._settings, self._device, self._engine, self._models = settings, device, engine, models
        self._store = store
        self._gallery: Gallery = open_gallery(settings, store)
        self._name = name or worker_name(device, settings.worker_name)
        self._choice: Choice = ALL
        if offer is not None and lane is Lane.PAINT:
            self._choice = Choosing(store, self._name, offer, settings.unserved_s)
        self._reporter = Reporter(store, self._name, device, settings, self._loaded_model, offer)
        self._stopping_at: float | None = None
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ear: Ear | None = None
        self._keepers: list[LeaseKeeper] = []
        """The keepers of the job in hand, and of those that the finisher has."""
        patience_s = max(settings.lease_s, OUTAGE_S) if store.database.is_postgresql else settings.lease_s
        self._settled = partial(settled, patience_s=patience_s)
        self._label, self._safety, self._finisher = Label.of(settings), Safety(settings, store.database), Finisher()
        self._credentials = open_credentials(settings)

    @property
    def state(self) -> WorkerState:
        """Return how it is, as it reports it."""
        return self._reporter.state

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Handle a signal: claim no more jobs, and finish the present one within the grace period or give it back."""
        self._stopping_at = time.monotonic() + self._settings.shutdown_grace_s
        for keeper in list(self._keepers):
            keeper.release_at = self._stopping_at
        self._wakes.put(None)  # may be called in a signal handler, unlike an Event's set

    def run(self) -> None:
        """Run jobs until stopped."""
        self._reporter.begin()
        self._warm_up()
        threading.Thread(target=self._listen, daemon=True, name="ear").start()
        while self._stopping_at is None:
            self._watch()
            if not self.run_next():
                if self._retention is not None:
                    self._retention.work()
                self._sleep()
        self._finisher.close()
        self._reporter.report(WorkerState.LOST, "Stopped.")

    def _watch(self) -> None:
        """Look for jobs that no worker paints."""
        try:
            if self._unserved is not None:
                self._unserved.look()
        except StudioError as busy:
            _log.warning("%s", busy)

    def _listen(self) -> None:
        """Wake the loop when there is new work, and the keeper when its job is to stop."""
        ear = self._ear = self._store.bell.listen(work(self._lane), CANCELS)
        self._wakes.put(None)  # for what was submitted before
        while self._stopping_at is None:
            words = ear.wait(LISTEN_S)
            if self._lane in words or not words:
                self._wakes.put(None)
            for keeper in list(self._keepers):
                keeper.hear(words)
        ear.close()

    def _sleep(self) -> None:
        """Sleep until there is news, the worker is to stop, or it is time for the next look, which also finds expired
        leases.
        """
        look_s, spread_s = (self._ear.look_s, self._ear.spread_s) if self._ear is not None else (DEAF_LOOK_S, 0.0)
        with contextlib.suppress(queue.Empty):
            self._wakes.get(timeout=look_s)
            if self._stopping_at is None:
                time.sleep(random.uniform(0, spread_s))  # noqa: S311 - spreads load, guards nothing
            while True:
                self._wakes.get_nowait()

    def _warm_up(self) -> None:
        try:
            for name in self._models:  # here and not in a job, whose time limit a download would use up
                self._reporter.report(WorkerState.STARTING, f"Fetching {name}, if it is not on this machine yet.")
                self._engine.fetch(name)
            for first in self._models[:1]:
                self._reporter.report(WorkerState.STARTING, f"Loading {first}.")
                self._engine.load(first)
        except StudioError as error:
            self._reporter.report(WorkerState.FAILED, error.message)
            _log.error("%s", error.message)
            return
        self._reporter.report(WorkerState.READY)

    def run_next(self) -> bool:
        """Claim and run one job; return whether there was one."""
        self._finisher.check()
        begin_with()
        began = time.monotonic()
        try:
            lease = self._store.leases.claim(
                self._name, self._lane, self._models, self._engine.loaded, choice=self._choice
            )
        except StudioError as busy:
            _log.warning("%s", busy)
            return False
        if lease is None:
            return False
        stopwatch = Stopwatch(lease.job, time.monotonic() - began)
        begin_with(job_id=lease.job.id, owner=lease.job.owner, key=lease.job.key, request_id=lease.job.request_id)
        _log.info("job %s: attempt %d on %s", lease.job.id, lease.job.attempt, self._device)
        self._reporter.state, self._reporter.message = WorkerState.BUSY, ""
        self._run(lease, stopwatch, lambda: self._painted(lease, stopwatch))
        self._reporter.report(WorkerState.READY if self._is_ready() else WorkerState.FAILED, self._reporter.message)
        return True

    def _run(self, lease: Lease, stopwatch: Stopwatch, work: Callable[[], State | None]) -> None:
        """Do the work of an attempt; where another has got the lease meanwhile, delete what this one has stored."""
        try:
            self._attempt(lease, stopwatch, work)
        except LeaseLost:
            _log.warning("job %s: lost lease; another attempt has it", lease.job.id)
            if not self._has_ended_itself(lease):
                clear_attempts(self._gallery, lease, [lease.token])
        except EndUnwritten as gone:
            _log.error("job %s: its end cannot be written (%s); another attempt follows its lease", lease.job.id, gone)

    def _has_ended_itself(self, lease: Lease) -> bool:
        """Return whether the lease is gone because this attempt itself has ended the job; not so for a deleted job."""
        try:
            return self._store.jobs.get(lease.job.id).lease_token == lease.token
        except StudioError as error:
            return error.code != "not_found"  # who cannot look leaves the files to the next attempt

    def _attempt(self, lease: Lease, stopwatch: Stopwatch, work: Callable[[], State | None]) -> None:
        """Do the work, and write every end but LeaseLost to the table; the work returns None where it goes on."""
        try:
            with contained("job %s failed", lease.job.id, message=_FAULT_MESSAGE):
                state = work()
        except LeaseLost:
            raise
        except Cancelled:
            state = State.CANCELLED
            self._settled(lambda: self._store.leases.stop(lease, measured=stopwatch.read()))
        except Released:
            state = State.QUEUED
            self._settled(lambda: self._store.leases.release(lease))
        except DeviceLost:
            self._end_without_device(lease, stopwatch.read())
        except StudioError as error:
            state = self._fail(lease, error, stopwatch.read())
        if state is not None:
            clear_attempts(self._gallery, lease, attempts_to_clear(lease, state))

    def _painted(self, lease: Lease, stopwatch: Stopwatch) -> State | None:
        """Paint, and return how the job has ended; None where the finisher brings it to its end."""
        checks = checks_for(self._safety, lease, self._gallery, self._store.images)
        with ExitStack() as painting:
            keeper = painting.enter_context(self._keeping(lease, stopwatch, checks))
            result = self._paint(lease, keeper)
            if checks is not None:
                kept = painting.pop_all()
                check = partial(self._checked, lease, stopwatch, result, keeper, kept, checks)
                self._finisher.take(lambda: self._run(lease, stopwatch, check))
                return None
        return self._finished(lease, stopwatch, result)

    def _checked(
        self, lease: Lease, stopwatch: Stopwatch, result: _Result, keeper: LeaseKeeper, kept: ExitStack, checks: Checks
    ) -> State:
        """Have the images checked while the lease is kept, and return how the job has ended."""
        with kept:
            checked = checks.check(result.images, lambda: keeper.go_on(CHECKING))
        warnings = [*result.warnings, *checked.warnings]
        return self._finished(
            lease, stopwatch, replace(result, images=checked.images, warnings=warnings, band=checked.band)
        )

    @contextlib.contextmanager
    def _keeping(self, lease: Lease, stopwatch: Stopwatch, checks: Checks | None) -> Iterator[LeaseKeeper]:
        may_show = None if checks is None else checks.may_show
        with LeaseKeeper(self._store, lease, self._gallery, self._settings, stopwatch, may_show) as keeper:
            self._keepers.append(keeper)
            keeper.release_at = self._stopping_at
            try:
                yield keeper
            finally:
                self._keepers.remove(keeper)

    def _finished(self, lease: Lease, stopwatch: Stopwatch, result: _Result) -> State:
        finish = partial(self._store.leases.finish, lease, result.images, result.warnings, result.compute_saved)
        return self._settled(lambda: finish(measured=stopwatch.read(), band=result.band))

    def _fail(self, lease: Lease, error: StudioError, measured: Measured) -> State:
        reason = INPUT_UNREADABLE if isinstance(error, InputUnreadable) else error.code
        band, message = _BANDS.get(error.code), error.message
        fail = partial(self._store.leases.fail, lease, error.code, message, measured=measured, reason=reason)
        state = self._settled(partial(fail, band=band))
        follows = "; the next attempt follows" if state is State.QUEUED else ""
        said = self._store.prompts.told(message)
        _log.warning("job %s: attempt %d: %s: %s%s", lease.job.id, lease.job.attempt, reason, said, follows)
        if not self._is_ready():  # else it is no more than this job's, and health is open to everybody
            self._reporter.message = said
        return state

    def _end_without_device(self, lease: Lease, measured: Measured) -> NoReturn:
        _log.exception("job %s: the device is lost to this process, which ends; a new one takes over", lease.job.id)
        message = f"The device failed at attempt {lease.job.attempt}, the last one; the server's log has the cause."
        try:
            self._finisher.close()  # what has been painted is not to be painted again
            self._store.leases.fail(lease, WORKER_LOST, message, measured=measured, reason=DEVICE_LOST)
        finally:  # where that fails, the new process takes the job back
            os._exit(EXIT_HUNG)

    def _paint(self, lease: Lease, keeper: LeaseKeeper) -> _Result:
        if self._batches is not None and lease.job.rows is not None:
            gathered = self._batches.run(lease, keeper)
            return _Result(gathered.images, gathered.warnings, None)
        plan = read_plan(lease.job.plan)
        files = read_inputs(lease.job, self._store, self._gallery)
        inputs = [self._opened(file) for file, _ in files]
        before = read_origin(files[0][0]) if files else {}
        sources = [Ingredient(*file) for file in files]
        attempt = Attempt(self._gallery, lease, self._label, self._credentials)
        keeper.stopwatch.begin(plan)
        keeper.report("loading", 0, 0)
        saved: list[float] = []
        warnings = [*lease.job.warnings, *told(lease.job)]
        show = None if lease.job.hold else keeper.show
        paint = partial(self._engine.paint, frugal=is_frugal(lease.job))
        for number, painted in enumerate(paint(plan, inputs, keeper.report, show), start=1):
            keeper.report("storing", plan.steps_after(number), plan.all_steps)
            attempt.store(painted, plan, inputs, before, sources)
            saved += [painted.compute_saved] if painted.compute_saved is not None else []
            warnings += [warning for warning in (*painted.warnings, *attempt.warnings) if warning not in warnings]
        images = held(attempt.stored, lease.job, self._settings)
        return _Result(images, warnings, sum(saved) / len(saved) if saved else None)

    def _opened(self, file: bytes) -> Image.Image:
        """Return the pixels of an input, which was accepted at its upload or is a picture of ours."""
        return open_image(file, max_bytes=len(file), max_pixels=self._settings.most_pixels, param="image")

    def _is_ready(self) -> bool:
        """Return whether it can run what it claims; the light worker needs no model for that."""
        return self._lane is Lane.LIGHT or self._engine.loaded is not None

    def _loaded_model(self) -> str | None:
        """Return the name of the loaded model, as health shows it."""
        if self._lane is Lane.LIGHT:
            return ADJUSTED
        return self._engine.loaded.model if self._engine.loaded else None
