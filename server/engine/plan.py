"""From what a caller asked to what exactly will be painted: model, sizes, defaults, seeds, and what to say of it."""

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from server.engine import Family, Model, Plan, Size, find_model
from server.engine.light import light_plan
from server.engine.regions import growing_passes, region_pass
from server.engine.sizes import like_input, painted_size
from server.engine.vocabulary import known_in, vocabulary_of
from server.errors import StudioError
from server.imaging.masks import Mask
from server.prompts import clean, has_chinese
from server.schemas import (
    AdjustRequest,
    BatchRequest,
    EditRequest,
    GenerateRequest,
    InpaintRequest,
    OutpaintRequest,
    Painting,
    Request,
)
from server.vocabulary import MAX_SEED, MAX_SIDE, Anchor, AspectRatio, Operation, OutputFormat, PromptKind

REFERENCE_STRENGTH = 0.6
"""How far an image is left behind where the caller does not say; diffusers' own default."""
CONTINUED_STRENGTH = 0.8
"""The same of an outpaint without a prompt, which starts from a smooth continuation of the image's edges."""
LITTLE_SAVED = 0.3
"""Below it the mask is called too large to save anything worth a word."""
SCATTERED = 0.25
"""A mask that fills less of its own box has parts far from each other."""
_CONTINUE = {
    Operation.EDIT: "Extend the picture naturally beyond its edges, in the same style and light.",
    Operation.GENERATE: "The picture continues naturally to its edges, in the same style and light.",
}


def plan(
    request: Request,
    models: Mapping[str, Model],
    inputs: Sequence[Size] = (),
    mask: Mask | None = None,
    *,
    has_font: bool = False,
) -> tuple[Plan, list[str]]:
    """The plan for a request and the warnings that go with it.

    `inputs` are the sizes of the images that came along, `mask` is an inpaint's; `has_font` says whether the server has
    a font for watermarks. Raises StudioError ``unknown_model``, ``unsupported_operation`` or ``invalid_value`` with the
    parameter's name.
    """
    assert not isinstance(request, BatchRequest)  # noqa: S101 - its rows are planned, each by itself
    if isinstance(request, AdjustRequest | EditRequest) and (light := light_plan(request, inputs, has_font=has_font)):
        return light
    assert not isinstance(request, AdjustRequest)  # noqa: S101 - that is always light, or an error
    model, through = _choose_model(request, models)
    warnings = _model_warnings(request, model, through)
    _check_inputs(request, model, through, inputs)
    shape, said = _shape(request, model, inputs, mask)
    prompt, texts = _texts(request, model, through, len(inputs))
    warnings += said + texts
    seed = secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed
    if request.output_quality is not None and request.output_format is OutputFormat.PNG:
        warnings.append("output_quality is for JPEG and WebP; PNG keeps every pixel.")
    return Plan(
        operation=Operation(request.operation),
        model=model.name,
        tier=request.tier,
        prompt=prompt,
        negative_prompt=clean(request.negative_prompt or "") or model.negative_prompt,
        steps=request.steps or model.steps,
        guidance_scale=_guidance(request, model),
        seeds=tuple((seed + index) % (MAX_SEED + 1) for index in range(request.n)),
        output_format=request.output_format,
        through=through,
        **({} if request.output_quality is None else {"output_quality": request.output_quality}),
        **shape,
    ), warnings


# -- model ---------------------------------------------------------------------------------------------------------


def _choose_model(request: Painting, models: Mapping[str, Model]) -> tuple[Model, Operation]:
    """The model, and whether it paints as in generating or as in editing."""
    wanted = _ways(request)
    if request.model is not None:
        model = find_model(request.model, models)
        for way in wanted:
            if way in model.families:
                return model, way
        able = [other.name for other in models.values() if set(wanted) & set(other.families)]
        raise StudioError(
            "unsupported_operation",
            f"model: {model.name} does not {_asked(request)}; models that do: {', '.join(able) or 'none here'}.",
            param="model",
        )
    for way in wanted:
        for model in models.values():
            if way in model.families:
                return model, way
    raise StudioError(
        "unsupported_operation",
        f"operation: no model of this server does {_asked(request)}; the operator can add one to STUDIO_MODELS.",
        param="operation",
    )


def _ways(request: Painting) -> Sequence[Operation]:
    """Through which families the request can be painted, the better one first."""
    if isinstance(request, GenerateRequest):
        return [Operation.GENERATE]
    if isinstance(request, EditRequest):
        return [Operation.EDIT]
    by_kind = {PromptKind.INSTRUCTION: [Operation.EDIT], PromptKind.DESCRIPTION: [Operation.GENERATE]}
    return [Operation.EDIT, Operation.GENERATE] if request.prompt_kind is None else by_kind[request.prompt_kind]


def _asked(request: Painting) -> str:
    kind = getattr(request, "prompt_kind", None)
    return request.operation.value + ("" if kind is None else f" from a prompt that is {kind.value}")


