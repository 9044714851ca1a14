"""The processes of the workers: one for each device, and the one that needs no model. Each ends by SIGTERM."""

import os
import signal
import time
from collections.abc import Mapping

from qwen_image_studio.contract.words import LIGHT_DEVICE, WorkerState
from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.jobs import WorkerReport
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.models.table import Model, configured_models
from qwen_image_studio.planning.engine import open_engine
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import holding, largest_card_gib, worker_name
from qwen_image_studio.system.logs import write_threads_when_told
from qwen_image_studio.worker.loop import Worker, light_worker
from qwen_image_studio.worker.sender import sending


def run_worker(settings: Settings, models: Mapping[str, Model], device: str) -> None:
    """Run the worker of one device until SIGTERM. A lock allows one such process per device and DATA_DIR."""
    with holding(settings.data_dir, device):
        store = open_store(settings)
        starting = WorkerReport(worker_name(device), device, WorkerState.STARTING, None, "Starting.", time.time())
        store.workers.note(starting)
        if device == "cpu":
            os.nice(5)  # the web process has priority
        engine = open_engine(settings, models, device)
        _run_until_stopped(Worker(settings, device, engine, list(models), store))


def run_light_worker(settings: Settings, server_started_at: float = 0.0) -> None:
    """Run the worker that needs no model until SIGTERM, and beside it the sender of callbacks; its jobs never wait for
    a painting.

    `server_started_at` is when the whole server was started (Unix seconds), where it was started as one.
    """
    with holding(settings.data_dir, LIGHT_DEVICE):
        models, store = configured_models(settings, card_gib=largest_card_gib(settings)), open_store(settings)
        with sending(settings, store, open_gallery(settings, store)):
            _run_until_stopped(light_worker(settings, models, store, server_started_at))


def _run_until_stopped(worker: Worker) -> None:
    write_threads_when_told()
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    worker.run()
