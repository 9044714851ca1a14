"""The engine that needs no model: it adjusts pictures with Pillow."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from qwen_image_studio.adjusting.apply import adjust
from qwen_image_studio.contract.words import LIGHT_DEVICE, Precision
from qwen_image_studio.planning.engine import Painted, Report, Show, silent
from qwen_image_studio.planning.plan import AdjustPlan, Variant
from qwen_image_studio.settings import Settings


class AdjustEngine:
    """An engine that adjusts pictures with Pillow."""

    device = LIGHT_DEVICE
    loaded: Variant | None = None

    def __init__(self, settings: Settings) -> None:
        self._font: Path | None = settings.font

    def fetch(self, model: str) -> None:
        """Do nothing: there is no model to fetch."""

    def load(self, model: str, precision: Precision | None = None) -> None:
        """Do nothing: there is no model to load."""

    def paint(
        self,
        plan: AdjustPlan,
        images: Sequence[Image.Image],
        report: Report = silent,
        show: Show | None = None,
        *,
        frugal: bool = False,
    ) -> Iterator[Painted]:
        """Adjust the one image. Raises StudioError ``invalid_value`` for an adjustment that it does not allow."""
        steps = max(1, len(plan.adjustments))
        done = adjust(images[0], plan.adjustments, self._font, lambda number: report("adjusting", number, steps))
        yield Painted(done, None)
