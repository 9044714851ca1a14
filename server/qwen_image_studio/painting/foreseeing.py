"""What a job's references need of a device's memory, before anything is loaded: what leaves the device for them, or how
many of them would fit.
"""

from collections.abc import Mapping

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Way
from qwen_image_studio.loading.memory import MemoryPlan
from qwen_image_studio.loading.room import Spare, left_at_most, spared_for
from qwen_image_studio.models.architectures import GIB
from qwen_image_studio.models.needs import job_bytes
from qwen_image_studio.models.table import Model
from qwen_image_studio.planning.plan import PaintPlan

_FULL_CARD = "the text encoder left the card once the texts were encoded"
SAID: Mapping[Spare, str] = {
    Spare.ENCODER: _FULL_CARD,
    Spare.OTHERS: f"{_FULL_CARD}, and the other models left it before",
    Spare.WEIGHTS: f"{_FULL_CARD}, the other models left it before, and the model passed through it block by block",
}
"""What people are told of what was spared, as a clause."""


def spared(
    plan: PaintPlan, model: Model, references: int, memory: MemoryPlan | None, models: Mapping[str, Model], device: str
) -> Spare:
    """Return what has to leave the device for a plan with so many references; nothing where its memory is not known.

    Raises StudioError ``out_of_memory``, which says how many of them would fit, where they fit beside nothing.
    """
    if memory is None or plan.way is not Way.EDIT or not references:
        return Spare.NOTHING
    stored = memory.stored(plan.variant.precision)
    found = spared_for(_work(plan, model, references), model, stored, memory, models)
    if found is None:
        left = left_at_most(model, stored, memory)
        most = next((count for count in range(references - 1, 0, -1) if _work(plan, model, count) <= left), 0)
        raise _too_many(plan, model, references, most, left, device)
    return found


def warning_of(spare: Spare, references: int) -> tuple[str, ...]:
    """Return the sentence about what was spared for so many references; none where nothing was."""
    if spare is Spare.NOTHING:
        return ()
    images = "1 image was" if references == 1 else f"{references} images were"
    slower = "the picture is the same, but took longer"
    return (f"The memory that {images} to need was counted before: {SAID[spare]}; {slower}.",)


def _work(plan: PaintPlan, model: Model, references: int) -> int:
    sizes = [(each.width, each.height) for each in plan.passes] or [(plan.paint_width, plan.paint_height)]
    painted = max(width * height for width, height in sizes)
    other = min(model.input_pixels, model.recipe(plan.tier).max_pixels or model.input_pixels)
    first = painted if plan.passes else other
    guided = model.family(plan.way).takes_guidance and plan.guidance_scale > 1
    return job_bytes(model, plan.way, painted, first + (references - 1) * other, guided=guided)


def _too_many(plan: PaintPlan, model: Model, references: int, most: int, left: float, device: str) -> StudioError:
    needed = _work(plan, model, references) / GIB
    remedies = [f"send {most} at most"] if most else []
    small = [tier for tier, recipe in model.tiers.items() if recipe.max_pixels and tier is not plan.tier]
    remedies += [f"ask for tier {small[0].value}, which shows them smaller"] if small else []
    told = " or ".join(remedies) or "ask for a smaller picture"
    images = "1 image" if references == 1 else f"{references} images"
    there = f"need {needed:.1f} GiB on {device}, where {max(0.0, left) / GIB:.1f} are left beside {model.name}"
    return StudioError("out_of_memory", f"image: {images} {there}; {told}.", param="image")
