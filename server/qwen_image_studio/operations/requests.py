"""What a caller may send. A parameter has one name everywhere (HTTP, Dify tools, shell, Python)."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, field_validator, model_validator
from pydantic_core import PydanticCustomError

from qwen_image_studio.contract.adjustments import MAX_ADJUSTMENTS, Adjustment, Region
from qwen_image_studio.contract.fields import Cell, ConversationName, Side, UserName, none_if_empty
from qwen_image_studio.contract.words import (
    MAX_IMAGES,
    MAX_INPUTS,
    MAX_PROMPT_CHARS,
    MAX_ROWS,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    MIN_SIDE,
    MIN_STEPS,
    Anchor,
    AspectRatio,
    Language,
    Operation,
    OutputFormat,
    Prefer,
    PromptKind,
    SeedMode,
    Tier,
)


class _Submitted(BaseModel):
    """What every job may say of where it comes from."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    conversation: ConversationName = None
    """A name of the caller's own. Where an image is needed and none sent, it is the last one of this conversation."""
    user: Annotated[UserName, BeforeValidator(none_if_empty)] = None
    """A name of the caller's own for the person it asks for; /v1/jobs?user= lists that one's jobs alone."""


class _Kept(_Submitted):
    """How every operation delivers its images."""

    model_config = ConfigDict(str_strip_whitespace=True)

    output_quality: int | None = Field(None, ge=1, le=100)
    """Of JPEG and WebP files, 1 to 100. Left out: 95."""


class _Prompted(_Kept):
    """Parameters that every painting operation takes."""

    prompt: str = Field("", max_length=MAX_PROMPT_CHARS)
    """What to paint; for an edit, the instruction. Chinese or English. Needed unless there is a template."""
    template: str | None = Field(None, max_length=64)
    """Instead of a prompt, the id of a template of /v1/templates."""
    slots: dict[str, str] = Field(default_factory=dict, max_length=20)
    """What stands in the template's slots."""
    language: Language | None = None
    """Of the template's words. Left out: Chinese where a slot has Chinese in it."""
    negative_prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARS)
    """What to keep out. Left out: the model's recommended one."""
    model: str | None = Field(None, max_length=200)
    """Name or repository id of a model in /v1/models. Left out: the server's first that does the operation."""
    n: int = Field(1, ge=1, le=MAX_IMAGES)
    """How many images; image i is painted with seed + i and equals that image asked for alone."""
    steps: int | None = Field(None, ge=MIN_STEPS, le=MAX_STEPS)
    """Denoising steps. Left out: the model's own."""
    guidance_scale: float | None = Field(None, ge=1, le=20, allow_inf_nan=False)
    """How strictly to follow the prompt (true CFG); 1 is off and twice as fast. Left out: the model's own."""
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    """Seed of the first image. Left out: random; the answer tells it."""
    tier: Tier = Tier.QUALITY
    """Speed/quality setting."""
    output_format: OutputFormat = OutputFormat.PNG
    """File format of the images."""

    @model_validator(mode="after")
    def _a_prompt_or_a_template(self) -> Self:
        if not self.prompt and self.template is None and not isinstance(self, OutpaintRequest):
            raise PydanticCustomError("no_prompt", "is missing; send what to paint, or a template", {"param": "prompt"})
        if self.prompt and self.template is not None:
            raise PydanticCustomError("prompt_said_twice", "send a prompt or a template, not both", {"param": "prompt"})
        if self.slots and self.template is None:
            raise PydanticCustomError("slots_without_template", "slots belong to a template", {"param": "slots"})
        return self


