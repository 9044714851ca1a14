"""Plans: exactly what will be done for one job, with every default filled in and every seed drawn.

A plan is stored in the job's row, so that a second attempt makes the very same pictures. There are three kinds, told
apart by `kind`: a painting by a model, adjustments of a picture, and a batch of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from qwen_image_studio.contract.adjustments import Adjustment, Box
from qwen_image_studio.contract.fields import Cell
from qwen_image_studio.contract.loras import LoraUse
from qwen_image_studio.contract.references import ReferenceRole
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import MIN_STEPS, Lane, OutputFormat, Precision, Tier, Way

MAX_KEY_CHARS = 255
"""Longest key of a variant, as the tables have room for it."""
QUALITY = 95
"""Quality of JPEG and WebP files where the caller names none, 1 to 100."""


@dataclass(frozen=True)
class Variant:
    """A model at a tier, in a precision, with a LoRA or without."""

    model: str
    tier: Tier
    precision: Precision
    lora: str = ""
    """Names of the LoRAs that were asked for, joined by ``+``; empty for none."""

    @property
    def weights(self) -> str:
        """Key of the weights alone, which several variants share: ``Qwen-Image/bf16``."""
        return f"{self.model}/{self.precision}"

    def __str__(self) -> str:
        """Key of the variant: ``Qwen-Image/bf16/quality``, and after it the LoRAs where there are any; of names that
        are too long together, a hash.
        """
        own = f"{self.weights}/{self.tier.value}"
        whole = f"{own}/{self.lora}" if self.lora else own
        return whole if len(whole) <= MAX_KEY_CHARS else f"{own}/{sha256(self.lora.encode()).hexdigest()}"


class Pass(BaseModel):
    """One painting of a part of the canvas."""

    model_config = ConfigDict(frozen=True)

    window: Box
    """Part of the canvas that is painted, in pixels."""
    width: int
    height: int
    """Size in pixels at which it is painted, on the model's grid."""
    known: Box | None = None
    """Part of the canvas that is finished and stays as it is; None where the mask tells what stays."""


class _Plan(BaseModel):
    """The fields that all plans share."""

    model_config = ConfigDict(frozen=True)

    lane: ClassVar[Lane]
    """Kind of worker that carries it out."""

    output_format: OutputFormat
    output_quality: int = QUALITY
    """Quality of JPEG and WebP files, 1 to 100."""

    @property
    def variant(self) -> Variant | None:
        """Return what has to be loaded; None where no model paints."""
        return None

    @property
    def shown_tier(self) -> Tier:
        """Return the tier that its job tells; `quality` where no model paints."""
        return self.variant.tier if self.variant else Tier.QUALITY

    @property
    def rows(self) -> int | None:
        """Return the number of rows of a batch; None for other plans."""
        return None

    @property
    def said(self) -> str:
        """Return the words that it carries out; empty where it has none."""
        return ""

    @property
    def images(self) -> int:
        """Return the number of images that the plan makes."""
        return 1

    @property
    def asked(self) -> int:
        """Return the number of images that limits count: those of all rows of a batch, without its contact sheet."""
        return self.images

    @property
    def paintings(self) -> int:
        """Return the number of times that its steps are gone through."""
        return self.images

    @property
    def steps_of_one(self) -> int:
        """Return the number of steps of one painting."""
        return 1

    @property
    def all_steps(self) -> int:
        """Return the number of steps of all paintings."""
        return self.steps_of_one * self.paintings

    def steps_after(self, images: int) -> int:
        """Return the number of steps that are done once so many images are there."""
        return self.all_steps * images // self.images

    def layer_of(self, number: int) -> int | None:
        """Return which layer an image is, by its number, from 0 for the backmost; None for all other images."""
        return None


