"""What a caller may send. A parameter has one name everywhere (HTTP, Dify tools, shell, Python)."""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator
from pydantic_core import PydanticCustomError

from server.adjustments import MAX_ADJUSTMENTS, Adjustment
from server.vocabulary import (
    MAX_IMAGES,
    MAX_INPUTS,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    MIN_SIDE,
    MIN_STEPS,
    AspectRatio,
    Language,
    Operation,
    OutputFormat,
    Prefer,
    Tier,
)

Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]


class _Painting(BaseModel):
    """Parameters that every painting operation takes."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, str_strip_whitespace=True)

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
    width: Side | None = None
    """Pixels; goes together with height."""
    height: Side | None = None
    """Pixels; goes together with width."""
    size: str | None = Field(None, max_length=20)
    """WIDTHxHEIGHT in pixels, or auto; instead of width and height."""
    aspect_ratio: AspectRatio | None = None
    """Shape at the model's native size; instead of width and height."""
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
    def _a_prompt_or_a_template(self) -> Self:
        if not self.prompt and self.template is None:
            raise PydanticCustomError("no_prompt", "is missing; send what to paint, or a template", {"param": "prompt"})
        if self.prompt and self.template is not None:
            raise PydanticCustomError("prompt_said_twice", "send a prompt or a template, not both", {"param": "prompt"})
        if self.slots and self.template is None:
            raise PydanticCustomError("slots_without_template", "slots belong to a template", {"param": "slots"})
        return self

    @model_validator(mode="after")
    def _one_way_to_say_the_size(self) -> Self:
        if (self.width is None) != (self.height is None):
            message = "width and height go together; send both, or aspect_ratio"
            raise PydanticCustomError("size_half_said", message, {"param": "width"})
        ways = {
            "size": self.size not in {None, "auto"},
            "aspect_ratio": self.aspect_ratio is not None,
            "width": self.width is not None,
        }
        said = [way for way, used in ways.items() if used]
        if len(said) > 1:
            message = "send only one of width and height, size, aspect_ratio"
            raise PydanticCustomError("size_said_twice", message, {"param": said[0]})
        return self

    @property
    def asked_size(self) -> tuple[int, int] | None:
        """Width and height in pixels where the caller named them."""
        if self.width is not None and self.height is not None:
            return self.width, self.height
        if self.size not in {None, "auto"}:
            width, height = str(self.size).split("x")
            return int(width), int(height)
        return None


class GenerateRequest(_Painting):
    """Paint from a prompt."""

    operation: Literal[Operation.GENERATE]


class EditRequest(_Painting):
    """Change one to three images by an instruction."""

    operation: Literal[Operation.EDIT]
    image: str | list[str] | None = None
    """Image ids or URLs, in the order in which the instruction numbers them; or send files (multipart)."""
    prefer: Prefer = Prefer.AUTO
    """Whether an instruction that says only adjustments (crop, rotate ...) is done at once, without a model."""

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


class AdjustRequest(BaseModel):
    """Change one image without a model, at once."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, str_strip_whitespace=True)

    operation: Literal[Operation.ADJUST]
    image: str | None = Field(None, max_length=4000)
    """Image id or URL; or send a file (multipart)."""
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

    @property
    def images(self) -> list[str]:
        """The id or URL as a list; empty where a file is sent."""
        return [] if self.image is None else [self.image]


Request = GenerateRequest | EditRequest | AdjustRequest
JobRequest = Annotated[Request, Field(discriminator="operation")]
JOB_REQUEST: TypeAdapter[Request] = TypeAdapter(JobRequest)
