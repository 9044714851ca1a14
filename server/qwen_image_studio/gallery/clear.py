"""What became of transparency: of an input's, and of that which was asked for."""

from collections.abc import Sequence

from PIL import Image

from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import OutputFormat
from qwen_image_studio.imaging.pixels import is_see_through
from qwen_image_studio.planning.plan import PaintPlan, Plan

IN_JPEG = "JPEG has no transparency, which was laid on white; ask for png or webp to keep it."


def lost(plan: Plan, inputs: Sequence[Image.Image], image: Image.Image) -> str | None:
    """Return a warning where a finished picture has no transparency though it was asked for, or an input had some."""
    if isinstance(plan, PaintPlan) and plan.background is Background.TRANSPARENT:
        return None if is_see_through(image) else _came_opaque(plan)
    if image.mode == "RGBA":
        return IN_JPEG if plan.output_format is OutputFormat.JPEG else None
    if not isinstance(plan, PaintPlan) or plan.passes or plan.layers or plan.background is Background.OPAQUE:
        return None
    return _on_white(plan) if any(each.mode == "RGBA" for each in inputs) else None


def _came_opaque(plan: PaintPlan) -> str:
    return (
        f"background transparent was asked for, and {plan.model} painted a picture without transparency; try another "
        "seed, or name in the prompt nothing but what is to stand alone."
    )


def _on_white(plan: PaintPlan) -> str:
    return (
        f"The image's transparency was laid on white, since {plan.model} painted an opaque picture; an inpaint keeps "
        "it outside its mask or region."
    )
