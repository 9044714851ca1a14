"""Judgement of an edit: how much of the image it changed, and whether that is worth a warning."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageOps

from qwen_image_studio.contract.adjustments import Box
from qwen_image_studio.imaging.comparing import Change, measure_change, shared_outlines
from qwen_image_studio.imaging.masks import MAX_ASPECT_GAP

# Measured with the miniature. A picture that was only encoded and decoded by its autoencoder differs by a mean of 0.04
# to 0.08, and in its strongest thousandth by 0.25 to 0.36; where 0.2% of the area is recoloured too, by 0.95. The
# smallest true edits of the miniature (golden, smaller) have means from 0.11 and strongest differences from 0.75.
NOTHING_MEAN = 0.1
NOTHING_STRONGEST = 0.4
# Pictures of different objects on different backgrounds differ by a mean of 0.88 to 0.97 and share outlines from -0.1
# to 0.36, the two most alike 0.42. Edits of the background share 0.63 and more; grey, sepia, night, poster and oil
# versions of photographs 0.88 and more, line drawings 0.32 and more. Where an object shrinks, few outlines are shared,
# and the mean is below 0.4.
TOO_MUCH_MEAN = 0.5
TOO_MUCH_OUTLINES = 0.3
_NOTHING = (
    "The edit changed almost nothing; say what is there now and what should become of it, such as 'replace the apple "
    "with a pear', or try another seed."
)
_NOTHING_INSIDE = (
    "Almost nothing changed where the image may change; see that the mask or region covers what you mean, and say what "
    "should be there, or try another seed."
)
_TOO_MUCH = (
    "Nearly everything in the image changed; if that was not meant, say in the instruction what should stay as it is, "
    "or mark what may change with a mask or region (inpaint)."
)


@dataclass(frozen=True)
class Judgement:
    """The change inside the area that was to change and outside of it, 0 to 1 each; None where it is unknown."""

    inside: float | None = None
    outside: float | None = None
    warning: str | None = None


def judge(
    inputs: Sequence[Image.Image], after: Image.Image, *, place: Box | None, has_mask: bool, is_edit: bool
) -> Judgement:
    """Compare a painted picture (RGB) with the first of its inputs.

    `place` is the box of that input on a larger canvas (outpainting). With `has_mask` the last input is the mask of
    what may change, in the size of the first. Where the picture is no edit and only started from the input (`is_edit`
    is false), there is never a warning.
    """
    before = inputs[0]
    if place is not None:
        return Judgement(outside=measure_change(before, after.crop(place)).inside)
    if has_mask:
        change = measure_change(before, after, inputs[-1].convert("L"))
        return Judgement(change.inside, change.outside, _NOTHING_INSIDE if _is_nothing(change) else None)
    if not is_edit:
        return Judgement(measure_change(ImageOps.fit(before, after.size, Image.Resampling.LANCZOS), after).inside)
    if abs(before.width * after.height / (before.height * after.width) - 1) > MAX_ASPECT_GAP:
        # Asked for in another shape: what the two have in common is measured, and no conclusion is drawn.
        return Judgement(measure_change(ImageOps.fit(before, after.size, Image.Resampling.LANCZOS), after).inside)
    before = before.resize(after.size, Image.Resampling.LANCZOS)
    change = measure_change(before, after)
    if _is_nothing(change):
        return Judgement(change.inside, warning=_NOTHING)
    # From several images a new picture is composed, and the first one need not appear in it.
    too_much = len(inputs) == 1 and _is_too_much(change, before, after)
    return Judgement(change.inside, warning=_TOO_MUCH if too_much else None)


def _is_nothing(change: Change) -> bool:
    return change.inside is not None and change.inside < NOTHING_MEAN and change.strongest < NOTHING_STRONGEST


def _is_too_much(change: Change, before: Image.Image, after: Image.Image) -> bool:
    if change.inside is None or change.inside <= TOO_MUCH_MEAN:
        return False
    return shared_outlines(before, after) < TOO_MUCH_OUTLINES
