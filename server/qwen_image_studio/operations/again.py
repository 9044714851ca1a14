"""The parameters that ask for a job again: what was sent, with what its plan has decided, and inputs as ids."""

from collections.abc import Mapping, Sequence
from typing import Any

from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import OutputFormat, PromptKind, Way
from qwen_image_studio.operations.request import OPERATIONS, Request
from qwen_image_studio.planning.plan import AdjustPlan, BatchPlan, PaintPlan, Plan, read_plan

_OF_THE_CALL = {"conversation", "user", "webhook_url"}
"""Parameters that say who asks and whom to tell, and nothing about the pictures."""
_KINDS: Mapping[Way, PromptKind] = {Way.EDIT: PromptKind.INSTRUCTION, Way.GENERATE: PromptKind.DESCRIPTION}


def said_again(
    request: Request, plan: Plan, inputs: Sequence[str], direction: Direction | None = None
) -> dict[str, Any]:
    """Return the parameters that make the same pictures again; `inputs` are the ids of the stored images and mask, and
    `direction` is said in place of the style that was named, which may change.

    A batch says its job and the number of its rows, not their table, so it cannot be sent again as it is.
    """
    if isinstance(plan, BatchPlan):
        asked = request.model_dump(mode="json", exclude_unset=True, exclude=_OF_THE_CALL | {"rows", "job"})
        return {**asked, **_of_batch(plan)}
    asked = request.model_dump(mode="json", exclude_unset=True, exclude=_OF_THE_CALL | {"image", "mask"})
    said = {name: value for name, value in asked.items() if value is not None}
    if direction is not None:
        said.pop("style", None)
        said["direction"] = direction.model_dump(mode="json", exclude_defaults=True, exclude={"reference"})
    return {**said, **_decided(plan), **_named(request, plan, inputs, has_box="region" in said)}


def recovered(operation: str, stored: Mapping[str, Any], inputs: Sequence[str]) -> dict[str, Any] | None:
    """Return the same for a job of a time when the request was not kept, as far as its plan tells; None for an
    operation that there is no more, and without a plan.
    """
    request = OPERATIONS.get(operation)
    if request is None or not stored:  # a row of which no job could be made has no plan
        return None
    plan = read_plan(stored)
    said: dict[str, Any] = {"operation": operation}
    if isinstance(plan, BatchPlan):
        return said | _of_batch(plan)
    if isinstance(plan, AdjustPlan):
        changes = [one.model_dump(mode="json", exclude_none=True) for one in plan.adjustments]
        said |= {"prompt": plan.prompt} if plan.prompt else {"adjustments": changes}
    else:
        said |= _of_painting(plan, bool(inputs))
    return said | _decided(plan) | _format(plan) | _named(request, plan, inputs, has_box=False)


def _decided(plan: Plan) -> dict[str, Any]:
    """Return what the plan of a painting has filled in, in place of what was left out or said in another way."""
    if not isinstance(plan, PaintPlan):
        return {}
    return {
        "model": plan.model,
        "tier": plan.tier.value,
        "steps": plan.steps,
        "seed": plan.seeds[0],
        **({"layers": plan.layers} if plan.layers else {"n": len(plan.seeds)}),
        "output_format": plan.output_format.value,
        **({} if plan.background is Background.AUTO else {"background": plan.background.value}),
        **({"loras": [each.model_dump() for each in plan.loras]} if plan.loras else {}),
    }


def _named(request: Request | type[Request], plan: Plan, inputs: Sequence[str], *, has_box: bool) -> dict[str, Any]:
    """Return the ids of the images, and of the mask where no box says the same."""
    has_mask = isinstance(plan, PaintPlan) and plan.mask
    images = list(inputs[:-1] if has_mask else inputs)
    said: dict[str, Any] = {"mask": inputs[-1]} if has_mask and not has_box else {}
    if images:
        said["image"] = images if request.TAKES_IMAGES[1] > 1 else images[0]
    return said


def _of_batch(plan: BatchPlan) -> dict[str, Any]:
    return {"job": plan.job, "rows": len(plan.table)}


def _of_painting(plan: PaintPlan, has_images: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"prompt": plan.prompt, "guidance_scale": plan.guidance_scale}
    if plan.negative_prompt:
        said["negative_prompt"] = plan.negative_prompt
    if not plan.passes and not plan.layers:
        said |= {"width": plan.width, "height": plan.height}
    elif plan.passes:
        said["prompt_kind"] = _KINDS[plan.way].value
    if plan.roles:
        said["roles"] = [each.model_dump(mode="json", exclude_none=True) for each in plan.roles]
    if plan.feather is not None:
        said["feather"] = plan.feather
    if plan.place is not None:
        left, top, right, bottom = plan.place
        said |= {"left": left, "top": top, "right": plan.width - right, "bottom": plan.height - bottom}
    if plan.passes or (has_images and plan.way is Way.GENERATE):
        said["strength"] = plan.strength
    return said


def _format(plan: Plan) -> dict[str, Any]:
    said: dict[str, Any] = {"output_format": plan.output_format.value}
    return said if plan.output_format is OutputFormat.PNG else said | {"output_quality": plan.output_quality}
