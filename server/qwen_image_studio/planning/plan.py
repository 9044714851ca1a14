"""What exactly will be done for one job: every default filled in, every seed drawn.

A plan is kept in the job's row, so that a second attempt makes the very same pictures. There are three kinds, told
apart by `kind`: a painting by a model, adjustments of a picture, and a batch of rows.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from qwen_image_studio.contract.adjustments import Adjustment, Box
from qwen_image_studio.contract.fields import Cell
from qwen_image_studio.contract.words import MIN_STEPS, Lane, OutputFormat, Precision, Tier, Way
from qwen_image_studio.planning.variant import Variant

QUALITY = 95
"""Quality of JPEG and WebP files where the caller names none, 1 to 100."""


class Pass(BaseModel):
    """One painting of a part of the canvas."""

    model_config = ConfigDict(frozen=True)

    window: Box
    """The part of the canvas that is painted."""
    width: int
    height: int
    """Size at which it is painted, on the model's grid."""
    known: Box | None = None
    """The part of the canvas that is there already and stays; None where the mask says it."""


class _Plan(BaseModel):
    """What all plans have."""

    model_config = ConfigDict(frozen=True)

    lane: ClassVar[Lane]
    """Which kind of worker carries it out."""

    output_format: OutputFormat
    output_quality: int = QUALITY
    """Quality of JPEG and WebP files, 1 to 100."""

    @property
    def variant(self) -> Variant | None:
        """What has to be loaded; None where no model paints."""
        return None

    @property
    def rows(self) -> int | None:
        """Number of rows of a batch; None for other plans."""
        return None

    @property
    def images(self) -> int:
        """Number of images that come of it."""
        return 1

    @property
    def steps_of_one(self) -> int:
        """Steps of one image."""
        return 1


class PaintPlan(_Plan):
    """A painting by a model."""

    lane: ClassVar[Lane] = Lane.PAINT

    kind: Literal["paint"] = "paint"
    model: str
    tier: Tier
    precision: Precision | None = None
    """Number format of the weights; None for the model's own."""
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

    @property
    def variant(self) -> Variant | None:
        """What has to be loaded."""
        return Variant(self.model, self.tier, self.precision or Precision.BF16)

    @property
    def images(self) -> int:
        """Number of images that come of it, one for each seed."""
        return len(self.seeds)

    @property
    def run_steps(self) -> int:
        """Denoising steps of one pass: fewer where it does not start from noise alone."""
        return min(self.steps, max(MIN_STEPS, round(self.steps * self.strength)))

    @property
    def steps_of_one(self) -> int:
        """Denoising steps of one image, over all its passes."""
        return self.run_steps * max(1, len(self.passes))


class AdjustPlan(_Plan):
    """Adjustments of one picture, without a model."""

    lane: ClassVar[Lane] = Lane.LIGHT

    kind: Literal["adjust"] = "adjust"
    prompt: str = ""
    """The instruction that said them, if there was one."""
    adjustments: tuple[Adjustment, ...] = ()
    """What is done, in this order."""


class BatchPlan(_Plan):
    """A job for each row of a table; the format is that of the contact sheet."""

    lane: ClassVar[Lane] = Lane.LIGHT

    kind: Literal["batch"] = "batch"
    job: dict[str, Any]
    """A job of another operation, with {{column}} in its texts."""
    table: tuple[dict[str, Cell], ...]
    row_seeds: tuple[int | None, ...]
    """Seed of each row's first image; None where the operation takes none."""

    @property
    def rows(self) -> int | None:
        """Number of rows."""
        return len(self.table)


Plan = PaintPlan | AdjustPlan | BatchPlan
_PLAN: TypeAdapter[Plan] = TypeAdapter(Annotated[Plan, Field(discriminator="kind")])


def read_plan(row: Mapping[str, Any]) -> Plan:
    """Return the plan that a job's row keeps. Raises ValidationError for anything else."""
    return _PLAN.validate_python(row)
