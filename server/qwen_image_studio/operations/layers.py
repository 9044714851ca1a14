"""Layers: take an image apart into pictures that lie one on the other, each with its own transparency."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from qwen_image_studio.contract.layers import MAX_LAYERS, MIN_LAYERS, Resolution
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import MAX_PROMPT_CHARS, Operation, OutputFormat, Size, Way
from qwen_image_studio.operations.given import Given, Planned
from qwen_image_studio.operations.paint_request import PaintRequest
from qwen_image_studio.operations.painting import Chosen, Shape, choose, is_far, plan_painting
from qwen_image_studio.operations.parameters import OneImage
from qwen_image_studio.planning.sizes import painted_size

LAYERS = 4
"""Number of layers where the caller names none."""


class LayersRequest(OneImage, PaintRequest):
    """Take an image apart into layers with transparency, which lie one on the other to make it up again."""

    NAME: ClassVar[str] = Operation.LAYERS
    NEEDS_PROMPT: ClassVar[bool] = False
    TAKES_IMAGES: ClassVar[tuple[int, int]] = (1, 1)
    operation: Literal[Operation.LAYERS]
    prompt: str = Field("", max_length=MAX_PROMPT_CHARS)
    """What the image shows, as a whole. Left out: the model sees for itself."""
    layers: int = Field(LAYERS, ge=MIN_LAYERS, le=MAX_LAYERS)
    """Into how many, the background among them. They are the first images of the job, the backmost first, and after
    them comes the picture that they make together."""
    resolution: Resolution | None = None
    """Side of a square with the area at which the image is taken apart. Left out: the model's own. The layers have the
    image's size all the same."""

    # There is one set of layers, of what the image shows: nothing is written, nothing directed, and what is transparent
    # follows from the image. So these are no parameters here.
    n: ClassVar[int] = 1  # type: ignore[misc]
    template: ClassVar[None] = None  # type: ignore[misc]
    slots: ClassVar[dict[str, str]] = {}  # type: ignore[misc]
    language: ClassVar[None] = None  # type: ignore[misc]
    style: ClassVar[None] = None  # type: ignore[misc]
    direction: ClassVar[None] = None  # type: ignore[misc]
    background: ClassVar[Background] = Background.AUTO  # type: ignore[misc]

    @model_validator(mode="after")
    def _with_transparency(self) -> Self:
        if self.output_format is OutputFormat.JPEG:
            message = "jpeg has no transparency, which layers need; take png or webp"
            raise PydanticCustomError("no_transparency", message, {"param": "output_format"})
        return self

    @property
    def pictures(self) -> int:
        """The layers, and what they make together."""
        return self.layers + 1

    @property
    def ways(self) -> Sequence[Way]:
        """The way in which it can be painted."""
        return (Way.LAYERS,)

    def plan(self, given: Given) -> Planned:
        """Return the plan of layers in the image's own size, as far as the model delivers that."""
        chosen = choose(self, given)
        shape, warnings = self._shape(chosen, given.inputs[0])
        return plan_painting(self, chosen, shape, warnings, given)

    def _shape(self, chosen: Chosen, image: Size) -> tuple[Shape, list[str]]:
        """Return the size of the layers and the size at which they are painted, and the warnings about them."""
        model, limits = chosen.model, chosen.limits
        fits, warnings = math.prod(image) <= model.max_pixels, []
        delivered = image if fits else _scaled(image, model.max_pixels)
        if not fits:
            warnings.append(
                f"The image's {image[0]}x{image[1]} are more than the {model.max_pixels} pixels that {model.name} "
                f"delivers; its layers have {delivered[0]}x{delivered[1]}."
            )
        asked = limits.usual if self.resolution is None else self.resolution**2
        area = min(max(asked, limits.paint_pixels[0]), limits.largest)
        painted = painted_size(_scaled(delivered, area), limits, least=area)
        if area != asked:
            warnings.append(
                f"resolution {self.resolution} is none of {model.name}'s; the image was taken apart at "
                f"{painted[0]}x{painted[1]}."
            )
        if is_far(painted, delivered):
            warnings.append(
                f"The image's shape of {image[0]}x{image[1]} is longer than {model.name} paints; it was taken apart at "
                f"{painted[0]}x{painted[1]} and stretched. Crop the image first for truer layers."
            )
        return Shape(*delivered, *painted, layers=self.layers), warnings


def _scaled(size: Size, area: int) -> Size:
    """Return a size of the same shape with about so many pixels, and no more."""
    scale = math.sqrt(area / math.prod(size))
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
