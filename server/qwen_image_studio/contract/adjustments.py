"""Adjustments: changes to a picture that need no model."""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from qwen_image_studio.contract.words import MAX_SIDE

MAX_ADJUSTMENTS = 20
MAX_WATERMARK_CHARS = 100
MAX_EDGE = 100_000
"""Largest coordinate or side of a region, in pixels; input images may be larger than the images that we make."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge in pixels."""

_CORNERS = ("x1", "y1", "x2", "y2")
_BEYOND = 1.01  # as a share: what rounding may add


class Position(StrEnum):
    """Where a watermark stands."""

    TOP_LEFT = "top_left"
    TOP_RIGHT = "top_right"
    CENTER = "center"
    BOTTOM_LEFT = "bottom_left"
    BOTTOM_RIGHT = "bottom_right"


class _Adjustment(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Region(_Adjustment):
    """A box of an image: in fractions of its sides where all four numbers are at most 1, else in pixels.

    Two corners, as x1, y1, x2 and y2, are taken as well.
    """

    x: float = Field(ge=0, le=MAX_EDGE, allow_inf_nan=False)
    """Left edge."""
    y: float = Field(ge=0, le=MAX_EDGE, allow_inf_nan=False)
    """Top edge."""
    width: float = Field(gt=0, le=MAX_EDGE, allow_inf_nan=False)
    height: float = Field(gt=0, le=MAX_EDGE, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _from_corners(cls, value: Any) -> Any:
        """Take two corners in place of a corner and an extent; other values are for the fields to refuse."""
        if not isinstance(value, dict) or set(value) != set(_CORNERS):
            return value
        try:
            left, top, right, bottom = (float(value[name]) for name in _CORNERS)
        except (TypeError, ValueError):
            raise ValueError("x1, y1, x2 and y2 must be numbers") from None
        if right <= left or bottom <= top:
            raise ValueError("x2 must be greater than x1, and y2 greater than y1")
        return {"x": left, "y": top, "width": right - left, "height": bottom - top}

    def cut(self, size: tuple[int, int]) -> str | None:
        """Return a warning where the box reaches beyond an image of that size, and is cut there."""
        across, down = (1, 1) if self._is_share else size
        if self.x + self.width <= across * _BEYOND and self.y + self.height <= down * _BEYOND:
            return None
        wide, high = min(self.width, across - self.x), min(self.height, down - self.y)
        return (
            f"The region reached beyond the image and was cut: x={self.x:g}, y={self.y:g} is its upper left corner, "
            f"and from there {wide:g} x {high:g} is left of the {self.width:g} x {self.height:g} that width and height "
            "ask for. To name two corners, send x1, y1, x2 and y2."
        )

    @property
    def _is_share(self) -> bool:
        """Whether the numbers are fractions of the sides."""
        return max(self.x, self.y, self.width, self.height) <= 1

    def box(self, size: tuple[int, int]) -> Box:
        """Return the box in whole pixels of an image of that size: at least one pixel, and none outside the image.

        Raises ValueError where the box begins outside the image.
        """
        across, down = size if self._is_share else (1, 1)
        left, top = round(self.x * across), round(self.y * down)
        if left >= size[0] or top >= size[1]:
            raise ValueError(f"the box begins at {left},{top}, outside the image of {size[0]}x{size[1]}")
        right = min(size[0], max(left + 1, round((self.x + self.width) * across)))
        bottom = min(size[1], max(top + 1, round((self.y + self.height) * down)))
        return left, top, right, bottom


class Crop(_Adjustment):
    """Keep a part: a box, or the largest part of a given shape, or a part of a given size, both cut from the middle."""

    do: Literal["crop"] = "crop"
    region: Region | None = None
    aspect_ratio: str | None = Field(None, max_length=20)
    """WIDTH:HEIGHT, such as 16:9."""
    width: int | None = Field(None, ge=1, le=MAX_SIDE)
    height: int | None = Field(None, ge=1, le=MAX_SIDE)

    @field_validator("aspect_ratio")
    @classmethod
    def _two_numbers(cls, value: str | None) -> str | None:
        if value is None:
            return None
        match = re.fullmatch(r"(\d{1,4})[:：](\d{1,4})", value)
        if not match or 0 in (sides := [int(side) for side in match.groups()]) or max(sides) > 20 * min(sides):
            raise ValueError("must be WIDTH:HEIGHT such as 16:9, at most 20:1")
        return f"{sides[0]}:{sides[1]}"

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together")
        if sum(way is not None for way in (self.region, self.aspect_ratio, self.width)) != 1:
            raise ValueError("crop takes one of region, aspect_ratio, or width and height")
        return self


class Resize(_Adjustment):
    """Make larger or smaller; of width and height one may be left out to keep the shape."""

    do: Literal["resize"] = "resize"
    width: int | None = Field(None, ge=1, le=MAX_SIDE)
    height: int | None = Field(None, ge=1, le=MAX_SIDE)
    scale: float | None = Field(None, gt=0, le=8, allow_inf_nan=False)
    """Factor for both sides."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.scale is not None) is (self.width is not None or self.height is not None):
            raise ValueError("resize takes scale, or width and height, or one of them")
        return self


class Rotate(_Adjustment):
    """Turn clockwise; the image grows so that nothing is cut, and new corners are white."""

    do: Literal["rotate"] = "rotate"
    degrees: float = Field(ge=-360, le=360, allow_inf_nan=False)


class Flip(_Adjustment):
    """Mirror: left to right, or top to bottom."""

    do: Literal["flip"] = "flip"
    axis: Literal["horizontal", "vertical"]


class Tone(_Adjustment):
    """Brightness, contrast, saturation or sharpness."""

    do: Literal["brightness", "contrast", "saturation", "sharpness"]
    factor: float = Field(ge=0, le=4, allow_inf_nan=False)
    """1 leaves it as it is; 0 is black, gray, colourless or smooth."""


class Hue(_Adjustment):
    """Turn every colour around the colour circle."""

    do: Literal["hue"] = "hue"
    degrees: float = Field(ge=-360, le=360, allow_inf_nan=False)


class Grayscale(_Adjustment):
    """Take the colours away."""

    do: Literal["grayscale"] = "grayscale"


class Blur(_Adjustment):
    """Gaussian blur."""

    do: Literal["blur"] = "blur"
    radius: float = Field(2.0, gt=0, le=200, allow_inf_nan=False)
    """Standard deviation in pixels."""


class Watermark(_Adjustment):
    """Write a short text over the image, white with a dark edge."""

    do: Literal["watermark"] = "watermark"
    text: str = Field(min_length=1, max_length=MAX_WATERMARK_CHARS)
    position: Position = Position.BOTTOM_RIGHT
    opacity: float = Field(0.6, gt=0, le=1, allow_inf_nan=False)


Adjustment = Annotated[
    Crop | Resize | Rotate | Flip | Tone | Hue | Grayscale | Blur | Watermark, Field(discriminator="do")
]