class _Sized(BaseModel):
    """The size of the result, in one of three ways."""

    width: Side | None = None
    """Pixels; goes together with height."""
    height: Side | None = None
    """Pixels; goes together with width."""
    size: str | None = Field(None, max_length=20)
    """WIDTHxHEIGHT in pixels, or auto; instead of width and height."""

    @field_validator("size")
    @classmethod
    def _size_is_written_as_wxh(cls, value: str | None) -> str | None:
        if value is None or value == "auto":
            return value
        if not (match := re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", value)):
            raise ValueError("must be WIDTHxHEIGHT such as 1024x768, or auto")
        if not all(MIN_SIDE <= int(side) <= MAX_SIDE for side in match.groups()):
            raise ValueError(f"each side must be {MIN_SIDE} to {MAX_SIDE} pixels")
        return value.lower().replace("×", "x")

    @model_validator(mode="after")
    def _one_way_to_say_the_size(self) -> Self:
        if (self.width is None) != (self.height is None):
            message = "width and height go together; send both, or aspect_ratio"
            raise PydanticCustomError("size_half_said", message, {"param": "width"})
        if len(said := self.ways_of_size()) > 1:
            message = f"send only one of {', '.join('width and height' if way == 'width' else way for way in said)}"
            raise PydanticCustomError("size_said_twice", message, {"param": said[0]})
        return self

    def ways_of_size(self) -> list[str]:
        """The parameters by which the caller said the size."""
        ways = {
            "size": self.size not in {None, "auto"},
            "aspect_ratio": getattr(self, "aspect_ratio", None) is not None,
            "width": self.width is not None,
        }
        return [way for way, used in ways.items() if used]

    @property
    def asked_size(self) -> tuple[int, int] | None:
        """Width and height in pixels where the caller named them."""
        if self.width is not None and self.height is not None:
            return self.width, self.height
        if self.size not in {None, "auto"}:
            width, height = str(self.size).split("x")
            return int(width), int(height)
        return None


class _Shaped(_Sized):
    aspect_ratio: AspectRatio | None = None
    """Shape at the model's native size; instead of width and height."""


class _OfOneImage(BaseModel):
    image: str | None = Field(None, max_length=4000)
    """Image id or URL; or send a file (multipart)."""

    @property
    def images(self) -> list[str]:
        """The id or URL as a list; empty where a file is sent or none."""
        return [] if self.image is None else [self.image]


class _OfImages(BaseModel):
    image: str | list[str] | None = None
    """Image ids or URLs, in the order in which the instruction numbers them; or send files (multipart)."""

    @field_validator("image")
    @classmethod
    def _one_to_three(cls, value: str | list[str] | None) -> str | list[str] | None:
        if isinstance(value, list) and not 1 <= len(value) <= MAX_INPUTS:
            raise ValueError(f"takes 1 to {MAX_INPUTS} images")
        return value

    @property
    def images(self) -> list[str]:
        """The ids and URLs as a list; empty where files are sent."""
        return [self.image] if isinstance(self.image, str) else list(self.image or ())


class GenerateRequest(_OfOneImage, _Shaped, _Prompted):
    """Paint from a prompt; with an image, paint the prompt in that image's likeness."""

    TAKES_IMAGES: ClassVar[tuple[int, int]] = (0, 1)
    operation: Literal[Operation.GENERATE]
    strength: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    """How far to go from the image, above 0 to 1, where nothing of it is left. Only with an image. Left out: 0.6."""


class EditRequest(_OfImages, _Shaped, _Prompted):
    """Change one to three images by an instruction."""

    TAKES_IMAGES: ClassVar[tuple[int, int]] = (1, MAX_INPUTS)
    operation: Literal[Operation.EDIT]
    prefer: Prefer = Prefer.AUTO
    """Whether an instruction that says only adjustments (crop, rotate ...) is done at once, without a model."""


class InpaintRequest(_OfImages, _Prompted):
    """Change a part of an image, and nothing outside it. Further images are there to take things from."""

    TAKES_IMAGES: ClassVar[tuple[int, int]] = (1, MAX_INPUTS)
    operation: Literal[Operation.INPAINT]
    mask: str | None = Field(None, max_length=4000)
    """Image id or URL of the mask: white may change, black stays. Or send a file, or a region."""
    region: Region | None = None
    """Instead of a mask, the box that may change."""
    prompt_kind: PromptKind | None = None
    """What the prompt is. Left out: an instruction where the model takes one."""
    strength: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)
    """How far to go from what is there; at 1 nothing of it is left. Below, steps are saved."""


