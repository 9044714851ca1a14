"""A worker within the test's process, over the services of an application."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.engine import ScriptedEngine


def scripted_worker(parts: Services) -> Worker:
    """A worker without an engine's weight: it paints plain pictures when the test lets it."""
    engine = ScriptedEngine("miniature", "cpu")
    engine.load("miniature")
    return Worker(parts.settings, "cpu", engine, list(parts.models), parts.store)


@contextmanager
def working(worker: Worker) -> Iterator[None]:
    """The worker takes jobs in the background until the end of the block."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            if not worker.run_next():
                done.wait(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
