"""Painting on this machine without a server, with the same recipe and engines as for a job."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from PIL import Image

from qwen_image_studio.adjusting.engine import AdjustEngine
from qwen_image_studio.credentials import Credentials, open_credentials
from qwen_image_studio.gallery.clear import lost
from qwen_image_studio.imaging.label import Label
from qwen_image_studio.models.table import Model
from qwen_image_studio.operations.request import Request
from qwen_image_studio.planning.engine import Engine, Painted, Report, open_engine, silent
from qwen_image_studio.planning.plan import AdjustPlan, PaintPlan, Plan
from qwen_image_studio.recipe import Prepared, Recipe, Submission, Upload
from qwen_image_studio.settings import Settings


class LocalStudio:
    """A painter of requests on one device; a model that is loaded for one request serves the next."""

    def __init__(
        self,
        settings: Settings,
        models: Mapping[str, Model],
        device: str,
        engine: Engine[PaintPlan] | None = None,
    ) -> None:
        """Choose the engine: that of the settings, or the given one. Nothing is loaded before the first picture."""
        self.device = device
        self._settings, self._models = settings, models
        self.label = Label.of(settings)
        self._recipe = Recipe(settings, models)
        self._painting = engine
        self._adjusting: Engine[AdjustPlan] = AdjustEngine(settings)

    def prepare(self, request: Request, uploads: Sequence[Upload]) -> Prepared:
        """Return the plan of a request with its images. Raises StudioError with the parameter at fault."""
        return self._recipe.prepare(Submission(request, uploads))

    def paint(self, prepared: Prepared, report: Report = silent) -> Iterator[Painted]:
        """Yield the images of a plan, each as it is painted. Raises StudioError, and whatever `report` raises."""
        images: list[Image.Image] = [each.image for each in prepared.inputs if each.image is not None]
        plan = prepared.plan
        for painted in self._painted(plan, images, report):
            warning = lost(plan, images, painted.image)
            yield replace(painted, warnings=(*painted.warnings, warning)) if warning else painted

    def _painted(self, plan: Plan, images: Sequence[Image.Image], report: Report) -> Iterator[Painted]:
        if isinstance(plan, PaintPlan):
            return self.engine.paint(plan, images, report)
        return self._adjusting.paint(plan, images, report) if isinstance(plan, AdjustPlan) else iter(())

    def place_of(self, prepared: Prepared) -> str:
        """Return which model paints the plan and where, such as ``miniature on cpu``."""
        variant = prepared.plan.variant
        return f"{variant.model} on {self.device}" if variant else "adjustments"

    @cached_property
    def credentials(self) -> Credentials | None:
        """Return what signs the files; None where they are not signed. Raises CannotServe for wrong settings."""
        return open_credentials(self._settings)

    @property
    def engine(self) -> Engine[PaintPlan]:
        """The engine that runs models; it is opened at its first use."""
        if self._painting is None:
            self._painting = open_engine(self._settings, self._models, self.device)
        return self._painting