class OutpaintRequest(_OfOneImage, _Sized, _Prompted):
    """Continue an image beyond its edges; its own pixels stay as they are."""

    TAKES_IMAGES: ClassVar[tuple[int, int]] = (1, 1)
    operation: Literal[Operation.OUTPAINT]
    left: int = Field(0, ge=0, le=MAX_SIDE)
    """Pixels to add on this side."""
    right: int = Field(0, ge=0, le=MAX_SIDE)
    """Pixels to add on this side."""
    top: int = Field(0, ge=0, le=MAX_SIDE)
    """Pixels to add on this side."""
    bottom: int = Field(0, ge=0, le=MAX_SIDE)
    """Pixels to add on this side."""
    aspect_ratio: str | None = Field(None, pattern=r"^\d{1,4}:\d{1,4}$")
    """Instead of pixels, the shape to reach, WIDTH:HEIGHT such as 16:9; or the size to reach."""
    anchor: Anchor = Anchor.CENTER
    """Where the image stands on the canvas of that shape or size."""
    prompt_kind: PromptKind | None = None
    """What the prompt is. Left out: an instruction where the model takes one. No prompt is needed."""
    strength: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    """How far to go from a smooth continuation of the edges. Left out: 1 with a prompt, 0.8 without."""

    @model_validator(mode="after")
    def _one_way_to_grow(self) -> Self:
        by_sides = any((self.left, self.right, self.top, self.bottom))
        if by_sides is bool(self.ways_of_size()):
            message = "send how far to go: pixels as left, right, top, bottom; or aspect_ratio, or size"
            raise PydanticCustomError("how_far", message, {"param": "left" if by_sides else "aspect_ratio"})
        return self


class AdjustRequest(_OfOneImage, _Kept):
    """Change one image without a model, at once."""

    TAKES_IMAGES: ClassVar[tuple[int, int]] = (1, 1)
    operation: Literal[Operation.ADJUST]
    adjustments: list[Adjustment] = Field(default_factory=list, max_length=MAX_ADJUSTMENTS)
    """What to do, in this order."""
    prompt: str | None = Field(None, min_length=1, max_length=MAX_PROMPT_CHARS)
    """Instead of adjustments, an instruction that says nothing else, in Chinese or English."""
    output_format: OutputFormat | None = None
    """File format of the image. Left out: what the instruction says, else png."""

    @model_validator(mode="after")
    def _adjustments_or_words(self) -> Self:
        if (self.prompt is None) is not bool(self.adjustments) and not (self.output_format and self.prompt is None):
            message = "send adjustments, or an instruction as prompt, and not both"
            raise PydanticCustomError("adjustments_or_prompt", message, {"param": "adjustments"})
        return self


class BatchRequest(_Submitted):
    """One job for each row of a table."""

    # Texts are not stripped: in a table, a tab at the end of a line is an empty cell.
    operation: Literal[Operation.BATCH]
    conversation: ConversationName = None
    """A name of the caller's own, to which the images belong; a `job` that goes on with the last one names it, too."""
    job: dict[str, Any]
    """A job of any other operation, in whose texts {{column}} stands for the row's value. A text that is nothing but
    {{column}} becomes the value itself, also a number; where the row has none, the parameter is left out."""
    rows: Annotated[list[dict[str, Cell]], Field(max_length=MAX_ROWS)] | str
    """The rows: a list of objects, or a text with such a list as JSON or with a table as CSV, whose first line names
    the columns."""
    seed_mode: SeedMode = SeedMode.PER_ROW
    """How the rows get their seeds from the job's (a random one where it has none)."""


Painting = GenerateRequest | EditRequest | InpaintRequest | OutpaintRequest
"""What a model does."""
Request = Painting | AdjustRequest | BatchRequest
JobRequest = Annotated[Request, Field(discriminator="operation")]
JOB_REQUEST: TypeAdapter[Request] = TypeAdapter(JobRequest)
