"""The parameters of image_outpaint: an image that is continued beyond its edges."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tools.parameters.painting import PromptKind, Sized, Strength, checked_ratio, ratio
from tools.parameters.pictures import MAX_SIDE, OneImage
from tools.parameters.tolerant import Whole, lowered

SIDES = ("left", "right", "top", "bottom")

Anchor = Literal["center", "left", "right", "top", "bottom"]
Pixels = Annotated[Whole, Field(ge=0, le=MAX_SIDE)]


class OutpaintParameters(OneImage, Sized):
    """Parameters of image_outpaint; the extent is given in pixels, by a shape or by a size."""

    left: Pixels = 0
    right: Pixels = 0
    top: Pixels = 0
    bottom: Pixels = 0
    aspect_ratio: Annotated[str | None, BeforeValidator(ratio)] = None
    anchor: Annotated[Anchor, BeforeValidator(lowered)] = "center"
    """Place of the image on the canvas of that shape or size; pixels need no anchor."""
    n: Whole = Field(1, ge=1, le=4)
    strength: Strength = None
    prompt_kind: Annotated[PromptKind | None, BeforeValidator(lowered)] = None

    @field_validator("aspect_ratio")
    @classmethod
    def _width_to_height(cls, value: str | None) -> str | None:
        return None if value is None else checked_ratio(value)

    @classmethod
    def relevant(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters without pixels and shape where there is a size."""
        ignored = {"aspect_ratio", *SIDES} if "size" in params else set()
        return {name: value for name, value in params.items() if name not in ignored}

    @model_validator(mode="after")
    def _one_way_to_grow(self) -> Self:
        if not self._added() and self.aspect_ratio is None and self.size is None:
            raise ValueError(
                "Say how far to extend the image: pixels in left, right, top or bottom, or the shape to reach in "
                "aspect_ratio, or the size to reach in size."
            )
        if self._added() and self.aspect_ratio is not None:
            raise ValueError(
                "Say how far to extend the image in one way only: in left, right, top and bottom, or as aspect_ratio."
            )
        return self

    def _added(self) -> dict[str, int]:
        """Return the pixels to add by side, without sides that get none."""
        return {side: pixels for side in SIDES if (pixels := getattr(self, side))}

    def body(self) -> dict[str, Any]:
        """Return the body of ``POST /v1/jobs``; without ``image`` where a file is sent along."""
        anchor = {} if self._added() or self.anchor == "center" else {"anchor": self.anchor}
        params = self.model_dump(include={"aspect_ratio", "strength", "prompt_kind"}, exclude_none=True)
        return {"operation": "outpaint", **super().body(), **self._added(), **params, **anchor, **self.input()}
