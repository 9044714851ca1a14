"""THE contract: what a caller may send and what comes back. OpenAPI is derived from these models.

A parameter has one name everywhere (HTTP, Dify tools, shell, Python). Fields are a superset of OpenAI's image API.
"""

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator
from pydantic_core import PydanticCustomError

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
    Operation,
    OutputFormat,
    State,
    Tier,
)

Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]


class _Painting(BaseModel):
    """Parameters that every painting operation takes."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, str_strip_whitespace=True)

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARS)
    """What to paint; for an edit, the instruction. Chinese or English."""
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


JobRequest = Annotated[GenerateRequest | EditRequest, Field(discriminator="operation")]
JOB_REQUEST: TypeAdapter[GenerateRequest | EditRequest] = TypeAdapter(JobRequest)


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ProgressView(_View):
    """How far a running job is."""

    phase: str = ""
    """loading, encoding, denoising, decoding, storing; empty while queued."""
    step: int = 0
    steps: int = 0
    """Denoising steps over all images of the job."""
    eta_s: float | None = None
    """Seconds left at the present pace; null while unknown."""
    preview_url: str | None = None
    """A small picture of the state in between; null where the engine makes none."""


class ImageView(_View):
    """One stored image."""

    id: str
    url: str
    """Signed link for people; it expires."""
    thumbnail_url: str
    width: int
    height: int
    mime_type: str
    seed: int | None
    """The seed that paints this image alone; null for an uploaded image."""
    sha256: str
    """Of the file's bytes, in hex."""


class ImageRecord(ImageView):
    """One stored image with where it came from."""

    object: Literal["image"] = "image"
    job_id: str | None
    bytes: int
    created_at: float


class JobError(_View):
    """Why a job failed."""

    code: str
    message: str


class JobView(_View):
    """One job as its owner sees it."""

    object: Literal["job"] = "job"
    id: str
    operation: Operation
    model: str
    tier: Tier
    state: State
    queue_position: int | None
    """1 is next; 0 while running; null once ended."""
    progress: ProgressView
    attempt: int
    images: list[ImageView]
    warnings: list[str]
    compute_saved: float | None
    """Share of the model's work that was not needed, 0 to 1; null where nothing was saved by design."""
    cached: bool
    """Whether the images come from an earlier job."""
    engine: Literal["qwen", "cv"]
    error: JobError | None
    created_at: float
    """Unix seconds, as all times."""
    started_at: float | None
    finished_at: float | None


class JobList(_View):
    """One page of the owner's jobs, newest first."""

    object: Literal["list"] = "list"
    data: list[JobView]
    has_more: bool
    """Ask again with after=<id of the last one>."""


class SizeView(_View):
    """Width and height in pixels."""

    width: int
    height: int


class WordsView(_View):
    """What one thing is called, the usual name first."""

    en: list[str]
    zh: list[str]


class VocabularyView(_View):
    """All that a very small model knows."""

    objects: list[WordsView]
    texts: list[str]
    backgrounds: list[WordsView]
    materials: list[WordsView]
    layouts: WordsView
    edits: dict[str, WordsView]
    """Instructions of each kind."""


class ModelView(_View):
    """One model and what it takes."""

    object: Literal["model"] = "model"
    id: str
    repository: str
    owned_by: str
    operations: list[Operation]
    sizes: dict[AspectRatio, SizeView]
    """Native size of each aspect ratio."""
    min_side: int
    max_side: int
    max_pixels: int
    max_aspect: float
    max_inputs: int
    """How many images an edit takes."""
    max_images: int
    """Largest n."""
    min_steps: int
    max_steps: int
    default_steps: int
    default_guidance_scale: float
    vocabulary: VocabularyView | None
    """All that the miniature knows; null of the large models, which know the world."""
    loaded: bool
    """Whether a worker holds it in memory now."""


class ModelList(_View):
    """Models of this server; the first that does an operation is its default."""

    object: Literal["list"] = "list"
    data: list[ModelView]


class HealthState(StrEnum):
    """The server in one word."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    DEGRADED = "degraded"
    FAILED = "failed"


class WorkerView(_View):
    """One worker process."""

    device: str
    state: Literal["starting", "ready", "busy", "failed", "lost"]
    model: str | None
    message: str


class Health(_View):
    """How the server is; always answered with 200, so that 'starting' can be told from 'gone'."""

    service: Literal["qwen-image-studio"] = "qwen-image-studio"
    version: str
    state: HealthState
    message: str
    """The state in a sentence."""
    queued: int
    running: int
    workers: list[WorkerView]


class ErrorDetail(_View):
    """What went wrong and what to do."""

    code: str
    message: str
    param: str | None
    type: str
    request_id: str


class ErrorBody(_View):
    """The shape of every error."""

    error: ErrorDetail


class JobQuery(BaseModel):
    """How to read one job."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    wait: float = Field(0, ge=0, le=60, allow_inf_nan=False)
    """Answer when the job ends, changes state or moves, at the latest after this many seconds (long poll)."""


class JobsQuery(BaseModel):
    """How to list jobs."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    limit: int = Field(20, ge=1, le=100)
    after: str | None = Field(None, max_length=64)
    """Id of the last job of the page before."""
    state: State | None = None
