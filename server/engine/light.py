"""Adapter: adjustments of pictures with Pillow, where no model is needed; and the plans of such jobs. No torch."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from server.engine import LIGHT_DEVICE, Painted, Plan, Report, Show, Size, silent
from server.errors import StudioError
from server.imaging import adjust, check_adjustments
from server.imaging.contact_sheet import MAX_SHEET_SIDE
from server.prompts.light import LightInstruction, NotLight, parse_light
from server.schemas import AdjustRequest, Cell, EditRequest
from server.settings import Settings
from server.vocabulary import LIGHT, Operation, OutputFormat, Prefer, Tier


class LightEngine:
    """The engine of the light path."""

    device = LIGHT_DEVICE
    loaded = LIGHT

    def __init__(self, settings: Settings) -> None:
        self._font: Path | None = settings.font

    def fetch(self, model: str) -> None:
        """Nothing is needed."""

    def load(self, model: str) -> None:
        """Nothing is needed."""

    def paint(
        self, plan: Plan, images: Sequence[Image.Image], report: Report = silent, show: Show | None = None
    ) -> Iterator[Painted]:
        """Adjust the one image. Raises StudioError ``invalid_value`` for an adjustment that it does not allow."""
        steps = max(1, len(plan.adjustments))
        done = adjust(images[0], plan.adjustments, self._font, lambda number: report("adjusting", number, steps))
        yield Painted(done, None)


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
        width=MAX_SHEET_SIDE,
        height=MAX_SHEET_SIDE,
        paint_width=MAX_SHEET_SIDE,
        paint_height=MAX_SHEET_SIDE,
        steps=1,
        guidance_scale=1.0,
        seeds=(0,),
        output_format=OutputFormat.JPEG,
        output_quality=90,
        through=Operation.BATCH,
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
