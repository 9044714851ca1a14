"""Adapter: adjustments of pictures with Pillow, where no model is needed; and the plans of such jobs. No torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from qwen_image_studio.adjusting.apply import adjust
from qwen_image_studio.contract.words import LIGHT, LIGHT_DEVICE
from qwen_image_studio.planning.engine import Painted, Report, Show, silent
from qwen_image_studio.planning.plan import Plan
from qwen_image_studio.settings import Settings


class AdjustEngine:
    """Adjusts pictures with Pillow."""

    device = LIGHT_DEVICE
    loaded = LIGHT

    def __init__(self, settings: Settings) -> None:
        self._font: Path | None = settings.font

    def fetch(self, model: str) -> None:
        """Nothing is needed."""

    def load(self, model: str) -> None:
        """Nothing is needed."""

    def paint(
        self, plan: Plan, images: Sequence[Image.Image], report: Report = silent, show: Show | None = None
    ) -> Iterator[Painted]:
        """Adjust the one image. Raises StudioError ``invalid_value`` for an adjustment that it does not allow."""
        steps = max(1, len(plan.adjustments))
        done = adjust(images[0], plan.adjustments, self._font, lambda number: report("adjusting", number, steps))
        yield Painted(done, None)
