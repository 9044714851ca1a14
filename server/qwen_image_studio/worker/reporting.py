"""The reports of a process on itself: whenever its state changes, and every few seconds, so that all see it lives."""

import logging
import threading
import time
from collections.abc import Callable

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import WorkerState
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.system.devices import memory_of, worker_name

_log = logging.getLogger(__name__)

NOTE_S = 5.0
"""Time between two reports, in seconds."""


class Reporter:
    """The reporter of one process, which has a device or stands for one."""

    def __init__(self, store: JobStore, device: str, model: Callable[[], str | None]) -> None:
        """`model` returns the name of what the process has loaded, as health shows it."""
        self._store, self._device, self._model = store, device, model
        self.state, self.message = WorkerState.STARTING, "Starting."

    def report(self, state: WorkerState, message: str = "") -> None:
        """Write the state; where the database is busy, the next report does."""
        self.state, self.message = state, message
        try:
            name, memory = worker_name(self._device), memory_of(self._device)
            self._store.workers.note(
                WorkerReport(name, self._device, state, self._model(), message, time.time(), *memory)
            )
        except StudioError as busy:
            _log.warning("%s", busy)

    def begin(self, look: Callable[[], None] | None = None) -> None:
        """Report the present state again and again in a thread of its own, after a `look` each time."""
        threading.Thread(target=self._go_on, args=(look,), daemon=True, name="report").start()

    def _go_on(self, look: Callable[[], None] | None) -> None:
        while True:
            time.sleep(NOTE_S)
            if look is not None:
                look()
            self.report(self.state, self.message)