def _check_inputs(request: Painting, model: Model, through: Operation, inputs: Sequence[Size]) -> None:
    if through is Operation.EDIT and len(inputs) > model.max_inputs:
        raise _refusal("image", f"{model.name} takes at most {model.max_inputs} images")
    if through is Operation.GENERATE and len(inputs) > 1:
        raise _refusal("image", f"{model.name} paints from a description and takes one image; send that alone")
    starts_from_image = isinstance(request, GenerateRequest) and bool(inputs)
    if model.families[through] is Family.QWEN_IMAGE_21:
        if starts_from_image:
            raise _refusal("image", f"{model.name} cannot start from an image; use the edit operation")
        if getattr(request, "strength", None) not in {None, 1.0}:
            raise _refusal("strength", f"{model.name} always paints anew; leave strength out")


def _model_warnings(request: Painting, model: Model, through: Operation) -> list[str]:
    if not model.miniature:
        return []
    warnings = ["Painted by the miniature, a very small stand-in; on a GPU machine the server runs Qwen-Image instead."]
    words = vocabulary_of(model)
    if words is not None:
        warnings[0] += (
            f" It knows {len(words.objects)} objects, {len(words.texts)} short texts, {len(words.backgrounds)} plain "
            f"backgrounds and {len(words.edits)} kinds of edits, in English and Chinese; GET /v1/models lists them."
        )
        if through is Operation.GENERATE and request.prompt and not known_in(request.prompt, words):
            chinese = has_chinese(request.prompt)
            some = ", ".join((one.zh if chinese else one.en)[0] for one in words.objects[::25])
            warnings.append(f"The miniature knows nothing in this prompt; it would know for example: {some}.")
    if request.model is not None and request.model.casefold() != model.name:
        warnings.append(f"{request.model} is not on this server; the miniature answered for it.")
    return warnings


# -- texts ---------------------------------------------------------------------------------------------------------


def _texts(request: Painting, model: Model, through: Operation, images: int) -> tuple[str, list[str]]:
    """The prompt, and what to say of the texts and of how strictly they are followed."""
    warnings: list[str] = []
    prompt, negative = clean(request.prompt), clean(request.negative_prompt or "")
    if prompt != request.prompt.strip() or negative != (request.negative_prompt or "").strip():
        warnings.append("Special tokens such as <|im_end|> were taken out of the prompt.")
    if not prompt and isinstance(request, OutpaintRequest) and not request.prompt:
        prompt = _CONTINUE[through]
    if not prompt:
        raise StudioError("invalid_value", "prompt: nothing is left of it without special tokens.", param="prompt")
    guidance = _guidance(request, model)
    if guidance <= 1 and negative:
        warnings.append("negative_prompt has no effect while guidance_scale is 1; raise it above 1.")
    elif request.guidance_scale is not None and guidance > 1:
        filled = "" if negative else "; it needs a negative prompt, and the model's recommended one was filled in"
        warnings.append(f"guidance_scale {guidance:g} was applied as the model's true_cfg_scale{filled}.")
    if through is Operation.EDIT and (unknown := _unknown_image(prompt, images)):
        sent = "1 image was sent" if images == 1 else f"{images} images were sent"
        warnings.append(f"The instruction speaks of image {unknown}, and {sent}.")
    return prompt, warnings


def _guidance(request: Painting, model: Model) -> float:
    if request.guidance_scale is not None:
        return request.guidance_scale
    # The miniature knows no word of our own prompt for a continuation, so it must not insist on it.
    return 1.0 if model.miniature and not request.prompt else model.guidance_scale


def _unknown_image(prompt: str, images: int) -> int | None:
    """The number of an image of which the instruction speaks and that is not there."""
    told = re.findall(r"(?:\b(?:image|picture|photo)\s?|图片?\s?)([1-9])(?![\d:：x×])", prompt, re.IGNORECASE)
    return next((int(number) for number in told if int(number) > images), None)


# -- shape ---------------------------------------------------------------------------------------------------------


def _shape(
    request: Painting, model: Model, inputs: Sequence[Size], mask: Mask | None
) -> tuple[dict[str, Any], list[str]]:
    """The plan's fields that say what is painted where and at which size, and what to say of them."""
    if isinstance(request, InpaintRequest):
        return _region_shape(request, model, inputs[0], mask)
    if isinstance(request, OutpaintRequest):
        return _canvas_shape(request, model, inputs[0])
    delivered = _delivered_size(request, model, inputs)
    paint = painted_size(delivered, model)
    warnings = [] if paint == delivered else [_snapped(paint, delivered, model)]
    shape: dict[str, Any] = {"width": delivered[0], "height": delivered[1]}
    if isinstance(request, GenerateRequest) and inputs:
        shape["strength"] = REFERENCE_STRENGTH if request.strength is None else request.strength
    return {**shape, "paint_width": paint[0], "paint_height": paint[1]}, warnings


