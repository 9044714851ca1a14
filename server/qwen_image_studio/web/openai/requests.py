"""OpenAI's images API: the requests of its clients. Every parameter of a job is taken as an extra field; what else
comes is left out before (`web.names`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.fields import IDLE_STYLES, AnyBackground, StyleName
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import (
    MAX_DATA_URL_CHARS,
    MAX_DATA_URLS,
    MAX_FEATHER,
    MAX_PROMPT_CHARS,
    MAX_REFERENCE_CHARS,
    Operation,
    PromptKind,
    Way,
)
from qwen_image_studio.models.table import Model, models_for
from qwen_image_studio.operations.edit import EditRequest
from qwen_image_studio.operations.generate import GenerateRequest
from qwen_image_studio.operations.inpaint import InpaintRequest
from qwen_image_studio.operations.paint_request import WAYS_OF_KIND, PaintRequest
from qwen_image_studio.operations.request import OPERATIONS, Request, validated
from qwen_image_studio.operations.transparency import paints, why_opaque
from qwen_image_studio.web.openai.quality import Quality, tier_for

_ANSWERS_IN_BYTES = re.compile(r"(?:openai/)?(?:chat)?gpt-image", re.IGNORECASE)
_NOT_OURS = re.compile(r"auto|(?:openai/)?(?:(?:chat)?gpt-image-[\w.-]{1,60}|dall-e-[23])", re.IGNORECASE)
_ONLY_IN_PART = InpaintRequest.model_fields.keys() - EditRequest.model_fields.keys()
_ONLY_WHOLE = EditRequest.model_fields.keys() - InpaintRequest.model_fields.keys() - {"size"}
MAX_SENT_PROMPT_CHARS = 32_000
"""Longest prompt that is taken, as OpenAI has it; it is cut to what a job takes."""
VARIATION = "Paint a variation of this picture: the same subject in the same style, composed anew."
"""Instruction of a variation for which none was sent."""
_LOOSE = ConfigDict(extra="ignore", use_attribute_docstrings=True, str_strip_whitespace=True)


class _OpenAI(PaintRequest):
    """Parameters with names of OpenAI's own, in all routes."""

    prompt: str = Field("", max_length=MAX_SENT_PROMPT_CHARS)
    """What to paint; for an edit, the instruction. Beyond 8000 characters it is cut. Needed unless there is a template.
    """
    negative_prompt: str | None = Field(None, max_length=MAX_SENT_PROMPT_CHARS)
    """What to keep out. Left out: the model's recommended one."""
    response_format: Literal["b64_json", "url"] | None = None
    """The bytes of each image in base64, or a signed link to it. Left out: both, or for a gpt-image name the bytes."""
    quality: Quality = "auto"
    """The tier to paint in, where none is named: of low, draft or turbo; of medium, balanced or turbo; of standard,
    balanced; of all others, quality. A warning says so where the model has none of them."""
    output_compression: int | None = Field(None, ge=0, le=100)
    """Quality of JPEG and WebP files, 0 to 100; the same as output_quality."""
    background: AnyBackground = Background.AUTO
    """What lies behind what is painted. transparent: nothing, in PNG or WebP; where the model cannot, the images are
    opaque, and a warning says so."""
    style: StyleName | None = None
    """Name of a saved art direction of /v1/styles. OpenAI's vivid and natural have no effect, and a warning says so."""
    moderation: Literal["auto", "low"] = "auto"
    """Taken and ignored: the operator decides."""
    safety_identifier: str | None = Field(None, max_length=1000)
    """Taken and ignored."""
    stream: bool = False
    """Answer with server-sent events: partial images, then each image."""
    partial_images: int = Field(0, ge=0, le=3)
    """How many small pictures of the state in between a stream shows at most; a quick job has fewer or none."""

    @model_validator(mode="after")
    def _cut_long_prompts(self) -> Self:
        for name in ("prompt", "negative_prompt"):
            text = getattr(self, name) or ""
            if len(text) > MAX_PROMPT_CHARS:
                setattr(self, name, text[:MAX_PROMPT_CHARS])
                self._reading.append(f"{name}: of its {len(text)} characters the first {MAX_PROMPT_CHARS} were taken.")
        return self

    @model_validator(mode="after")
    def _one_compression(self) -> Self:
        if self.output_compression is not None and self.output_quality is not None:
            message = "send output_compression or output_quality, not both"
            raise PydanticCustomError("quality_said_twice", message, {"param": "output_compression"})
        return self

    @property
    def has_bytes(self) -> bool:
        """Whether the answer holds the bytes of each image."""
        return self.response_format != "url"

    @property
    def has_link(self) -> bool:
        """Whether the answer holds a link to each image.

        OpenAI answers with bytes for its gpt-image models, and clients that find a link would take it instead.
        """
        if self.response_format is not None:
            return self.response_format == "url"
        return _ANSWERS_IN_BYTES.match(self._asked_model) is None

    @property
    def model_of_another(self) -> str | None:
        """The name that was asked for where it is one of OpenAI, or auto, so that ours paints instead; else None."""
        return self._asked_model if _NOT_OURS.fullmatch(self._asked_model) else None

    @property
    def _asked_model(self) -> str:
        return self.model or ""

    def _as(
        self, operation: Operation, where: str, models: Mapping[str, Model], without: Set[str] = frozenset()
    ) -> Request:
        """Return the request as an `operation` of ours, with those of its parameters that were sent, `without` some.

        Raises StudioError, which calls the request `where`.
        """
        names = OPERATIONS[operation.value].model_fields.keys() - without
        if self.model_of_another is not None:
            names -= {"model"}
        if self.style in IDLE_STYLES:
            names -= {"style"}
        painters, ways = list(self._painters(models)), self._ways(operation)
        able = [each for each in painters if any(paints(each, way, self.background) for way in ways)]
        if self.background is Background.TRANSPARENT and painters and not able:
            names -= {"background"}
            named = None if self.model is None or self.model_of_another is not None else painters[0]
            why = why_opaque(named, ways, models)
            self._reading.append(f"background transparent was painted opaque, since {why}.")
        params = self.model_dump(mode="json", exclude_unset=True, include=names)
        if self.output_compression is not None:
            params["output_quality"] = max(1, self.output_compression)
        if "tier" not in self.model_fields_set:
            tier, warning = tier_for(self.quality, able or painters, ways)
            params |= {} if tier is None else {"tier": tier.value}
            self._reading += [] if warning is None else [warning]
        return validated({**params, "operation": operation.value}, where)

    def _painters(self, models: Mapping[str, Model]) -> Iterable[Model]:
        """Return the models of which one will paint; none where a name is asked for that is not there."""
        if self.model is None or self.model_of_another is not None:
            return models.values()
        try:
            return models_for(self.model, models)
        except StudioError:  # which planning says better
            return []

    def _ways(self, operation: Operation) -> Sequence[Way]:
        """Return the ways in which the operation can be painted, the better one first."""
        if operation is Operation.INPAINT:
            return WAYS_OF_KIND[getattr(self, "prompt_kind", None)]
        return (Way(operation),)


