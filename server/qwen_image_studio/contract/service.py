"""Answers about the server itself: models, templates and health."""

from enum import StrEnum
from typing import Literal

from pydantic import ConfigDict, Field

from qwen_image_studio.contract.operators import OperatorView
from qwen_image_studio.contract.view import View
from qwen_image_studio.contract.words import AspectRatio, Language, Operation, Precision, SlotType, Tier, WorkerState


class SizeView(View):
    """Width and height in pixels."""

    width: int
    height: int


class WordsView(View):
    """What one thing is called, the usual name first."""

    en: list[str]
    zh: list[str]


class VocabularyView(View):
    """All that a very small model knows."""

    objects: list[WordsView]
    texts: list[str]
    backgrounds: list[WordsView]
    materials: list[WordsView]
    layouts: WordsView
    edits: dict[str, WordsView]
    """Instructions of each kind."""


class TierView(View):
    """One speed/quality setting of a model."""

    tier: Tier
    steps: int
    guidance_scale: float
    distilled: bool
    """Whether it is made for these steps and this guidance alone; with others its pictures may be worse."""
    skips_steps: bool
    """Whether steps at which the picture changes little are skipped."""
    precision: Precision
    """Number format to paint in, where the device can."""
    max_pixels: int
    """Largest area that is painted; a larger picture is painted smaller and resized."""
    licence: str | None
    """Licence of the LoRA that it needs, as an SPDX identifier where there is one, ``unknown`` where it has not been
    read; null where it needs none."""
    lora_here: bool | None
    """Whether the file of that LoRA is on this machine; null where it needs none."""
    seconds: float | None
    """Median time of a picture as it was measured here, without waiting; null where none was."""


class LoraView(View):
    """One LoRA that the operator offers for a model."""

    name: str
    about: dict[Language, str]
    """What it does, in a sentence."""
    words: dict[Language, list[str]]
    """Words that call for it in a prompt; empty where it needs none."""
    scale: float
    """Weight where a request names none."""
    max_scale: float
    """Largest weight, either side of 0."""
    licence: str
    """Licence of its file, as an SPDX identifier where there is one."""


class ModelView(View):
    """One model and what it takes."""

    object: Literal["model"] = "model"
    id: str
    repository: str
    created: int
    """When this server began to offer it, in Unix seconds."""
    owned_by: str
    licence: str
    """Licence of the weights, as an SPDX identifier where there is one."""
    licence_id: str | None
    """Name of a licence that forbids some uses, as the operator has accepted it (STUDIO_LICENCES); null for others."""
    operations: list[Operation]
    transparency: list[Operation]
    """Those of its operations that take background=transparent; empty where it paints opaque pictures alone."""
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
    tiers: list[TierView]
    """What a job may ask for as `tier`."""
    loras: list[LoraView]
    """What the API key may ask for in `loras`."""
    vocabulary: VocabularyView | None
    """All that the miniature knows; null for the large models, which know the world."""
    loaded: bool
    """Whether a worker holds it in memory now."""
    unavailable: str | None
    """Why no job for it is painted at the moment: no worker that lives offers it. A job for it waits for one. null
    where one does."""


class ModelList(View):
    """Models of this server; the first that does an operation is its default."""

    object: Literal["list"] = "list"
    data: list[ModelView]


class SlotView(View):
    """One slot of a template."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    type: SlotType
    about: dict[Language, str]
    default: str | None = None
    """Taken where the slot is left out; without one it has to be filled."""
    choices: dict[str, dict[Language, str]] = Field(default_factory=dict)
    """What a slot of type choice takes, by name."""


class TemplateView(View):
    """One instruction template."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    version: int = Field(ge=1)
    operation: Operation
    title: dict[Language, str]
    text: dict[Language, str]
    slots: dict[str, SlotView] = Field(default_factory=dict)


class TemplateList(View):
    """The templates of this server."""

    object: Literal["list"] = "list"
    data: list[TemplateView]


class HealthState(StrEnum):
    """The server in one word."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    DEGRADED = "degraded"
    FAILED = "failed"


class WorkerView(View):
    """One worker process, of any host."""

    host: str
    """Name of the host that it runs on, which tells equal devices of several hosts apart; empty where it is not known.
    """
    device: str
    state: WorkerState
    model: str | None
    message: str


class Health(View):
    """How the server is."""

    service: Literal["qwen-image-studio"] = "qwen-image-studio"
    version: str
    state: HealthState
    message: str
    """The state in a sentence."""
    queued: int | None
    """Jobs that wait; null while the job store cannot be read."""
    running: int | None
    """Jobs under way; null likewise."""
    workers: list[WorkerView]
    credentials: bool = False
    """Whether the files of pictures are signed with content credentials (C2PA)."""
    operator: OperatorView | None = None
    """For keys with the scope operate; null for others."""


class Liveness(View):
    """That the web process answers; nothing about its workers."""

    service: Literal["qwen-image-studio"] = "qwen-image-studio"
    version: str
