"""The worker process of one device: claim, paint, store, finish. It owns the models; the web process never does.

Two threads. The painting thread talks to the engine alone. The keeper beside it talks to the table while a job runs:
it renews the lease, tells the progress, reads the cancel flag and ends a process whose engine hangs.
"""

import hashlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import FrameType
from typing import NoReturn, TypeVar

from PIL import Image

from server import __version__
from server.dispatch import open_doorbell
from server.engine import DeviceLost, Engine, Model, Painted, Plan, open_engine
from server.errors import StudioError
from server.imaging import encode, open_image, thumbnail
from server.jobs import JobStore, Lease, LeaseLost, Progress, StoredImage, Worker, open_store
from server.processes import lock
from server.settings import Settings
from server.storage import Storage, open_storage
from server.vocabulary import MAX_SIDE, State

Result = TypeVar("Result")
_log = logging.getLogger(__name__)

KEEPER_S = 0.1
"""How often the keeper looks at the cancel flag; the painting thread sees it at its next step."""
NOTE_S = 5.0
"""How often a worker says how it is."""
IDLE_S = 1.0
"""The longest sleep without looking at the table for expired leases."""
EXIT_HUNG = 70


class Cancelled(Exception):
    """The owner cancelled the job."""


class Released(Exception):
    """The worker stops before the job is done."""


class Keeper:
    """Keeps one lease while its job runs, on a thread of its own."""

    def __init__(self, store: JobStore, lease: Lease, storage: Storage, settings: Settings) -> None:
        self._store, self._lease, self._storage, self._settings = store, lease, storage, settings
        self._progress = Progress()
        self._preview: Image.Image | None = None
        self._preview_key: str | None = None
        self._told = Progress()
        self._ended = threading.Event()
        self._verdict: Exception | None = None
        self.release_at: float | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"keeper-{lease.job.id}")

    def __enter__(self) -> "Keeper":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._preview_key is not None:
            _delete(self._storage, self._preview_key)

    def show(self, preview: Image.Image) -> None:
        """Take a small picture of the painting in between; the keeper stores it when it comes by."""
        self._preview = preview

    def report(self, phase: str, step: int, steps: int) -> None:
        """Note the progress; raises what ends the attempt: Cancelled, Released or LeaseLost."""
        self._progress = Progress(phase, step, steps)
        if self._verdict is not None:
            raise self._verdict
        if self.release_at is not None and time.monotonic() >= self.release_at:
            raise Released

    def _run(self) -> None:
        started = renewed = time.monotonic()
        while not self._ended.wait(KEEPER_S):
            now = time.monotonic()
            if now - started > self._settings.job_timeout_s:
                self._end_hung_process()
            due = now - renewed > self._settings.lease_s / 3
            try:
                self._store_preview()
                progress = replace(self._progress, preview_key=self._preview_key)
                if due or progress != self._told or self._store.get(self._lease.job.id).cancel_requested:
                    self._told = progress
                    if self._store.renew(self._lease, self._told):
                        self._verdict = Cancelled()
                    renewed = now
            except LeaseLost as lost:
                self._verdict = lost
            except StudioError as busy:  # the next look may fare better; the lease has time left
                _log.warning("job %s: %s", self._lease.job.id, busy)

    def _store_preview(self) -> None:
        preview, self._preview = self._preview, None
        if preview is None:
            return
        key = _preview_key(self._lease, self._lease.token)
        self._storage.put(key, thumbnail(preview), "image/webp")
        self._preview_key = key

    def _end_hung_process(self) -> NoReturn:
        message = (
            f"The job ran past {self._settings.job_timeout_s:g} seconds and was ended. Ask for fewer steps or images, "
            "or have the operator raise STUDIO_JOB_TIMEOUT_S."
        )
        _log.error("job %s hangs; this process ends", self._lease.job.id)
        try:
            self._store.fail(self._lease, "engine_timeout", message)
        finally:
            os._exit(EXIT_HUNG)  # nothing gentler ends a thread that is stuck in native code


