"""Inpaint: change a part of an image and nothing outside of it."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.words import MAX_FEATHER, MAX_INPUTS, Operation, PromptKind, Size, Way
from qwen_image_studio.imaging.masks import Marked
from qwen_image_studio.operations.given import Given, Planned
from qwen_image_studio.operations.paint_request import WAYS_OF_KIND, PaintRequest
from qwen_image_studio.operations.painting import Chosen, Shape, check_strength, choose, plan_painting
from qwen_image_studio.operations.parameters import SeveralImages
from qwen_image_studio.operations.parts import lossy, resized, scale
from qwen_image_studio.planning.plan import Pass
from qwen_image_studio.planning.regions import region_pass
from qwen_image_studio.planning.sizes import painted_size

LITTLE_SAVED = 0.3
"""Share of the work, 0 to 1; where a mask saves less than this, the caller may get a warning."""
LARGE = 30
"""Percent of an image that the mask's box has to span for that warning."""
SCATTERED = 0.25
"""Share of its box, 0 to 1; a mask that fills less than this has parts that lie far apart."""


class InpaintRequest(SeveralImages, PaintRequest):
    """Change a part of an image, and nothing outside it. Further images are there to take things from."""

    NAME: ClassVar[str] = Operation.INPAINT
    TAKES_IMAGES: ClassVar[tuple[int, int]] = (1, MAX_INPUTS)
    operation: Literal[Operation.INPAINT]
    mask: str | None = Field(None, max_length=4000)
    """Image id or URL of the mask: white may change, black stays. Or send a file, or a region."""
    region: Region | None = None
    """Instead of a mask, the box that may change."""
    prompt_kind: PromptKind | None = None
    """What the prompt is. Left out: an instruction where the model takes one."""
    strength: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)
    """How far to go from what is there; at 1 nothing of it is left. Below, steps are saved."""
    feather: int | None = Field(None, ge=0, le=MAX_FEATHER)
    """Width of the soft edge in pixels of the image, inwards from the edge of what may change; 0 is a hard edge, and
    nothing outside ever changes. Left out: a narrow one."""

    @property
    def marked(self) -> Region | str | None:
        """The region, or the id or URL of the mask; None where the mask is sent as a file."""
        return self.region or self.mask

    def check_masks(self, masks: int) -> None:
        """Raise StudioError unless there is exactly one mask or region."""
        if masks + (self.mask is not None) + (self.region is not None) != 1:
            raise _no_one_mask()

    @property
    def ways(self) -> Sequence[Way]:
        """By an instruction or a description, as the kind of the prompt says."""
        return WAYS_OF_KIND[self.prompt_kind]

    def foresee_images(self, images: int, given: Given) -> None:
        """Raise StudioError for more than the model takes."""
        choose(self, given, images)

    def plan(self, given: Given) -> Planned:
        """Return the plan of the part that may change and some context around it."""
        chosen = choose(self, given)
        check_strength(self.strength, chosen)
        if given.mask is None:
            raise _no_one_mask()
        frame = given.inputs[0]
        once = region_pass(given.mask.box, frame, chosen.limits)
        shape = Shape(
            *frame, once.width, once.height, strength=self.strength, mask=True, passes=(once,), feather=self.feather
        )
        warnings = [*_mask_warnings(given.mask, once, frame, chosen), *lossy(self.output_format)]
        return plan_painting(self, chosen, shape, warnings, given)


def _no_one_mask() -> StudioError:
    return refusal("mask", "send what may change, either as a mask (file, id or URL) or as a region")


def _mask_warnings(mask: Marked, once: Pass, frame: Size, chosen: Chosen) -> list[str]:
    warnings = list(mask.warnings)
    whole = painted_size(frame, chosen.limits, least=chosen.model.region_pixels)
    saved = 1 - once.width * once.height / (whole[0] * whole[1])
    across = round(100 * (mask.box[2] - mask.box[0]) * (mask.box[3] - mask.box[1]) / (frame[0] * frame[1]))
    if saved < LITTLE_SAVED and across > LARGE:  # in a small picture no mask saves much
        warnings.append(
            f"What may change spans {across}% of the image, so painting only that saves little; a smaller mask or "
            "region would be faster."
        )
    if mask.share < SCATTERED:
        warnings.append(
            f"The mask fills {max(1, round(100 * mask.share))}% of the box around it, and all of the box is painted; "
            "where its parts lie far apart, jobs of their own would be faster."
        )
    if not 0.95 < scale(once) < 1.05:
        warnings.append(resized(once, chosen))
    return warnings
