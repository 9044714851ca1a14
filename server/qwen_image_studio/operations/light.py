"""The plans of jobs that need no model: adjustments and batches."""

from collections.abc import Mapping, Sequence
from typing import Any

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.fields import Cell
from qwen_image_studio.contract.words import LIGHT, MAX_SIDE, Operation, OutputFormat, Prefer, Size, Tier
from qwen_image_studio.imaging.adjustments import check_adjustments
from qwen_image_studio.operations.requests import AdjustRequest, EditRequest
from qwen_image_studio.planning.plan import Plan
from qwen_image_studio.prompts.grammar import LightInstruction, NotLight, parse_light


class BatchPlan(Plan):
    """What the rows of a batch are made from; as a plan, that of its contact sheet."""

    job: dict[str, Any]
    """With {{column}} in its texts."""
    table: tuple[dict[str, Cell], ...]
    row_seeds: tuple[int | None, ...]
    """Seed of each row's first image; None where the operation takes none."""


def batch_plan(
    job: Mapping[str, Any], table: Sequence[Mapping[str, Cell]], row_seeds: Sequence[int | None]
) -> BatchPlan:
    """The plan of a batch. The contact sheet is a JPEG, since it is for looking at."""
    return BatchPlan(
        operation=Operation.BATCH,
        model=LIGHT,
        tier=Tier.QUALITY,
        prompt="",
        negative_prompt="",
        width=MAX_SIDE,
        height=MAX_SIDE,
        paint_width=MAX_SIDE,
        paint_height=MAX_SIDE,
        steps=1,
        guidance_scale=1.0,
        seeds=(0,),
        output_format=OutputFormat.JPEG,
        output_quality=90,
        job=dict(job),
        table=tuple(dict(row) for row in table),
        row_seeds=tuple(row_seeds),
    )


def light_plan(
    request: AdjustRequest | EditRequest, inputs: Sequence[Size], *, has_font: bool
) -> tuple[Plan | None, list[str]]:
    """The plan of a job that needs no model, None where one is needed; and the warnings that go with that.

    Raises StudioError ``invalid_value`` where no model may be used and the request cannot do without, or where the
    adjustments do not fit the image.
    """
    if isinstance(request, AdjustRequest):
        said = _understood(request.prompt) if request.prompt else LightInstruction(tuple(request.adjustments))
        return _checked(request, said, request.output_format or said.output_format, inputs[0], has_font=has_font), []
    if request.prefer is Prefer.CV:
        for param, wrong in (("image", len(inputs) > 1), ("n", request.n > 1), ("size", _is_shaped(request))):
            if wrong:
                message = f"{param}: adjustments change one image, as the instruction says; leave {param} out."
                raise StudioError("invalid_value", message, param=param)
        said = _understood(request.prompt)
        return _checked(request, said, said.output_format or request.output_format, inputs[0], has_font=has_font), []
    if request.prefer is Prefer.MODEL or len(inputs) != 1:
        return None, []
    try:
        said = parse_light(request.prompt)
    except NotLight:
        return None, []
    try:
        plan = _checked(request, said, said.output_format or request.output_format, inputs[0], has_font=has_font)
    except StudioError as why:  # what cannot be done here the model may do in its own way
        reason = why.message.removeprefix(f"{why.param}: ")
        return None, [f"Painted by the model, since it cannot be done without: {reason}"]
    if named := _asks_for_painting(request):
        return None, [f"Painted by the model, because of {named}; without that it is done exactly, and at once."]
    return plan, ["Done at once without the model, since nothing else was asked; prefer=model has the model do it."]


def _asks_for_painting(request: EditRequest) -> str:
    """The parameters that only a caller names who wants a painting."""
    given = {
        "size": request.asked_size is not None,
        "aspect_ratio": request.aspect_ratio is not None,
        "n": request.n > 1,
        "model": bool(request.model),
        "negative_prompt": bool(request.negative_prompt),
    }
    return ", ".join(name for name, value in given.items() if value)


def _is_shaped(request: EditRequest) -> bool:
    return request.asked_size is not None or request.aspect_ratio is not None


def _understood(prompt: str) -> LightInstruction:
    try:
        return parse_light(prompt)
    except NotLight as reason:
        raise StudioError(
            "invalid_value",
            f"prompt: cannot be done without a model: {reason}. Without one only adjustments can be done: crop, "
            "resize, rotate, flip, brightness, contrast, saturation, hue, grayscale, blur, sharpen, file format, "
            "watermark, such as 'rotate it 90 degrees, then make it brighter'. For all else use the edit operation "
            "with prefer=auto.",
            param="prompt",
        ) from reason


def _checked(
    request: AdjustRequest | EditRequest,
    said: LightInstruction,
    output_format: OutputFormat | None,
    size: Size,
    *,
    has_font: bool,
) -> Plan:
    """The plan, whose size is the input's: the result has its own."""
    output_format = output_format or OutputFormat.PNG
    check_adjustments(size, said.adjustments, output_format, has_font=has_font)
    return Plan(
        operation=Operation(request.operation),
        model=LIGHT,
        tier=Tier.QUALITY,
        prompt=request.prompt or "",
        negative_prompt="",
        width=size[0],
        height=size[1],
        paint_width=size[0],
        paint_height=size[1],
        steps=1,
        guidance_scale=1.0,
        seeds=(0,),
        output_format=output_format,
        adjustments=said.adjustments,
        **({} if request.output_quality is None else {"output_quality": request.output_quality}),
    )