class ImagesGenerateRequest(_OpenAI, GenerateRequest):
    """Paint from a prompt, as OpenAI's clients ask for it."""

    model_config = _LOOSE

    operation: SkipJsonSchema[Literal[Operation.GENERATE]] = Operation.GENERATE

    def job_request(self, models: Mapping[str, Model], *, has_image: bool) -> Request:
        """Return the same request as a job for one of the models. Raises StudioError."""
        if not has_image and self.strength is not None:
            self._reading.append("strength has no effect without an image.")
            return self._as(Operation.GENERATE, "image generation", models, without={"strength"})
        return self._as(Operation.GENERATE, "image generation", models)


class SentImage(BaseModel):
    """One image of OpenAI's list."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    image_url: str | None = Field(None, max_length=MAX_DATA_URL_CHARS)
    """A data URL or an address; the limits of files hold for it."""
    file_id: str | None = Field(None, max_length=MAX_REFERENCE_CHARS)
    """Id of an image of this server."""


class ImagesEditRequest(_OpenAI, EditRequest):
    """Change one or more images, as OpenAI's clients ask for it; with a mask or a region, only there."""

    model_config = _LOOSE

    operation: SkipJsonSchema[Literal[Operation.EDIT]] = Operation.EDIT
    input_fidelity: Literal["low", "high"] | None = None
    """Taken and ignored: inputs are always followed closely."""
    region: Region | None = None
    """Instead of a mask, the box that may change."""
    prompt_kind: PromptKind | None = None
    """With a mask or region: what the prompt is. Left out: an instruction where the model takes one."""
    strength: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    """With a mask or region: how far to go from what is there. Left out: 1, where nothing of it is left."""
    feather: int | None = Field(None, ge=0, le=MAX_FEATHER)
    """With a mask or region: width of the soft edge in pixels. Left out: a narrow one."""

    listed: list[SentImage] | None = Field(None, alias="images", max_length=MAX_DATA_URLS)
    """Instead of image, in JSON: OpenAI's list of objects."""

    def job_request(self, models: Mapping[str, Model], *, has_mask: bool) -> Request:
        """Return the same request as a job for one of the models: an inpaint where only a part may change, else an
        edit. Raises StudioError.

        The result of an inpaint has the size of the image, whatever `size` says.
        """
        in_part = has_mask or self.region is not None
        idle = sorted(self.model_fields_set & (_ONLY_WHOLE if in_part else _ONLY_IN_PART))
        if idle:
            names, how = " and ".join(idle), "with" if in_part else "without"
            self._reading.append(f"{names}: no effect {how} a mask or region.")
        return self._as(Operation.INPAINT if in_part else Operation.EDIT, "image edit", models)


class ImagesVariationRequest(ImagesEditRequest):
    """Paint images like one that is sent, as OpenAI's clients ask for it; with a prompt, an edit."""

    prompt: str = Field("", max_length=MAX_SENT_PROMPT_CHARS)
    """What to change. Left out: nothing in particular, so that the images are variations of the one that is sent."""
