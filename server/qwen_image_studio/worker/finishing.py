"""The finisher: a thread that brings attempts to their end whose painting is done, while the worker paints the next."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from qwen_image_studio.system.logs import carried

PENDING = 2
"""Number of attempts that may wait for their end; with so many, the worker waits, too."""


class Finisher:
    """The finisher of one worker. All its methods are called by the worker's own thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "finish")
        self._pending: deque[Future[None]] = deque()

    def take(self, work: Callable[[], None]) -> None:
        """Have the work done after what was taken before; wait while too much is pending."""
        while len(unfinished := [each for each in self._pending if not each.done()]) >= PENDING:
            wait(unfinished, return_when=FIRST_COMPLETED)
        self._pending.append(self._thread.submit(carried(work)))

    def check(self) -> None:
        """Raise what earlier work has raised: it ends the worker, as it would have in the worker's own thread."""
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()

    def close(self) -> None:
        """Wait for the end of all that was taken. Raises what it has raised."""
        self._thread.shutdown()
        self.check()
