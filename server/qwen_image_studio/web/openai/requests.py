"""OpenAI's images API: the requests of its clients. Every parameter of a job is taken as an extra field."""

import re
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.words import (
    MAX_DATA_URL_CHARS,
    MAX_DATA_URLS,
    MAX_REFERENCE_CHARS,
    Operation,
    PromptKind,
)
from qwen_image_studio.operations.edit import EditRequest
from qwen_image_studio.operations.generate import GenerateRequest
from qwen_image_studio.operations.inpaint import InpaintRequest
from qwen_image_studio.operations.request import Request, validated

Quality = Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"]
LESSER: frozenset[Quality] = frozenset({"low", "medium", "standard"})
"""Values of `quality` below the one that is always painted."""
_ANSWERS_IN_BYTES = re.compile(r"(?:openai/)?(?:chat)?gpt-image", re.IGNORECASE)
_NOT_OURS = re.compile(r"auto|(?:openai/)?(?:(?:chat)?gpt-image-[\w.-]{1,60}|dall-e-[23])", re.IGNORECASE)


class _OpenAI(BaseModel):
    """Parameters with names of OpenAI's own, in both routes."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    response_format: Literal["b64_json", "url"] | None = None
    """The bytes of each image in base64, or a signed link to it. Left out: both, or for a gpt-image name the bytes."""
    quality: Quality = "auto"
    """Taken for the sake of clients: one quality is painted, and a warning says so where less was asked."""
    output_compression: int | None = Field(None, ge=0, le=100)
    """Quality of JPEG and WebP files, 0 to 100; the same as output_quality."""
    background: Literal["auto", "opaque"] = "auto"
    """Images are opaque."""
    moderation: Literal["auto", "low"] = "auto"
    """Taken and ignored: the operator decides."""
    safety_identifier: str | None = Field(None, max_length=1000)
    """Taken and ignored."""
    stream: bool = False
    """Answer with server-sent events: partial images, then each image."""
    partial_images: int = Field(0, ge=0, le=3)
    """How many small pictures of the state in between a stream shows at most; a quick job has fewer or none."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}

    @field_validator("background", mode="before")
    @classmethod
    def _opaque(cls, value: object) -> object:
        if value == "transparent":
            raise ValueError("this server paints no transparency; send opaque or auto")
        return value

    @model_validator(mode="after")
    def _one_compression(self) -> Self:
        if self.output_compression is not None and getattr(self, "output_quality", None) is not None:
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
        return getattr(self, "model", None) or ""

    def _as(self, operation: Operation, names: set[str], where: str) -> Request:
        """Return the request as an `operation` of ours, with those of the parameters `names` that were sent.

        Raises StudioError, which calls the request `where`.
        """
        if self.model_of_another is not None:
            names = names - {"model"}
        params = self.model_dump(mode="json", exclude_unset=True, include=names)
        if self.output_compression is not None:
            params["output_quality"] = max(1, self.output_compression)
        return validated({**params, "operation": operation.value}, where)


class ImagesGenerateRequest(_OpenAI, GenerateRequest):
    """Paint from a prompt, as OpenAI's clients ask for it."""

    operation: SkipJsonSchema[Literal[Operation.GENERATE]] = Operation.GENERATE
    style: Literal["vivid", "natural"] | None = None
    """Taken for the sake of clients, without effect; a warning says so."""

    def job_request(self) -> Request:
        """Return the same request as a job. Raises StudioError."""
        return self._as(Operation.GENERATE, set(GenerateRequest.model_fields), "image generation")


class SentImage(BaseModel):
    """One image of OpenAI's list."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    image_url: str | None = Field(None, max_length=MAX_DATA_URL_CHARS)
    """A data URL or an address; the limits of files hold for it."""
    file_id: str | None = Field(None, max_length=MAX_REFERENCE_CHARS)
    """Id of an image of this server."""


class ImagesEditRequest(_OpenAI, EditRequest):
    """Change one to three images, as OpenAI's clients ask for it; with a mask or a region, only there."""

    operation: SkipJsonSchema[Literal[Operation.EDIT]] = Operation.EDIT
    input_fidelity: Literal["low", "high"] | None = None
    """Taken and ignored: inputs are always followed closely."""
    region: Region | None = None
    """Instead of a mask, the box that may change."""
    prompt_kind: PromptKind | None = None
    """With a mask or region: what the prompt is. Left out: an instruction where the model takes one."""
    strength: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    """With a mask or region: how far to go from what is there. Left out: 1, where nothing of it is left."""

    listed: list[SentImage] | None = Field(None, alias="images", max_length=MAX_DATA_URLS)
    """Instead of image, in JSON: OpenAI's list of objects."""

    def job_request(self, *, has_mask: bool) -> Request:
        """Return the same request as a job: an inpaint where only a part may change, else an edit. Raises StudioError.

        The result of an inpaint has the size of the image, whatever `size` says.
        """
        names = {*EditRequest.model_fields, *InpaintRequest.model_fields}
        if has_mask or self.region is not None:
            return self._as(Operation.INPAINT, names - {"size"}, "image edit")
        return self._as(Operation.EDIT, names, "image edit")
