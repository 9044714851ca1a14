"""Port: engines paint. This module holds the words of the port; it never imports torch.

``models`` beside it is the table of models, ``plan`` decides, before anything is queued, what exactly an engine will do
for a request, and ``qwen`` is the adapter that runs the models.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, cast

from PIL import Image
from pydantic import BaseModel, ConfigDict, model_validator

from server.adjustments import Adjustment, Box
from server.engine.models import MODELS, Family, Model, Size, configured_models, find_model
from server.settings import Settings
from server.vocabulary import MIN_STEPS, Operation, OutputFormat, Tier

__all__ = [
    "LIGHT_DEVICE",
    "MODELS",
    "DeviceLost",
    "Engine",
    "Family",
    "Model",
    "Painted",
    "Pass",
    "Plan",
    "Report",
    "Show",
    "Size",
    "configured_models",
    "find_model",
    "open_engine",
    "silent",
]


class Pass(BaseModel):
    """One painting of a part of the canvas."""

    model_config = ConfigDict(frozen=True)

    window: Box
    """The part of the canvas that is painted."""
    width: int
    height: int
    """Size at which it is painted, on the model's grid."""
    known: Box | None = None
    """What of the canvas is there already and stays; None where the mask says it."""


class Plan(BaseModel):
    """What exactly an engine will do for one job: every default filled in, every seed drawn. Kept in the job's row,
    so that a second attempt paints the very same pictures.
    """

    model_config = ConfigDict(frozen=True)

    operation: Operation
    model: str
    tier: Tier
    prompt: str
    negative_prompt: str
    width: int
    height: int
    """Size of the delivered image in pixels."""
    paint_width: int
    paint_height: int
    """Size that the model paints, on its grid."""
    steps: int
    guidance_scale: float
    seeds: tuple[int, ...]
    """One per image."""
    output_format: OutputFormat
    output_quality: int = 95
    """Of JPEG and WebP files."""
    through: Operation = Operation.GENERATE
    """Which of the model's families paints: the one that generates, or the one that edits."""
    strength: float = 1.0
    """How far to go from the image that the painting starts from; at 1 nothing of it is left."""
    mask: bool = False
    """Whether the last input is the mask, of the first one's size: white may change."""
    place: Box | None = None
    """Where the input stands on a larger canvas."""
    passes: tuple[Pass, ...] = ()
    """The parts that are painted, one after the other; none where the whole image is painted at once."""
    adjustments: tuple[Adjustment, ...] = ()
    """What the light engine does, in this order."""

    @model_validator(mode="before")
    @classmethod
    def _through_its_own(cls, values: Any) -> Any:
        """Plans of generations and edits need not say which family paints them; those of older rows do not."""
        return values if "through" in values else {**values, "through": values["operation"]}

    @property
    def run_steps(self) -> int:
        """Denoising steps of one pass: fewer where it does not start from noise alone."""
        return min(self.steps, max(MIN_STEPS, round(self.steps * self.strength)))

    @property
    def steps_of_one(self) -> int:
        """Denoising steps of one image, over all its passes."""
        return self.run_steps * max(1, len(self.passes))


Report = Callable[[str, int, int], None]
"""``report(phase, step, steps)``: tell how far the work is. May raise to stop the work at once."""


Show = Callable[[Image.Image], None]
"""``show(preview)``: a small RGB picture of a painting in between."""


def silent(phase: str, step: int, steps: int) -> None:
    """A report that tells nobody."""


@dataclass(frozen=True)
class Painted:
    """One picture: RGB, of the plan's width x height."""

    image: Image.Image
    seed: int | None
    """None where none took part."""
    warnings: tuple[str, ...] = field(default=())
    compute_saved: float | None = None
    """Share of the model's work that was not needed, from the tokens that really ran; None where nothing was saved."""


class DeviceLost(RuntimeError):
    """The device works no more in this process, whatever is asked of it; a new process may find it well."""


class Engine(Protocol):
    """Runs models on one device; owned by one thread."""

    device: str

    def fetch(self, model: str) -> None:
        """Bring the model's files to this machine, if they are not here. Raises StudioError ``model_unavailable``."""

    @property
    def loaded(self) -> str | None:
        """Name of the model that is ready to paint."""

    def load(self, model: str) -> None:
        """Make the model ready. Raises StudioError ``model_unavailable`` or ``out_of_memory``."""

    def paint(
        self, plan: Plan, images: Sequence[Image.Image], report: Report = silent, show: Show | None = None
    ) -> Iterator[Painted]:
        """Paint the plan's images in order of its seeds; `images` are the RGB inputs of an edit. `show` is handed small
        pictures of what is becoming, now and then, if the engine can make them.

        Raises StudioError ``out_of_memory``, ``model_unavailable`` or ``engine_failed``; lets through whatever
        `report` raises. Raises DeviceLost where only a new process can go on.
        """


LIGHT_DEVICE = "light"
"""In place of a device's name, for the worker of what needs no model."""


def open_engine(settings: Settings, models: Mapping[str, Model], device: str) -> Engine:
    """The engine that the settings name, for one device (``cpu``, ``cuda:0``)."""
    module, _, function = settings.engine.partition(":")
    opener = getattr(import_module(module), function)
    return cast(Engine, opener(models, device))
