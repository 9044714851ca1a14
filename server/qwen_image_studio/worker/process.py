"""The processes of the workers: one for each device, and the one that needs no model. Each ends by SIGTERM."""

import logging
import os
import signal
from collections.abc import Mapping

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.contract.words import LIGHT_DEVICE, WorkerState
from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.gallery.common import Common, common_of
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.jobs.workers import SILENT_S
from qwen_image_studio.loading.offering import Offering
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.models.table import Model
from qwen_image_studio.planning.engine import open_engine
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import largest_card_gib
from qwen_image_studio.system.logs import write_threads_when_told
from qwen_image_studio.system.pulse import Pulse
from qwen_image_studio.system.seats import Seat, holding, worker_name
from qwen_image_studio.worker.light import light_worker
from qwen_image_studio.worker.loop import Worker
from qwen_image_studio.worker.reporting import Reporter
from qwen_image_studio.worker.sender import sending

_log = logging.getLogger(__name__)


def run_worker(settings: Settings, models: Mapping[str, Model], device: str, name: str = "") -> None:
    """Run the worker of one device until SIGTERM, under the name or by default one of its own. A lock allows one such
    process per device and DATA_DIR.
    """
    name = name or worker_name(device, settings.worker_name)
    with holding(settings.data_dir, device, name) as seat, open_store(settings, "worker") as store:
        take_back(store, seat)
        common = common_here(settings, store, signs=False)
        offering = Offering(models, device, settings, None if common is None else common.as_row())
        Reporter(store, name, device, settings, lambda: None, offering.now).report(WorkerState.STARTING, "Starting.")
        if device == "cpu":
            os.nice(5)  # the web process has priority
        engine = open_engine(settings, models, device)
        worker = Worker(settings, device, engine, list(models), store, name=name, offer=offering.now)
        _run_until_stopped(worker, settings, device)


def run_light_worker(settings: Settings, server_started_at: float = 0.0, name: str = "") -> None:
    """Run the worker that needs no model until SIGTERM, and beside it the sender of callbacks; its jobs never wait for
    a painting. The name is as in `run_worker`.

    `server_started_at` is when the whole server was started (Unix seconds), where it was started as one.
    """
    name = name or worker_name(LIGHT_DEVICE, settings.worker_name)
    with holding(settings.data_dir, LIGHT_DEVICE, name) as seat, open_store(settings, "light") as store:
        take_back(store, seat)
        common = common_here(settings, store, signs=True)
        models = configured_models(settings, card_gib=largest_card_gib(settings))
        with sending(settings, store, open_gallery(settings, store)):
            worker = light_worker(settings, models, store, server_started_at, name=name, common=common)
            _run_until_stopped(worker, settings, LIGHT_DEVICE)


def take_back(store: JobStore, seat: Seat) -> None:
    """Take back what the processes held that had this one's seat before it: its lock proves that they are dead."""
    taken = sum(store.leases.abandon(name) for name in seat.before)
    store.workers.forget(seat.before)
    seat.took_back()
    if taken:
        _log.info("took back %d jobs of the worker before", taken)


def common_here(settings: Settings, store: JobStore, *, signs: bool) -> Common | None:
    """Return what this process has to have in common with those of other hosts, as `common_of` does. Raises CannotServe
    where living workers have something else.
    """
    common = common_of(settings, store, open_gallery(settings, store), signs=signs)
    living = [each for each in store.workers.seen_within(SILENT_S) if each.state is not WorkerState.LOST]
    if common is not None and (sentence := common.apart_from(living)):
        raise CannotServe(sentence)
    return common


def _run_until_stopped(worker: Worker, settings: Settings, device: str) -> None:
    write_threads_when_told()
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    with Pulse(settings.data_dir, device, lambda: worker.state):
        worker.run()
