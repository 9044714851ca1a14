"""The reports of a process on itself: whenever its state changes, and every few seconds, so that all see it lives."""

import logging
import threading
import time
from collections.abc import Callable

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import WorkerState
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.planning.offers import Offer
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import memory_of
from qwen_image_studio.system.seats import host_name

_log = logging.getLogger(__name__)

NOTE_S = 5.0
"""Time between two reports, in seconds."""
FORGET_S = 600.0
"""Time between two looks for reports of processes that ended long ago, in seconds."""
FORGOTTEN_S = 3600.0
"""Age of such a report, in seconds."""


class Reporter:
    """The reporter of one process, which has a device or stands for one."""

    def __init__(
        self,
        store: JobStore,
        name: str,
        device: str,
        settings: Settings,
        model: Callable[[], str | None],
        offer: Callable[[], Offer] | None = None,
    ) -> None:
        """`name` is the process's own. `model` returns the name of what it has loaded, as health shows it, and `offer`
        what it can paint; None where it paints nothing.
        """
        self._store, self._name, self._device, self._model, self._offer = store, name, device, model, offer
        self._host = host_name(settings.worker_name)
        self._forget_s = max(FORGOTTEN_S, 2 * settings.unserved_s)
        self._forgets_at = time.monotonic()
        self.state, self.message = WorkerState.STARTING, "Starting."

    def report(self, state: WorkerState, message: str = "") -> None:
        """Write the state; where the database is busy, the next report does."""
        self.state, self.message = state, message
        try:
            offers = None if self._offer is None else self._offer().as_row()
            self._store.workers.note(
                WorkerReport(
                    self._name,
                    self._device,
                    state,
                    self._model(),
                    message,
                    self._store.database.now(),
                    *memory_of(self._device),
                    host=self._host,
                    offers=offers,
                )
            )
            self._forget_silent()
        except StudioError as busy:
            _log.warning("%s", busy)

    def _forget_silent(self) -> None:
        """Now and then, delete the reports of processes that ended long ago; whoever reports does so."""
        if (now := time.monotonic()) >= self._forgets_at:
            self._forgets_at = now + FORGET_S
            self._store.workers.forget_silent(self._store.database.now() - self._forget_s)

    def begin(self, look: Callable[[], None] | None = None) -> None:
        """Report the present state again and again in a thread of its own, after a `look` each time, until lost."""
        threading.Thread(target=self._go_on, args=(look,), daemon=True, name="report").start()

    def _go_on(self, look: Callable[[], None] | None) -> None:
        while True:
            time.sleep(NOTE_S)
            if self.state is WorkerState.LOST:
                return
            if look is not None:
                look()
            self.report(self.state, self.message)
