"""A worker within the test's process, over the services of an application."""

from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.engine import ScriptedEngine


def scripted_worker(parts: Services) -> Worker:
    """A worker without an engine's weight: it paints plain pictures when the test lets it."""
    engine = ScriptedEngine("miniature", "cpu")
    engine.load("miniature")
    return Worker(parts.settings, "cpu", engine, list(parts.models), parts.store)
