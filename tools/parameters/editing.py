"""The parameters of image_edit: to change whole images by an instruction, or only the area of a mask or a box."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tools.parameters.painting import Instructed, PromptKind, Strength
from tools.parameters.pictures import Address, Addresses, References, box
from tools.parameters.roles import MAX_INPUTS, Roles
from tools.parameters.tolerant import Whole, lowered

Prefer = Literal["auto", "model", "cv"]


class EditParameters(Instructed):
    """Parameters of image_edit; ``images`` or ``image_id`` holds the images, in order. Without any, the last one of the
    conversation is taken.
    """

    TABLES: ClassVar[frozenset[str]] = frozenset(("roles",))

    images: Addresses = Field([])
    image_id: References = Field([])
    roles: Roles = Field([])
    """What each image is to the painting."""
    mask: Address = None
    """URL of the mask, which is white where the first image may change."""
    region: Annotated[dict[str, float] | None, BeforeValidator(box)] = None
    """The box that may change, instead of a mask."""
    n: Whole = Field(1, ge=1, le=4)
    strength: Strength = None
    prompt_kind: Annotated[PromptKind | None, BeforeValidator(lowered)] = None
    prefer: Annotated[Prefer, BeforeValidator(lowered)] = "auto"

    @classmethod
    def relevant(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters without size where there is a mask or region: the image then keeps its size."""
        in_part = "mask" in params or "region" in params
        return super().relevant({name: value for name, value in params.items() if not (in_part and name == "size")})

    @model_validator(mode="after")
    def _a_prompt_or_a_template(self) -> Self:
        if not self.prompt and self.template is None:
            raise ValueError("prompt is missing. Say what to change in the image, or choose a template.")
        return self

    @model_validator(mode="after")
    def _as_many_as_a_model_takes(self) -> Self:
        count = len(self.images or self.image_id)
        if self.images and self.image_id:
            raise ValueError("Give either images or image_id, not both: files and stored images cannot be mixed.")
        if count > MAX_INPUTS:
            raise ValueError(f"Give at most {MAX_INPUTS} images; there are {count}.")
        if len(self.roles) > max(count, 1):
            named = "is 1 image" if count < 2 else f"are {count} images"
            raise ValueError(f"roles: there {named} and {len(self.roles)} roles; give one role for each image at most.")
        return self

    @model_validator(mode="after")
    def _one_area(self) -> Self:
        if self.mask is not None and self.region is not None:
            raise ValueError("Give either mask or region, not both: each says what may change.")
        return self

    @property
    def has_image(self) -> bool:
        """Whether an image was given, as a file or by its id."""
        return bool(self.images or self.image_id)

    @property
    def in_part(self) -> bool:
        """Whether only a part of the image may change."""
        return self.mask is not None or self.region is not None

    def body(self) -> dict[str, Any]:
        """Return the body of ``POST /v1/jobs``; without ``image`` and ``mask`` where files are sent along.

        Settings that only the other way of editing has are not sent: the author of an app sets them once, while each
        call may come with a region or without.
        """
        inputs: dict[str, Any] = {"image": self.image_id} if self.image_id else {}
        inputs |= {"roles": self.roles} if self.roles else {}
        if self.in_part:
            params = self.model_dump(include={"region", "strength", "prompt_kind"}, exclude_none=True)
            return {"operation": "inpaint", **super().body(), **params, **inputs}
        preferred = {} if self.prefer == "auto" else {"prefer": self.prefer}
        return {"operation": "edit", **super().body(), **preferred, **inputs}
