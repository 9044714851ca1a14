"""What exactly will be painted for one job: every default filled in, every seed drawn. Kept in the job's row."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from qwen_image_studio.contract.adjustments import Adjustment, Box
from qwen_image_studio.contract.words import MIN_STEPS, Operation, OutputFormat, Tier, Way


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
    way: Way = Way.GENERATE
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
    def _read_older_rows(cls, values: Any) -> Any:
        """Take `through`, as rows before version 0.2 call it; the oldest say neither."""
        if not isinstance(values, dict) or "way" in values:
            return values
        values = dict(values)
        way = values.pop("through", values["operation"])
        return {**values, "way": way if way in set(Way) else Way.GENERATE}

    @property
    def run_steps(self) -> int:
        """Denoising steps of one pass: fewer where it does not start from noise alone."""
        return min(self.steps, max(MIN_STEPS, round(self.steps * self.strength)))

    @property
    def steps_of_one(self) -> int:
        """Denoising steps of one image, over all its passes."""
        return self.run_steps * max(1, len(self.passes))
