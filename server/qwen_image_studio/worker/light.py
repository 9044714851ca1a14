"""The worker that needs no model: it adjusts pictures, runs batches, prunes, and looks for jobs that nobody paints."""

from collections.abc import Mapping

from qwen_image_studio.adjusting.engine import AdjustEngine
from qwen_image_studio.contract.words import Lane
from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.gallery.common import Common
from qwen_image_studio.gallery.pruning import Retention
from qwen_image_studio.intake import Intake
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.models.table import Model
from qwen_image_studio.planning.offers import Offer
from qwen_image_studio.settings import Settings
from qwen_image_studio.worker.batches import Batches
from qwen_image_studio.worker.loop import Worker
from qwen_image_studio.worker.unserved import Unserved


def light_worker(
    settings: Settings,
    models: Mapping[str, Model],
    store: JobStore,
    server_started_at: float = 0.0,
    *,
    name: str = "",
    common: Common | None = None,
) -> Worker:
    """Return the worker that needs no model: it adjusts pictures and runs batches, whose rows are for `models`."""
    gallery, engine = open_gallery(settings, store), AdjustEngine(settings)
    batches = Batches(settings, store, gallery, Intake(settings, store, gallery, models), models)
    retention = Retention(gallery, store, settings, server_started_at=server_started_at)
    return Worker(
        settings,
        engine.device,
        engine,
        [],
        store,
        lane=Lane.LIGHT,
        batches=batches,
        retention=retention,
        unserved=Unserved(store, settings) if store.database.is_postgresql else None,
        name=name,
        offer=None if common is None else lambda: Offer(common=common.as_row()),
    )
