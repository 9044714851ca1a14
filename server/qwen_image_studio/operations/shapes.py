"""The shape of a job: what is painted where, at which size, how far from what is there; and what to say of it."""

import math
from collections.abc import Sequence
from typing import Any

from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.contract.words import MAX_SIDE, Anchor, AspectRatio, OutputFormat, Size
from qwen_image_studio.imaging.masks import Mask
from qwen_image_studio.models.table import Family, Model
from qwen_image_studio.operations.requests import (
    EditRequest,
    GenerateRequest,
    InpaintRequest,
    OutpaintRequest,
    Painting,
)
from qwen_image_studio.planning.plan import Pass
from qwen_image_studio.planning.regions import growing_passes, region_pass
from qwen_image_studio.planning.sizes import like_input, painted_size

REFERENCE_STRENGTH = 0.6
"""How far an image is left behind where the caller does not say; diffusers' own default."""
CONTINUED_STRENGTH = 0.8
"""The same of an outpaint without a prompt, which starts from a smooth continuation of the image's edges."""
LITTLE_SAVED = 0.3
"""Below it the mask is called too large to save anything worth a word."""
LARGE = 30
"""Percent of an image that a mask's box has to span for that."""
SCATTERED = 0.25
"""A mask that fills less of its own box has parts far from each other."""


def shape_of(
    request: Painting, model: Model, inputs: Sequence[Size], mask: Mask | None
) -> tuple[dict[str, Any], list[str]]:
    """The plan's fields that say what is painted where and at which size, and what to say of them."""
    if isinstance(request, InpaintRequest):
        return _region_shape(request, model, inputs[0], mask)
    if isinstance(request, OutpaintRequest):
        return _canvas_shape(request, model, inputs[0])
    delivered = _delivered_size(request, model, inputs)
    paint = painted_size(delivered, model.limits)
    warnings = [] if paint == delivered else [_snapped(paint, delivered, model)]
    shape: dict[str, Any] = {"width": delivered[0], "height": delivered[1]}
    if isinstance(request, GenerateRequest) and inputs:
        shape["strength"] = REFERENCE_STRENGTH if request.strength is None else request.strength
        warnings += _cropped(inputs[0], delivered)
    return {**shape, "paint_width": paint[0], "paint_height": paint[1]}, warnings


def _region_shape(
    request: InpaintRequest, model: Model, frame: Size, mask: Mask | None
) -> tuple[dict[str, Any], list[str]]:
    assert mask is not None  # noqa: S101 - the caller reads it from the request
    warnings = list(mask.warnings)
    once = region_pass(mask.box, frame, model.limits)
    whole = painted_size(frame, model.limits, least=model.region_pixels)
    saved = 1 - once.width * once.height / (whole[0] * whole[1])
    across = round(100 * (mask.box[2] - mask.box[0]) * (mask.box[3] - mask.box[1]) / (frame[0] * frame[1]))
    if saved < LITTLE_SAVED and across > LARGE:  # in a picture that is small itself, no mask saves anything
        warnings.append(
            f"What may change spans {across}% of the image, so painting only that saves little; a smaller mask or "
            "region would be faster."
        )
    if mask.share < SCATTERED:
        warnings.append(
            f"The mask fills {max(1, round(100 * mask.share))}% of the box around it, and all of the box is painted; "
            "where its parts lie far apart, jobs of their own would be faster."
        )
    if not 0.95 < _scale(once) < 1.05:
        warnings.append(_resized(once, model))
    warnings += _lossy(request)
    return {
        "width": frame[0],
        "height": frame[1],
        "paint_width": once.width,
        "paint_height": once.height,
        "strength": request.strength,
        "mask": True,
        "passes": (once,),
    }, warnings


def _canvas_shape(request: OutpaintRequest, model: Model, image: Size) -> tuple[dict[str, Any], list[str]]:
    left, top, right, bottom = _margins(request, image)
    canvas = (left + image[0] + right, top + image[1] + bottom)
    too_long = any(reached > max(MAX_SIDE, before) for reached, before in zip(canvas, image, strict=True))
    if too_long or canvas[0] * canvas[1] > MAX_SIDE * MAX_SIDE:
        ways = (*request.ways_of_size(), "left", "right", "top", "bottom")
        param = next(way for way in ways if getattr(request, way))
        message = (
            f"the result would be {canvas[0]}x{canvas[1]}; it may have {MAX_SIDE} pixels on a side and {MAX_SIDE**2} "
            "in all, so ask for less, or make the image smaller first"
        )
        raise refusal(param, message)
    place = (left, top, left + image[0], top + image[1])
    passes = growing_passes(place, canvas, model.limits)
    warnings = _lossy(request)
    if len(passes) > 1:
        warnings.append(f"So much was added that it was painted in {len(passes)} passes, from the image outwards.")
    scales = {_scale(one): one for one in passes}
    for scale in {min(scales), max(scales)}:
        if not 0.95 < scale < 1.05:
            warnings.append(_resized(scales[scale], model))
    return {
        "width": canvas[0],
        "height": canvas[1],
        "paint_width": passes[-1].width,
        "paint_height": passes[-1].height,
        "place": place,
        "passes": passes,
        "strength": _continued_strength(request, model),
    }, warnings


