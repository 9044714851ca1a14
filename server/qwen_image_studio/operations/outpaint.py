"""Outpaint: continue an image beyond its edges; the image's own pixels stay as they are."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.contract.fields import RatioText
from qwen_image_studio.contract.words import MAX_SIDE, Anchor, Operation, PromptKind, Size, Way
from qwen_image_studio.operations.given import Given, Planned
from qwen_image_studio.operations.paint_request import WAYS_OF_KIND, PaintRequest
from qwen_image_studio.operations.painting import Chosen, Shape, check_strength, choose, plan_painting
from qwen_image_studio.operations.parameters import OneImage, Sized
from qwen_image_studio.operations.parts import lossy, resized, scale
from qwen_image_studio.planning.regions import growing_passes

CONTINUED_STRENGTH = 0.8
"""Strength without a prompt: the painting starts from a smooth continuation of the image's edges."""
_OWN_PROMPT: Mapping[Way, str] = {
    Way.EDIT: "Extend the picture naturally beyond its edges, in the same style and light.",
    Way.GENERATE: "The picture continues naturally to its edges, in the same style and light.",
}


class OutpaintRequest(OneImage, Sized, PaintRequest):
    """Continue an image beyond its edges; its own pixels stay as they are."""

    NAME: ClassVar[str] = Operation.OUTPAINT
    NEEDS_PROMPT: ClassVar[bool] = False
    TAKES_IMAGES: ClassVar[tuple[int, int]] = (1, 1)
    operation: Literal[Operation.OUTPAINT]
    left: int = Field(0, ge=0, le=MAX_SIDE)
    """Pixels to add on this side."""
    right: int = Field(0, ge=0, le=MAX_SIDE)
    """Pixels to add on this side."""
    top: int = Field(0, ge=0, le=MAX_SIDE)
    """Pixels to add on this side."""
    bottom: int = Field(0, ge=0, le=MAX_SIDE)
    """Pixels to add on this side."""
    aspect_ratio: RatioText | None = None
    """Instead of pixels, the shape to reach, WIDTH:HEIGHT such as 16:9; or the size to reach."""
    anchor: Anchor = Anchor.CENTER
    """Where the image stands on the canvas of that shape or size."""
    prompt_kind: PromptKind | None = None
    """What the prompt is. Left out: an instruction where the model takes one. No prompt is needed."""
    strength: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    """How far to go from a smooth continuation of the edges. Left out: 1 with a prompt, 0.8 without."""

    @model_validator(mode="after")
    def _one_way_to_grow(self) -> Self:
        by_sides = any((self.left, self.right, self.top, self.bottom))
        if by_sides is bool(self.ways_of_size()):
            message = "send how far to go: pixels as left, right, top, bottom; or aspect_ratio, or size"
            raise PydanticCustomError("how_far", message, {"param": "left" if by_sides else "aspect_ratio"})
        return self

    @property
    def ways(self) -> Sequence[Way]:
        """By an instruction or a description, as the kind of the prompt says."""
        return WAYS_OF_KIND[self.prompt_kind]

    def plan(self, given: Given) -> Planned:
        """Return the plan of the area around the image; a large one is painted in several passes."""
        chosen = choose(self, given)
        check_strength(self.strength, chosen)
        image = given.inputs[0]
        left, top, right, bottom = self._margins(image)
        canvas = (left + image[0] + right, top + image[1] + bottom)
        self._check_canvas(canvas, image)
        place = (left, top, left + image[0], top + image[1])
        passes = growing_passes(place, canvas, chosen.limits)
        warnings = lossy(self.output_format)
        if len(passes) > 1:
            warnings.append(f"So much was added that it was painted in {len(passes)} passes, from the image outwards.")
        scales = {scale(one): one for one in passes}
        for factor in {min(scales), max(scales)}:
            if not 0.95 < factor < 1.05:
                warnings.append(resized(scales[factor], chosen))
        last, strength = passes[-1], self._strength(chosen)
        shape = Shape(*canvas, last.width, last.height, strength=strength, place=place, passes=passes)
        return plan_painting(self, chosen, shape, warnings, given, own_prompt=_OWN_PROMPT[chosen.way])

    def _margins(self, image: Size) -> tuple[int, int, int, int]:
        """Return the pixels to add on the left, at the top, on the right and at the bottom."""
        if any((self.left, self.right, self.top, self.bottom)):
            return self.left, self.top, self.right, self.bottom
        goal, param = self._goal(image), self.ways_of_size()[0]
        more = (goal[0] - image[0], goal[1] - image[1])
        shown = f"{image[0]}x{image[1]}"
        if min(more) < 0:
            message = f"{goal[0]}x{goal[1]} is smaller than the image of {shown}; ask for more, or crop it first"
            raise refusal(param, message)
        if max(more) == 0:
            raise refusal(param, f"the image of {shown} has that shape already, so there is nothing to add")
        left = {Anchor.LEFT: 0, Anchor.RIGHT: more[0]}.get(self.anchor, more[0] // 2)
        top = {Anchor.TOP: 0, Anchor.BOTTOM: more[1]}.get(self.anchor, more[1] // 2)
        return left, top, more[0] - left, more[1] - top

    def _goal(self, image: Size) -> Size:
        """Return the size of the canvas that the request asks for, by a size or by a shape."""
        if self.asked_size is not None:
            return self.asked_size
        across, down = (int(number) for number in str(self.aspect_ratio).split(":"))
        if max(across, down) > 20 * min(across, down):
            raise refusal("aspect_ratio", "write WIDTH:HEIGHT such as 16:9, at most 20:1")
        return max(image[0], round(image[1] * across / down)), max(image[1], round(image[0] * down / across))

    def _check_canvas(self, canvas: Size, image: Size) -> None:
        too_long = any(reached > max(MAX_SIDE, before) for reached, before in zip(canvas, image, strict=True))
        if not too_long and canvas[0] * canvas[1] <= MAX_SIDE * MAX_SIDE:
            return
        ways = (*self.ways_of_size(), "left", "right", "top", "bottom")
        param = next(way for way in ways if getattr(self, way))
        message = (
            f"the result would be {canvas[0]}x{canvas[1]}; it may have {MAX_SIDE} pixels on a side and {MAX_SIDE**2} "
            "in all, so ask for less, or make the image smaller first"
        )
        raise refusal(param, message)

    def _strength(self, chosen: Chosen) -> float:
        if self.strength is not None:
            return self.strength
        return 1.0 if self.prompt or not chosen.family.takes_strength else CONTINUED_STRENGTH
