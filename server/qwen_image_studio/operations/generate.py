"""Generate: paint a picture from a prompt, with or without an image to start from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.contract.words import Operation, Scope, Size, Way
from qwen_image_studio.operations.given import Given, Planned
from qwen_image_studio.operations.paint_request import PaintRequest
from qwen_image_studio.operations.painting import check_strength, choose, plan_painting, whole_shape
from qwen_image_studio.operations.parameters import OneImage, Shaped

REFERENCE_STRENGTH = 0.6
"""Strength where the caller names none, 0 to 1: how far to go from the image. It is diffusers' own default."""


class GenerateRequest(OneImage, Shaped, PaintRequest):
    """Paint from a prompt; with an image, paint the prompt in that image's likeness."""

    NAME: ClassVar[str] = Operation.GENERATE
    TEMPLATES: ClassVar[Operation] = Operation.GENERATE
    SCOPE: ClassVar[Scope | None] = Scope.GENERATE
    TAKES_IMAGES: ClassVar[tuple[int, int]] = (0, 1)
    operation: Literal[Operation.GENERATE]
    strength: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    """How far to go from the image, above 0 to 1, where nothing of it is left. Only with an image. Left out: 0.6."""

    @property
    def ways(self) -> Sequence[Way]:
        """From a description."""
        return (Way.GENERATE,)

    def check(self, files: int, masks: int) -> None:
        """Raise StudioError where there are too many images, or a strength without an image."""
        super().check(files, masks)
        if self.strength is not None and not len(self.images) + files:
            raise refusal("strength", "says how far to go from an image; send an image, or leave it out")

    def plan(self, given: Given) -> Planned:
        """Return the plan of the whole picture."""
        chosen = choose(self, given)
        if given.inputs and not chosen.family.starts_from_image:
            raise refusal("image", f"{chosen.model.name} cannot start from an image; use the edit operation")
        check_strength(self.strength, chosen)
        shape, warnings = whole_shape(self, chosen, given.inputs)
        if given.inputs:
            strength = REFERENCE_STRENGTH if self.strength is None else self.strength
            warnings += _cropped(given.inputs[0], (shape.width, shape.height))
            shape = replace(shape, strength=strength)
        return plan_painting(self, chosen, shape, warnings, given)


def _cropped(image: Size, delivered: Size) -> list[str]:
    """Return a warning where the result has another shape than the image and so shows only a part of it."""
    scale = min(image[0] / delivered[0], image[1] / delivered[1])
    used = (round(delivered[0] * scale), round(delivered[1] * scale))
    if all(part > 0.98 * whole for part, whole in zip(used, image, strict=True)):
        return []
    return [
        f"The middle {used[0]}x{used[1]} of the image of {image[0]}x{image[1]} was used, since the result has another "
        "shape."
    ]
