"""From what a caller asked to what exactly will be painted: model, sizes, defaults, seeds, and what to say of it."""

import math
import secrets
from collections.abc import Mapping, Sequence

from server.engine import Model, Plan, Size, find_model
from server.engine.light import light_plan
from server.engine.vocabulary import known_in, vocabulary_of
from server.errors import StudioError
from server.prompts import clean, has_chinese
from server.schemas import AdjustRequest, EditRequest, GenerateRequest, Request
from server.vocabulary import MAX_SEED, AspectRatio, Operation

Painting = GenerateRequest | EditRequest


def plan(
    request: Request, models: Mapping[str, Model], inputs: Sequence[Size] = (), *, has_font: bool = False
) -> tuple[Plan, list[str]]:
    """The plan for a request and the warnings that go with it.

    `inputs` are the sizes of an edit's images; `has_font` says whether the server has a font for watermarks. Raises
    StudioError ``unknown_model``, ``unsupported_operation`` or ``invalid_value`` with the parameter's name.
    """
    if not isinstance(request, GenerateRequest) and (light := light_plan(request, inputs, has_font=has_font)):
        return light
    assert not isinstance(request, AdjustRequest)  # noqa: S101 - that is always light, or an error
    model = _choose_model(request, models)
    warnings = _model_warnings(request, model)
    if len(inputs) > model.max_inputs:
        message = f"image: {model.name} takes at most {model.max_inputs} images."
        raise StudioError("invalid_value", message, param="image")
    width, height = _delivered_size(request, model, inputs)
    paint = _painted_size(width, height, model)
    if paint != (width, height):
        warnings.append(
            f"Painted at {paint[0]}x{paint[1]} and resized to {width}x{height}: {model.name} paints "
            f"{model.paint_pixels[0]} to {model.paint_pixels[1]} pixels with sides in multiples of {model.grid}."
        )
    prompt, negative = clean(request.prompt), clean(request.negative_prompt or "")
    if not prompt:
        raise StudioError("invalid_value", "prompt: nothing is left of it without special tokens.", param="prompt")
    if prompt != request.prompt.strip() or negative != (request.negative_prompt or "").strip():
        warnings.append("Special tokens such as <|im_end|> were taken out of the prompt.")
    seed = secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed
    return Plan(
        operation=Operation(request.operation),
        model=model.name,
        tier=request.tier,
        prompt=prompt,
        negative_prompt=negative or model.negative_prompt,
        width=width,
        height=height,
        paint_width=paint[0],
        paint_height=paint[1],
        steps=request.steps or model.steps,
        guidance_scale=model.guidance_scale if request.guidance_scale is None else request.guidance_scale,
        seeds=tuple((seed + index) % (MAX_SEED + 1) for index in range(request.n)),
        output_format=request.output_format,
    ), warnings


def _choose_model(request: Painting, models: Mapping[str, Model]) -> Model:
    operation = Operation(request.operation)
    if request.model is not None:
        model = find_model(request.model, models)
        if operation not in model.operations and not model.miniature:
            able = [other.name for other in models.values() if operation in other.operations]
            raise StudioError(
                "unsupported_operation",
                f"model: {model.name} does not {operation.value}; models that do: {', '.join(able) or 'none here'}.",
                param="model",
            )
        return model
    for model in models.values():
        if operation in model.operations:
            return model
    raise StudioError(
        "unsupported_operation",
        f"operation: no model of this server does {operation.value}; the operator can add one to STUDIO_MODELS.",
        param="operation",
    )


def _model_warnings(request: Painting, model: Model) -> list[str]:
    if not model.miniature:
        return []
    warnings = ["Painted by the miniature, a very small stand-in; on a GPU machine the server runs Qwen-Image instead."]
    words = vocabulary_of(model)
    if words is not None:
        warnings[0] += (
            f" It knows {len(words.objects)} objects, {len(words.texts)} short texts, {len(words.backgrounds)} plain "
            f"backgrounds and {len(words.edits)} kinds of edits, in English and Chinese; GET /v1/models lists them."
        )
        if isinstance(request, GenerateRequest) and not known_in(request.prompt, words):
            chinese = has_chinese(request.prompt)
            some = ", ".join((one.zh if chinese else one.en)[0] for one in words.objects[::25])
            warnings.append(f"The miniature knows nothing in this prompt; it would know for example: {some}.")
    if request.model is not None and request.model.casefold() != model.name:
        warnings.append(f"{request.model} is not on this server; the miniature answered for it.")
    return warnings


def _delivered_size(request: Painting, model: Model, inputs: Sequence[Size]) -> Size:
    asked = request.asked_size
    if asked is None and request.aspect_ratio is not None:
        return model.sizes[request.aspect_ratio]
    if asked is None and not inputs:
        return model.sizes[AspectRatio.SQUARE]
    if asked is None:
        return _like_input(inputs[0], model)
    width, height = asked
    param = "width" if request.width is not None else "size"
    if width * height > model.max_pixels:
        raise StudioError(
            "invalid_value",
            f"{param}: {width}x{height} is more than the {model.max_pixels} pixels that {model.name} delivers; "
            "ask for a smaller size.",
            param=param,
        )
    if max(width / height, height / width) > model.max_aspect:
        raise StudioError(
            "invalid_value",
            f"{param}: {width}x{height} is longer than {model.max_aspect:g}:1; bring the sides closer together.",
            param=param,
        )
    return width, height


def _like_input(size: Size, model: Model) -> Size:
    """The first input's shape at the model's native area, on its grid."""
    aspect = min(max(size[0] / size[1], 1 / model.max_aspect), model.max_aspect)
    native = model.sizes[AspectRatio.SQUARE]
    area = native[0] * native[1]
    return _on_grid(math.sqrt(area * aspect), math.sqrt(area / aspect), model)


def _painted_size(width: int, height: int, model: Model) -> Size:
    """The size that is painted for a delivered one: within the areas that the model paints, of the same shape."""
    least, largest = model.paint_pixels
    scale = math.sqrt(min(max(width * height, least), largest) / (width * height))
    return _on_grid(width * scale, height * scale, model)


def _on_grid(width: float, height: float, model: Model) -> Size:
    """The size on the model's grid that is closest to this one in shape and, less strictly, in area; not too large."""
    grid, largest = model.grid, model.paint_pixels[1]
    widths = {max(1, math.floor(width / grid) - back) * grid for back in range(3)} | {math.ceil(width / grid) * grid}
    sizes = [
        (across, max(1, rounded(across / width * height / grid)) * grid)
        for across in widths
        for rounded in (math.floor, math.ceil)
    ]

    def misfit(size: Size) -> tuple[float, int]:
        shape = abs(math.log(size[0] * height / size[1] / width))
        area = abs(math.log(size[0] * size[1] / width / height))
        return round(shape + area / 4, 6), -size[0]

    return min((size for size in sizes if size[0] * size[1] <= largest), key=misfit)