class PaintPlan(_Plan):
    """A painting by a model."""

    lane: ClassVar[Lane] = Lane.PAINT

    kind: Literal["paint"] = "paint"
    model: str
    tier: Tier
    precision: Precision | None = None
    """Number format of the weights, where the device can; None for the model's own."""
    loras: tuple[LoraUse, ...] = ()
    """LoRAs besides the one that may belong to the tier."""
    prompt: str
    negative_prompt: str
    width: int
    height: int
    """Size of the delivered image in pixels."""
    paint_width: int
    paint_height: int
    """Size in pixels that the model paints, on its grid."""
    steps: int
    guidance_scale: float
    seeds: tuple[int, ...]
    """Seeds, one for each image."""
    way: Way = Way.GENERATE
    """Way in which the model paints, which chooses its family: from a description, or by an instruction."""
    strength: float = 1.0
    """Distance to go from the image that the painting starts from, 0 to 1; at 1 nothing of it is left."""
    mask: bool = False
    """Whether the last input is a mask of the first one's size, in which white may change."""
    place: Box | None = None
    """Box of the input on a larger canvas, in pixels; None where there is no such canvas."""
    passes: tuple[Pass, ...] = ()
    """Parts that are painted one after the other; none where the whole image is painted at once."""
    background: Background = Background.AUTO
    """What lies behind what is painted."""
    layers: int = 0
    """Number of layers that a picture is taken apart into; 0 where it is painted as one."""
    roles: tuple[ReferenceRole, ...] = ()
    """What each input is to the painting, in their order; none where nothing was said of any."""
    feather: int | None = None
    """Width of the soft edge of what a mask marks, in pixels of the image, inwards; None for the engine's own."""

    @property
    def variant(self) -> Variant:
        """Return what has to be loaded."""
        lora = "+".join(sorted(each.name for each in self.loras))
        return Variant(self.model, self.tier, self.precision or Precision.BF16, lora)

    @property
    def said(self) -> str:
        """Return the prompt."""
        return self.prompt

    @property
    def images(self) -> int:
        """Return the number of images: one for each seed, or the layers and what they make together."""
        return len(self.seeds) * (self.layers + 1)

    @property
    def paintings(self) -> int:
        """Return the number of paintings: one for each seed, since layers are painted together."""
        return len(self.seeds)

    def steps_after(self, images: int) -> int:
        """Return the number of steps that are done once so many images are there."""
        of_each = self.images // self.paintings
        return self.steps_of_one * -(-images // of_each)

    def layer_of(self, number: int) -> int | None:
        """Return which layer an image is, by its number, from 0 for the backmost; None for all other images."""
        place = number % (self.layers + 1)
        return place if place < self.layers else None

    @property
    def run_steps(self) -> int:
        """Return the denoising steps of one pass: fewer where it does not start from noise alone."""
        return min(self.steps, max(MIN_STEPS, round(self.steps * self.strength)))

    @property
    def steps_of_one(self) -> int:
        """Return the denoising steps of one painting, over all its passes."""
        return self.run_steps * max(1, len(self.passes))

    def megapixel_steps(self, step: int) -> float:
        """Return the painted pixels, in millions, times their steps, after so many steps over all images and passes.

        Of layers, each has pixels of its own, and so has what they make together.
        """
        sizes = [(each.width, each.height) for each in self.passes] or [(self.paint_width, self.paint_height)]
        at_once = self.images // self.paintings
        megapixels = [at_once * width * height / 1e6 for width, height in sizes]
        images, rest = divmod(min(step, self.all_steps), self.steps_of_one)
        passes, left = divmod(rest, self.run_steps)
        done = images * sum(megapixels) + sum(megapixels[:passes])
        return done * self.run_steps + (megapixels[passes] * left if left else 0.0)


class AdjustPlan(_Plan):
    """Adjustments of one picture, without a model."""

    lane: ClassVar[Lane] = Lane.LIGHT

    kind: Literal["adjust"] = "adjust"
    prompt: str = ""
    """Instruction from which the adjustments were read; empty where the caller sent them."""
    adjustments: tuple[Adjustment, ...] = ()
    """Adjustments in the order in which they are made."""


class BatchPlan(_Plan):
    """A job for each row of a table; output format and quality are those of the contact sheet."""

    lane: ClassVar[Lane] = Lane.LIGHT

    kind: Literal["batch"] = "batch"
    job: dict[str, Any]
    """Body of a request for another operation, with {{column}} in its texts."""
    table: tuple[dict[str, Cell], ...]
    row_seeds: tuple[int | None, ...]
    """Seed of each row's first image; None where the operation takes none."""
    images_of_rows: int = 0
    """Number of images that the rows ask for."""

    @property
    def shown_tier(self) -> Tier:
        """Return the tier of all rows; `quality` also where they name their own."""
        asked = str(self.job.get("tier") or Tier.QUALITY)
        return Tier(asked) if asked in {*Tier} else Tier.QUALITY

    @property
    def rows(self) -> int | None:
        """Return the number of rows."""
        return len(self.table)

    @property
    def asked(self) -> int:
        """Return the number of images that the rows ask for."""
        return self.images_of_rows


Plan = PaintPlan | AdjustPlan | BatchPlan
_PLAN: TypeAdapter[Plan] = TypeAdapter(Annotated[Plan, Field(discriminator="kind")])


def pictures_of(row: Mapping[str, Any]) -> int:
    """Return the number of pictures that a job's own attempt makes, by the plan in its row, which may be of any
    version.
    """
    return max(1, len(row.get("seeds", ()))) * (int(row.get("layers", 0)) + 1)


def read_plan(row: Mapping[str, Any]) -> Plan:
    """Return the plan that a job's row stores. Raises ValidationError for anything that is not a plan."""
    return _PLAN.validate_python(row)