def _region_shape(
    request: InpaintRequest, model: Model, frame: Size, mask: Mask | None
) -> tuple[dict[str, Any], list[str]]:
    assert mask is not None  # noqa: S101 - the caller reads it from the request
    warnings = list(mask.warnings)
    once = region_pass(mask.box, frame, model)
    whole = painted_size(frame, model, least=model.region_pixels)
    saved = 1 - once.width * once.height / (whole[0] * whole[1])
    across = round(100 * (mask.box[2] - mask.box[0]) * (mask.box[3] - mask.box[1]) / (frame[0] * frame[1]))
    if saved < LITTLE_SAVED:
        warnings.append(
            f"What may change spans {across}% of the image, so painting only that saves little; a smaller mask or "
            "region would be faster."
        )
    if mask.share < SCATTERED:
        warnings.append(
            f"The mask fills {max(1, round(100 * mask.share))}% of the box around it, and the whole box is painted at "
            "once; parts that lie far from each other are faster as jobs of their own."
        )
    window = (once.window[2] - once.window[0], once.window[3] - once.window[1])
    if window != (once.width, once.height):
        warnings.append(_snapped((once.width, once.height), window, model))
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
    if max(canvas) > max(MAX_SIDE, *image):
        ways = (*request.ways_of_size(), "left", "right", "top", "bottom")
        param = next(way for way in ways if getattr(request, way))
        message = f"the result would be {canvas[0]}x{canvas[1]}; its sides may have {MAX_SIDE} pixels"
        raise _refusal(param, message)
    place = (left, top, left + image[0], top + image[1])
    passes = growing_passes(place, canvas, model)
    warnings = []
    if len(passes) > 1:
        warnings.append(f"So much was added that it was painted in {len(passes)} passes, from the image outwards.")
    if any((one.width, one.height) != (one.window[2] - one.window[0], one.window[3] - one.window[1]) for one in passes):
        warnings.append(
            f"What was added was painted at {passes[-1].width}x{passes[-1].height} and resized, since {model.name} "
            f"paints {model.region_pixels} to {model.paint_pixels[1]} pixels with sides in multiples of {model.grid}."
        )
    return {
        "width": canvas[0],
        "height": canvas[1],
        "paint_width": passes[-1].width,
        "paint_height": passes[-1].height,
        "place": place,
        "passes": passes,
        "strength": request.strength or (1.0 if request.prompt else CONTINUED_STRENGTH),
    }, warnings


def _margins(request: OutpaintRequest, image: Size) -> tuple[int, int, int, int]:
    """What is added on the left, at the top, on the right and at the bottom, in pixels."""
    if any(sides := (request.left, request.top, request.right, request.bottom)):
        return sides
    width, height = image
    if request.aspect_ratio is not None:
        across, down = (int(number) for number in request.aspect_ratio.split(":"))
        if not across or not down or max(across, down) > 20 * min(across, down):
            raise _refusal("aspect_ratio", "write WIDTH:HEIGHT such as 16:9, at most 20:1")
        goal = (max(width, round(height * across / down)), max(height, round(width * down / across)))
    else:
        assert request.asked_size is not None  # noqa: S101 - checked with the request
        goal = request.asked_size
    param = request.ways_of_size()[0]
    more = (goal[0] - width, goal[1] - height)
    if min(more) < 0:
        message = f"{goal[0]}x{goal[1]} is smaller than the image of {width}x{height}; ask for more, or crop it first"
        raise _refusal(param, message)
    if max(more) == 0:
        raise _refusal(param, f"the image of {width}x{height} has that shape already, so there is nothing to add")
    left = {Anchor.LEFT: 0, Anchor.RIGHT: more[0]}.get(request.anchor, more[0] // 2)
    top = {Anchor.TOP: 0, Anchor.BOTTOM: more[1]}.get(request.anchor, more[1] // 2)
    return left, top, more[0] - left, more[1] - top


def _delivered_size(request: GenerateRequest | EditRequest, model: Model, inputs: Sequence[Size]) -> Size:
    asked = request.asked_size
    if asked is None and request.aspect_ratio is not None:
        return model.sizes[request.aspect_ratio]
    if asked is None:
        return like_input(inputs[0], model) if inputs else model.sizes[AspectRatio.SQUARE]
    width, height = asked
    param = "width" if request.width is not None else "size"
    if width * height > model.max_pixels:
        raise _refusal(
            param,
            f"{width}x{height} is more than the {model.max_pixels} pixels that {model.name} delivers; "
            "ask for a smaller size",
        )
    if max(width / height, height / width) > model.max_aspect:
        raise _refusal(
            param, f"{width}x{height} is longer than {model.max_aspect:g}:1; bring the sides closer together"
        )
    return width, height


def _snapped(paint: Size, delivered: Size, model: Model) -> str:
    return (
        f"Painted at {paint[0]}x{paint[1]} and resized to {delivered[0]}x{delivered[1]}: {model.name} paints "
        f"{model.paint_pixels[0]} to {model.paint_pixels[1]} pixels with sides in multiples of {model.grid}."
    )


def _refusal(param: str, said: str) -> StudioError:
    return StudioError("invalid_value", f"{param}: {said}.", param=param)
