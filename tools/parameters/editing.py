"""The parameters of image_edit: whole images by an instruction, or only what a mask or a box lets change."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tools.parameters.painting import Instructed, PromptKind, Strength
from tools.parameters.pictures import Address, Addresses, References, box
from tools.parameters.tolerant import Whole, lowered

MAX_INPUTS = 3

Prefer = Literal["auto", "model", "cv"]


class EditParameters(Instructed):
    """Parameters of image_edit; ``images`` or ``image_id`` holds up to three images, in order. With none it is the last
    one of the conversation.
    """

    images: Addresses = Field([])
    image_id: References = Field([])
    mask: Address = None
    """White where the first image may change."""
    region: Annotated[dict[str, float] | None, BeforeValidator(box)] = None
    """Instead of a mask, the box that may change."""
    n: Whole = Field(1, ge=1, le=4)
    strength: Strength = None
    prompt_kind: Annotated[PromptKind | None, BeforeValidator(lowered)] = None
    prefer: Annotated[Prefer, BeforeValidator(lowered)] = "auto"

    @classmethod
    def relevant(cls, told: dict[str, Any]) -> dict[str, Any]:
        """With a mask or a region, what lies outside stays as it is, so the image keeps its size."""
        in_part = "mask" in told or "region" in told
        return super().relevant({name: value for name, value in told.items() if not (in_part and name == "size")})

    @model_validator(mode="after")
    def _a_prompt_or_a_template(self) -> Self:
        if not self.prompt and self.template is None:
            raise ValueError("prompt is missing. Say what to change in the image, or choose a template.")
        return self

    @model_validator(mode="after")
    def _one_to_three(self) -> Self:
        if self.images and self.image_id:
            raise ValueError("Give either images or image_id, not both: files and stored images cannot be mixed.")
        if len(self.images or self.image_id) > MAX_INPUTS:
            raise ValueError(f"Give at most {MAX_INPUTS} images; there are {len(self.images or self.image_id)}.")
        return self

    @model_validator(mode="after")
    def _one_area(self) -> Self:
        if self.mask is not None and self.region is not None:
            raise ValueError("Give either mask or region, not both: each says what may change.")
        return self

    @property
    def has_image(self) -> bool:
        """Whether an image was given, in either way."""
        return bool(self.images or self.image_id)

    @property
    def in_part(self) -> bool:
        """Whether only a part may change."""
        return self.mask is not None or self.region is not None

    def body(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``; without ``image`` and ``mask`` where files are sent along.

        Settings that only the other way of editing knows are not sent: whoever builds the app sets them once, and a
        region may come and go with each call.
        """
        inputs = {"image": self.image_id} if self.image_id else {}
        if self.in_part:
            told = self.model_dump(include={"region", "strength", "prompt_kind"}, exclude_none=True)
            return {"operation": "inpaint", **super().body(), **told, **inputs}
        preferred = {} if self.prefer == "auto" else {"prefer": self.prefer}
        return {"operation": "edit", **super().body(), **preferred, **inputs}