class JobWorker:
    """Runs jobs on one device, one at a time, until told to stop."""

    def __init__(
        self, settings: Settings, device: str, engine: Engine, models: Mapping[str, Model], store: JobStore
    ) -> None:
        self._settings, self._device, self._engine, self._models = settings, device, engine, models
        self._store = store
        self._storage: Storage = open_storage(settings)
        self._name = settings.worker_name(device)
        self._state, self._message = "starting", "Starting."
        self._stopping_at: float | None = None
        self._keeper: Keeper | None = None

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Signal handler: claim nothing more; finish the job in hand within the grace period or give it back."""
        self._stopping_at = time.monotonic() + self._settings.shutdown_grace_s
        if self._keeper is not None:
            self._keeper.release_at = self._stopping_at

    def run(self) -> None:
        """Work until stopped."""
        if taken := self._store.abandon(self._name):  # we hold the device's lock: whoever had these is dead
            _log.info("took back %d jobs of the worker before", taken)
        threading.Thread(target=self._tell, daemon=True, name="tell").start()
        self._warm_up()
        doorbell = open_doorbell(self._settings)
        while self._stopping_at is None:
            if not self.run_next():
                doorbell.wait(IDLE_S)
        doorbell.close()
        self._say("lost", "Stopped.")

    def _warm_up(self) -> None:
        first = next(iter(self._models))
        try:
            for name in self._models:  # here, not in a job, whose time limit a download would use up
                self._say("starting", f"Fetching {name}, if it is not on this machine yet.")
                self._engine.fetch(name)
            self._say("starting", f"Loading {first}.")
            self._engine.load(first)
        except StudioError as error:
            self._say("failed", error.message)
            _log.error("%s", error.message)
            return
        self._say("ready", "")

    def run_next(self) -> bool:
        """Claim and run one job; whether there was one."""
        try:
            lease = self._store.claim(self._name, list(self._models), self._engine.loaded)
        except StudioError as busy:
            _log.warning("%s", busy)
            return False
        if lease is None:
            return False
        _log.info("job %s: attempt %d on %s", lease.job.id, lease.job.attempt, self._device)
        self._state, self._message = "busy", ""
        try:
            self._attempt(lease)
        except LeaseLost:
            _log.warning("job %s: lost lease; another attempt has it", lease.job.id)
            if self._store.get(lease.job.id).lease_token != lease.token:  # else it was ended in our own name
                self._forget_pictures(lease, [lease.token])
        self._say("ready" if self._engine.loaded else "failed", self._message)
        return True

    def _attempt(self, lease: Lease) -> None:
        """Run one attempt to its end; every end but LeaseLost is written to the table."""
        try:
            with Keeper(self._store, lease, self._storage, self._settings) as self._keeper:
                self._keeper.release_at = self._stopping_at
                images, warnings = self._paint(lease, self._keeper)
            state = self._settle(lambda: self._store.finish(lease, images, warnings))
        except LeaseLost:
            raise
        except Cancelled:
            state = State.CANCELLED
            self._settle(lambda: self._store.stop(lease))
        except Released:
            state = State.QUEUED
            self._settle(lambda: self._store.release(lease))
        except DeviceLost:
            _log.exception("the device is lost to this process, which ends; a new one tries job %s again", lease.job.id)
            os._exit(EXIT_HUNG)
        except StudioError as error:
            state = State.FAILED
            self._fail(lease, error)
        except Exception:  # noqa: BLE001 - the boundary: whatever one job does, the next one must run
            _log.exception("job %s failed", lease.job.id)
            state = State.FAILED
            message = "The worker failed at this job; the server's log has the cause."
            self._fail(lease, StudioError("engine_failed", message))
        finally:
            self._keeper = None
        # What attempts before this one left behind, and where no image counts, this one.
        self._forget_pictures(lease, range(1, lease.token + (state is not State.SUCCEEDED)))

    def _fail(self, lease: Lease, error: StudioError) -> None:
        _log.warning("job %s: %s: %s", lease.job.id, error.code, error.message)
        self._message = error.message
        self._settle(lambda: self._store.fail(lease, error.code, error.message))

    def _settle(self, write: Callable[[], Result]) -> Result:
        """Write how an attempt ended, waiting out a busy database for as long as the lease may last."""
        deadline = time.monotonic() + self._settings.lease_s
        while True:
            try:
                return write()
            except StudioError as error:
                if error.code not in {"database_busy", "storage_failed"} or time.monotonic() > deadline:
                    raise
                _log.warning("%s", error)
                time.sleep(0.2)

    def _paint(self, lease: Lease, keeper: Keeper) -> tuple[list[StoredImage], list[str]]:
        plan = Plan.model_validate(lease.job.plan)
        inputs = [self._input(image_id) for image_id in lease.job.inputs]
        keeper.report("loading", 0, 0)
        stored: list[StoredImage] = []
        warnings = list(lease.job.warnings)
        steps = plan.steps * len(plan.seeds)
        for painted in self._engine.paint(plan, inputs, keeper.report, keeper.show):
            keeper.report("storing", plan.steps * (len(stored) + 1), steps)
            stored.append(self._keep(lease, plan, painted, len(stored)))
            warnings += [warning for warning in painted.warnings if warning not in warnings]
        return stored, warnings

    def _input(self, image_id: str) -> Image.Image:
        """An input, in whichever format it is kept: uploads as PNG, our own pictures as they were asked for."""
        data = self._storage.open(self._store.image(image_id).key)
        return open_image(data, max_bytes=len(data), max_pixels=MAX_SIDE * MAX_SIDE * 4, param="image")

    def _keep(self, lease: Lease, plan: Plan, painted: Painted, number: int) -> StoredImage:
        """Encode one picture and store it durably. Its bytes depend on the plan and its own seed alone."""
        data = encode(painted.image, plan.output_format, facts(plan, painted.seed))
        key, thumbnail_key = _keys(lease, lease.token, number, plan.output_format.value)
        self._storage.put(key, data, plan.output_format.mime_type)
        self._storage.put(thumbnail_key, thumbnail(painted.image), "image/webp")
        return StoredImage(
            id=f"img_{hashlib.sha256(f'{lease.job.id}/{lease.token}/{number}'.encode()).hexdigest()[:24]}",
            owner=lease.job.owner,
            job_id=lease.job.id,
            number=number,
            key=key,
            thumbnail_key=thumbnail_key,
            width=painted.image.width,
            height=painted.image.height,
            mime_type=plan.output_format.mime_type,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            seed=painted.seed,
        )

    def _forget_pictures(self, lease: Lease, tokens: Iterable[int]) -> None:
        """Delete what attempts that did not succeed have stored."""
        count, extension = len(lease.job.plan.get("seeds", ())), str(lease.job.plan.get("output_format"))
        for token in tokens:
            _delete(self._storage, _preview_key(lease, token))
            for number in range(count):
                _delete(self._storage, *_keys(lease, token, number, extension))

    def _say(self, state: str, message: str) -> None:
        self._state, self._message = state, message
        try:
            self._store.note_worker(Worker(self._name, self._device, state, self._engine.loaded, message, time.time()))
        except StudioError as busy:
            _log.warning("%s", busy)

    def _tell(self) -> None:
        while True:
            time.sleep(NOTE_S)
            self._say(self._state, self._message)


def facts(plan: Plan, seed: int) -> dict[str, str | int | float]:
    """What made an image, for its metadata: enough to paint it again, nothing of who asked or where."""
    kept = {"prompt", "negative_prompt", "model", "tier", "steps", "guidance_scale", "width", "height"}
    return {**plan.model_dump(mode="json", include=kept), "seed": seed, "software": f"Qwen-Image Studio {__version__}"}


def run_worker(settings: Settings, models: Mapping[str, Model], device: str) -> None:
    """Be the worker of one device until SIGTERM. Only one process per device and DATA_DIR gets past the lock."""
    with lock(settings.data_dir / f"worker-{device.replace(':', '-')}.lock"):
        store = open_store(settings)
        name = settings.worker_name(device)
        store.note_worker(Worker(name, device, "starting", None, "Starting.", time.time()))
        if device == "cpu":
            os.nice(5)  # the web process answers first
        worker = JobWorker(settings, device, open_engine(settings, models, device), models, store)
        signal.signal(signal.SIGTERM, worker.stop)
        signal.signal(signal.SIGINT, worker.stop)
        worker.run()


def _delete(storage: Storage, *keys: str) -> None:
    """Clear away; that it fails must not change how a job ends."""
    for key in keys:
        try:
            storage.delete(key)
        except StudioError as error:
            _log.warning("%s stays behind: %s", key, error)


def _stem(lease: Lease, token: int) -> str:
    """Beginning of the keys of an attempt's files: each attempt has its own, so that none disturbs another."""
    return f"{time.strftime('%Y/%m/%d', time.gmtime(lease.job.created_at))}/{lease.job.id}-{token}"


def _keys(lease: Lease, token: int, number: int, extension: str) -> tuple[str, str]:
    stem = f"{_stem(lease, token)}-{number:02d}"
    return f"{stem}.{extension}", f"{stem}.thumbnail.webp"


def _preview_key(lease: Lease, token: int) -> str:
    return f"{_stem(lease, token)}.preview.webp"
