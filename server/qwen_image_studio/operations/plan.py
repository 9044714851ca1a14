"""From what a caller asked to what exactly will be painted: model, sizes, defaults, seeds, and what to say of it."""

import re
import secrets
from collections.abc import Mapping, Sequence

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.words import MAX_SEED, Operation, OutputFormat, PromptKind, Size, Way
from qwen_image_studio.imaging.masks import Mask
from qwen_image_studio.models.known_words import known_in, vocabulary_of
from qwen_image_studio.models.table import Family, Model, find_model
from qwen_image_studio.operations.light import light_plan
from qwen_image_studio.operations.requests import (
    AdjustRequest,
    BatchRequest,
    EditRequest,
    GenerateRequest,
    OutpaintRequest,
    Painting,
    Request,
)
from qwen_image_studio.operations.shapes import shape_of
from qwen_image_studio.planning.plan import Plan
from qwen_image_studio.prompts.cleaning import clean, has_chinese

_CONTINUE = {
    Way.EDIT: "Extend the picture naturally beyond its edges, in the same style and light.",
    Way.GENERATE: "The picture continues naturally to its edges, in the same style and light.",
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
    why_painted: list[str] = []
    if isinstance(request, AdjustRequest | EditRequest):
        light, why_painted = light_plan(request, inputs, has_font=has_font)
        if light is not None:
            return light, why_painted
    assert not isinstance(request, AdjustRequest)  # noqa: S101 - that is always light, or an error
    model, way = _choose_model(request, models)
    warnings = why_painted + _model_warnings(request, model, way)
    _check_inputs(request, model, way, inputs)
    shape, said = shape_of(request, model, inputs, mask)
    prompt, texts = _texts(request, model, way, len(inputs))
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
        way=way,
        **({} if request.output_quality is None else {"output_quality": request.output_quality}),
        **shape,
    ), warnings


# -- model ---------------------------------------------------------------------------------------------------------


def _choose_model(request: Painting, models: Mapping[str, Model]) -> tuple[Model, Way]:
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


def _ways(request: Painting) -> Sequence[Way]:
    """Through which families the request can be painted, the better one first."""
    if isinstance(request, GenerateRequest):
        return [Way.GENERATE]
    if isinstance(request, EditRequest):
        return [Way.EDIT]
    by_kind = {PromptKind.INSTRUCTION: [Way.EDIT], PromptKind.DESCRIPTION: [Way.GENERATE]}
    return [Way.EDIT, Way.GENERATE] if request.prompt_kind is None else by_kind[request.prompt_kind]


def _asked(request: Painting) -> str:
    kind = getattr(request, "prompt_kind", None)
    return request.operation.value + ("" if kind is None else f" from a prompt that is {kind.value}")


def _check_inputs(request: Painting, model: Model, way: Way, inputs: Sequence[Size]) -> None:
    if way is Way.EDIT and len(inputs) > model.max_inputs:
        raise refusal("image", f"{model.name} takes at most {model.max_inputs} images")
    if way is Way.GENERATE and len(inputs) > 1:
        raise refusal("image", f"{model.name} paints from a description and takes one image; send that alone")
    starts_from_image = isinstance(request, GenerateRequest) and bool(inputs)
    if model.families[way] is Family.QWEN_IMAGE_21:
        if starts_from_image:
            raise refusal("image", f"{model.name} cannot start from an image; use the edit operation")
        if getattr(request, "strength", None) not in {None, 1.0}:
            raise refusal("strength", f"{model.name} always paints anew; leave strength out")


def _model_warnings(request: Painting, model: Model, way: Way) -> list[str]:
    if not model.miniature:
        return []
    warnings = ["Painted by the miniature, a very small stand-in; on a GPU machine the server runs Qwen-Image instead."]
    words = vocabulary_of(model)
    if words is not None:
        warnings[0] += (
            f" It knows {len(words.objects)} objects, {len(words.texts)} short texts, {len(words.backgrounds)} plain "
            f"backgrounds and {len(words.edits)} kinds of edits, in English and Chinese; GET /v1/models lists them."
        )
        if way is Way.GENERATE and request.prompt and not known_in(request.prompt, words):
            chinese = has_chinese(request.prompt)
            some = ", ".join((one.zh if chinese else one.en)[0] for one in words.objects[::25])
            warnings.append(f"The miniature knows nothing in this prompt; it would know for example: {some}.")
    if request.model is not None and request.model.casefold() != model.name:
        warnings.append(f"{request.model} is not on this server; the miniature answered for it.")
    return warnings


# -- texts ---------------------------------------------------------------------------------------------------------


def _texts(request: Painting, model: Model, way: Way, images: int) -> tuple[str, list[str]]:
    """The prompt, and what to say of the texts and of how strictly they are followed."""
    warnings: list[str] = []
    prompt, negative = clean(request.prompt), clean(request.negative_prompt or "")
    if prompt != request.prompt.strip() or negative != (request.negative_prompt or "").strip():
        warnings.append("Special tokens such as <|im_end|> were taken out of the prompt.")
    if not prompt and isinstance(request, OutpaintRequest) and not request.prompt:
        prompt = _CONTINUE[way]
    if not prompt:
        raise StudioError("invalid_value", "prompt: nothing is left of it without special tokens.", param="prompt")
    guidance = _guidance(request, model)
    if guidance <= 1 and negative:
        why = "while guidance_scale is 1; raise it above 1" if request.prompt else "without a prompt"
        warnings.append(f"negative_prompt has no effect {why}.")
    elif request.guidance_scale is not None and guidance > 1:
        filled = "" if negative else "; it needs a negative prompt, and the model's recommended one was filled in"
        warnings.append(f"guidance_scale {guidance:g} was applied as the model's true_cfg_scale{filled}.")
    if way is Way.EDIT and (unknown := _unknown_image(prompt, images)):
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