def _margins(request: OutpaintRequest, image: Size) -> tuple[int, int, int, int]:
    """What is added on the left, at the top, on the right and at the bottom, in pixels."""
    if any(sides := (request.left, request.top, request.right, request.bottom)):
        return sides
    width, height = image
    if request.aspect_ratio is not None:
        across, down = (int(number) for number in request.aspect_ratio.split(":"))
        if not across or not down or max(across, down) > 20 * min(across, down):
            raise refusal("aspect_ratio", "write WIDTH:HEIGHT such as 16:9, at most 20:1")
        goal = (max(width, round(height * across / down)), max(height, round(width * down / across)))
    else:
        assert request.asked_size is not None  # noqa: S101 - checked with the request
        goal = request.asked_size
    param = request.ways_of_size()[0]
    more = (goal[0] - width, goal[1] - height)
    if min(more) < 0:
        message = f"{goal[0]}x{goal[1]} is smaller than the image of {width}x{height}; ask for more, or crop it first"
        raise refusal(param, message)
    if max(more) == 0:
        raise refusal(param, f"the image of {width}x{height} has that shape already, so there is nothing to add")
    left = {Anchor.LEFT: 0, Anchor.RIGHT: more[0]}.get(request.anchor, more[0] // 2)
    top = {Anchor.TOP: 0, Anchor.BOTTOM: more[1]}.get(request.anchor, more[1] // 2)
    return left, top, more[0] - left, more[1] - top


def _delivered_size(request: GenerateRequest | EditRequest, model: Model, inputs: Sequence[Size]) -> Size:
    asked = request.asked_size
    if asked is None and request.aspect_ratio is not None:
        return model.sizes[request.aspect_ratio]
    if asked is None:
        return like_input(inputs[0], model.limits) if inputs else model.sizes[AspectRatio.SQUARE]
    width, height = asked
    param = "width" if request.width is not None else "size"
    if width * height > model.max_pixels:
        raise refusal(
            param,
            f"{width}x{height} is more than the {model.max_pixels} pixels that {model.name} delivers; "
            "ask for a smaller size",
        )
    if max(width / height, height / width) > model.max_aspect:
        raise refusal(param, f"{width}x{height} is longer than {model.max_aspect:g}:1; bring the sides closer together")
    return width, height


def _continued_strength(request: OutpaintRequest, model: Model) -> float:
    if request.strength is not None:
        return request.strength
    starts_anew = bool(request.prompt) or Family.QWEN_IMAGE_21 in model.families.values()
    return 1.0 if starts_anew else CONTINUED_STRENGTH


def _cropped(image: Size, delivered: Size) -> list[str]:
    """What to say where the result has another shape than the image that it starts from."""
    scale = min(image[0] / delivered[0], image[1] / delivered[1])
    used = (round(delivered[0] * scale), round(delivered[1] * scale))
    if all(part > 0.98 * whole for part, whole in zip(used, image, strict=True)):
        return []
    return [
        f"The middle {used[0]}x{used[1]} of the image of {image[0]}x{image[1]} was used, since the result has another "
        "shape."
    ]


def _lossy(request: InpaintRequest | OutpaintRequest) -> list[str]:
    if request.output_format is OutputFormat.PNG:
        return []
    name = request.output_format.value
    return [f"A {name} file changes every pixel a little; ask for png to keep what was not painted bit for bit."]


def _scale(one: Pass) -> float:
    """How much larger the window is than it is painted."""
    return math.sqrt((one.window[2] - one.window[0]) * (one.window[3] - one.window[1]) / (one.width * one.height))


def _resized(one: Pass, model: Model) -> str:
    width, height = one.window[2] - one.window[0], one.window[3] - one.window[1]
    return (
        f"A part of {width}x{height} was painted at {one.width}x{one.height} and resized: {model.name} paints parts of "
        f"{model.region_pixels} to {model.paint_pixels[1]} pixels."
    )


def _snapped(paint: Size, delivered: Size, model: Model) -> str:
    return (
        f"Painted at {paint[0]}x{paint[1]} and resized to {delivered[0]}x{delivered[1]}: {model.name} paints "
        f"{model.paint_pixels[0]} to {model.paint_pixels[1]} pixels with sides in multiples of {model.grid}."
    )
