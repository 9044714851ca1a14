"""From a request for a painting to its plan: which model paints it, in which way, and with which texts and seeds."""

import math
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from qwen_image_studio.contract.adjustments import Box
from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.words import MAX_SEED, AspectRatio, OutputFormat, Size, Tier, Way
from qwen_image_studio.models.families import Family
from qwen_image_studio.models.known_words import known_in, vocabulary_of
from qwen_image_studio.models.table import MODELS, Model, find_model, models_for
from qwen_image_studio.models.tiers import Recipe
from qwen_image_studio.operations.allowed import check_allowed
from qwen_image_studio.operations.given import Given, Planned
from qwen_image_studio.operations.loras import chosen_loras, unsaid
from qwen_image_studio.operations.paint_request import PaintRequest
from qwen_image_studio.operations.parameters import Shaped
from qwen_image_studio.operations.references import checked_roles, most_images, too_many
from qwen_image_studio.operations.transparency import none_paints_clear, paints
from qwen_image_studio.planning.plan import QUALITY, PaintPlan, Pass
from qwen_image_studio.planning.sizes import Limits, like_input, painted_size
from qwen_image_studio.prompts.cleaning import has_chinese
from qwen_image_studio.prompts.references import unknown_image

_STRETCHED = 0.15
"""Difference of two shapes, as a share, above which stretching one to the other is worth a sentence."""


@dataclass(frozen=True)
class Shape:
    """The place and size at which something is painted; the fields are those of a PaintPlan."""

    width: int
    height: int
    paint_width: int
    paint_height: int
    strength: float = 1.0
    mask: bool = False
    place: Box | None = None
    passes: tuple[Pass, ...] = ()
    feather: int | None = None
    layers: int = 0


@dataclass(frozen=True)
class Chosen:
    """The model that paints, and the way and tier in which it paints."""

    model: Model
    way: Way
    tier: Tier

    @property
    def family(self) -> Family:
        """The family that paints."""
        return self.model.family(self.way)

    @property
    def recipe(self) -> Recipe:
        """How it paints at the tier. Raises StudioError ``invalid_value`` for a tier that the model lacks."""
        return self.model.recipe(self.tier)

    @property
    def limits(self) -> Limits:
        """The sizes that it paints at the tier. Raises StudioError as `recipe`."""
        return self.model.limits_at(self.tier)


def choose(request: PaintRequest, given: Given, images: int | None = None) -> Chosen:
    """Return the requested model, else the server's first that paints in one of the request's ways, transparency where
    that is asked for, and from so many images, by default those that are given; earlier ways are preferred.

    Raises StudioError ``unknown_model``, ``unsupported_operation``, or ``invalid_value`` for too many images.
    """
    count = len(given.inputs) if images is None else images
    models, ways = models_for(request.model, given.models), request.ways
    able = [
        Chosen(model, way, request.tier) for way in ways for model in models if paints(model, way, request.background)
    ]
    if not able and any(way in model.families for way in ways for model in models):
        raise none_paints_clear(None if request.model is None else models[0], ways, given.models)
    if not able:
        raise _nobody_paints(request, given)
    enough = [each for each in able if count <= most_images(each.model, each.way)]
    if not enough:
        raise too_many(able[0].model, able[0].way, count, given.models)
    return enough[0]


def plan_painting(
    request: PaintRequest, chosen: Chosen, shape: Shape, warnings: Sequence[str], given: Given, own_prompt: str = ""
) -> Planned:
    """Return the plan of a request, once its shape is known; `warnings` are those about the shape.

    `own_prompt` is used where the request has no prompt. Raises StudioError ``invalid_value`` for a tier that the model
    does not have, and for a size or steps beyond what the caller's key allows.
    """
    model, recipe = chosen.model, chosen.recipe
    seed = secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed
    plan = PaintPlan(
        model=model.name,
        tier=chosen.tier,
        precision=recipe.precision or model.precisions[0],
        loras=chosen_loras(request.loras, model, given),
        prompt=request.prompt or own_prompt,
        negative_prompt=request.negative_prompt or model.negative_prompt,
        steps=request.steps or recipe.steps,
        guidance_scale=_guidance(request, chosen, recipe),
        seeds=tuple((seed + index) % (MAX_SEED + 1) for index in range(request.n)),
        output_format=request.output_format,
        output_quality=request.output_quality or QUALITY,
        way=chosen.way,
        background=request.background,
        roles=checked_roles(request.told_roles, chosen.way, len(given.inputs), is_part=bool(shape.passes)),
        **asdict(shape),
    )
    check_allowed(request, plan, given.caller)
    if given.is_foreseen:
        return Planned(plan, [])
    texts = _text_warnings(request, chosen, plan, len(given.inputs))
    notes = [*_model_warnings(request, chosen), *_tier_warnings(request, chosen), *warnings, *texts]
    if request.output_quality is not None and request.output_format is OutputFormat.PNG:
        notes.append("output_quality is for JPEG and WebP; PNG keeps every pixel.")
    return Planned(plan, notes)


def whole_shape(request: Shaped, chosen: Chosen, inputs: Sequence[Size]) -> tuple[Shape, list[str]]:
    """Return the shape of a picture that is painted as a whole, and the warnings about it.

    Raises StudioError ``invalid_value`` for a size that the model does not deliver, and for a tier that it lacks.
    """
    model, limits = chosen.model, chosen.limits
    delivered = _delivered_size(request, chosen, inputs)
    is_small = math.prod(delivered) <= limits.largest
    painted = delivered if is_small and delivered in model.sizes.values() else painted_size(delivered, limits)
    warnings = [*_shape_warnings(request, model)]
    if painted != delivered and is_far(painted, delivered):
        warnings.append(
            f"The image's shape of {delivered[0]}x{delivered[1]} is longer than {model.name} paints; it was painted at "
            f"{painted[0]}x{painted[1]} and stretched to it. Crop the image first for a truer picture."
        )
    elif painted != delivered:
        why = f"{limits.paint_pixels[0]} to {limits.largest} pixels with sides in multiples of {model.grid}"
        at = "" if limits.most_pixels is None else f" at tier {chosen.tier.value}"
        warnings.append(
            f"Painted at {painted[0]}x{painted[1]} and resized to {delivered[0]}x{delivered[1]}: {model.name} paints "
            f"{why}{at}."
        )
    return Shape(*delivered, *painted), warnings


def is_far(painted: Size, delivered: Size) -> bool:
    """Return whether two shapes differ by more than the grid's rounding."""
    return abs(painted[0] * delivered[1] / (painted[1] * delivered[0]) - 1) > _STRETCHED


def _delivered_size(request: Shaped, chosen: Chosen, inputs: Sequence[Size]) -> Size:
    model, limits, asked = chosen.model, chosen.limits, request.asked_size
    if asked is None and inputs and request.aspect_ratio is None:
        return like_input(inputs[0], limits)
    if asked is None:
        own = model.sizes[_native(request.aspect_ratio or AspectRatio.SQUARE, model)]
        return own if math.prod(own) <= limits.largest else like_input(own, limits)
    width, height = asked
    param = "width" if request.width is not None else "size"
    if width * height > model.max_pixels:
        problem = f"{width}x{height} is more than the {model.max_pixels} pixels that {model.name} delivers"
        raise refusal(param, f"{problem}; ask for a smaller size")
    if max(width / height, height / width) > model.max_aspect:
        raise refusal(param, f"{width}x{height} is longer than {model.max_aspect:g}:1; bring the sides closer together")
    return width, height


def _native(ratio: str, model: Model) -> AspectRatio:
    """Return the nearest of the shapes for which the model has a native size."""
    return min(model.sizes, key=lambda shape: abs(_proportion(shape) - _proportion(ratio)))


def _proportion(ratio: str) -> float:
    """Return the logarithm of width by height, in which 2:1 and 1:2 lie equally far from 1:1."""
    width, height = (int(side) for side in ratio.split(":"))
    return math.log(width / height)


def _shape_warnings(request: Shaped, model: Model) -> list[str]:
    """Return a warning where the result has another shape than the one that was asked for."""
    if request.aspect_ratio is None or request.asked_size is not None:
        return []
    shape = _native(request.aspect_ratio, model)
    if math.isclose(_proportion(shape), _proportion(request.aspect_ratio)):
        return []
    return [
        f"aspect_ratio {request.aspect_ratio} was painted as {shape.value}, the nearest of {model.name}'s own shapes; "
        "size takes any other in pixels."
    ]


# -- model ---------------------------------------------------------------------------------------------------------


def _nobody_paints(request: PaintRequest, given: Given) -> StudioError:
    ways, kind = request.ways, getattr(request, "prompt_kind", None)
    asked = request.NAME + ("" if kind is None else f" from a prompt that is {kind.value}")
    if request.model is None:
        return StudioError(
            "unsupported_operation",
            f"operation: no model of this server does {asked}; the operator can add one to STUDIO_MODELS{_such(ways)}.",
            param="operation",
        )
    able = ", ".join(model.name for model in given.models.values() if set(ways) & set(model.families))
    name = find_model(request.model, given.models).name
    return StudioError(
        "unsupported_operation",
        f"model: {name} does not {asked}; models that do: {able or 'none here' + _such(ways)}.",
        param="model",
    )


def _such(ways: Sequence[Way]) -> str:
    """Return the models of the table that paint in one of these ways, as the end of a sentence; for ways that most
    models have, nothing.
    """
    able = [name for name, model in MODELS.items() if set(ways) & set(model.families)]
    return f", such as {' or '.join(able)}" if able and Way.LAYERS in ways else ""


def check_strength(strength: float | None, chosen: Chosen) -> None:
    """Raise StudioError where the request has a strength and the model always paints from scratch."""
    if strength not in {None, 1.0} and not chosen.family.takes_strength:
        raise refusal("strength", f"{chosen.model.name} always paints anew; leave strength out")


def _model_warnings(request: PaintRequest, chosen: Chosen) -> list[str]:
    model = chosen.model
    if not model.miniature:
        return []
    warnings = ["Painted by the miniature, a stand-in for machines without a GPU."]  # GET /v1/models says what it knows
    words = vocabulary_of(model)
    if words and chosen.way is Way.GENERATE and request.prompt and not known_in(request.prompt, words):
        chinese = has_chinese(request.prompt)
        some = ", ".join((one.zh if chinese else one.en)[0] for one in words.objects[::25])
        warnings.append(f"The miniature knows nothing in this prompt; it would know for example: {some}.")
    if request.model is not None and request.model.casefold() != model.name:
        warnings.append(f"{request.model} is not on this server; the miniature answered for it.")
    return warnings


def _tier_warnings(request: PaintRequest, chosen: Chosen) -> list[str]:
    """Return a warning for each figure of a distilled tier in whose place the request has one of its own."""
    recipe, tier = chosen.recipe, chosen.tier.value
    if not recipe.distilled:
        return []
    warnings = []
    if request.steps not in {None, recipe.steps}:
        warnings.append(f"{tier} is made for {recipe.steps} steps; with {request.steps} its pictures may be worse.")
    if request.guidance_scale not in {None, recipe.guidance_scale} and chosen.family.takes_guidance:
        asked, own = request.guidance_scale, recipe.guidance_scale
        warnings.append(f"{tier} is made for guidance_scale {own:g}; with {asked:g} its pictures may be worse.")
    return warnings


def _guidance(request: PaintRequest, chosen: Chosen, recipe: Recipe) -> float:
    if not chosen.family.takes_guidance:
        return 1.0
    if request.guidance_scale is not None:
        return request.guidance_scale
    # The miniature knows no word of the prompts that we fill in, so it must not be guided by them.
    return 1.0 if chosen.model.miniature and not request.prompt else recipe.guidance_scale


# -- texts ---------------------------------------------------------------------------------------------------------


def _text_warnings(request: PaintRequest, chosen: Chosen, plan: PaintPlan, images: int) -> list[str]:
    """Return warnings about the texts, and about how strictly the model follows them."""
    warnings = [*request.reading, *request.cleaning]
    if not chosen.family.takes_guidance and (request.guidance_scale is not None or request.negative_prompt):
        name = chosen.model.name
        warnings.append(f"guidance_scale and negative_prompt have no effect: {name} paints without guidance.")
    elif plan.guidance_scale <= 1 and request.negative_prompt:
        warnings.append(f"negative_prompt has no effect {_why_unguided(request, chosen)}.")
    elif request.guidance_scale is not None and plan.guidance_scale > 1:
        missing = "it needs a negative prompt, and the model's recommended one was filled in"
        filled = "" if request.negative_prompt else f"; {missing}"
        applied = f"guidance_scale {plan.guidance_scale:g} was applied as the model's true_cfg_scale"
        warnings.append(f"{applied}{filled}.")
    if plan.way is Way.EDIT and (unknown := unknown_image(plan.prompt, images)):
        sent = "1 image was sent" if images == 1 else f"{images} images were sent"
        warnings.append(f"The instruction speaks of image {unknown}, and {sent}.")
    return warnings + unsaid(plan.loras, chosen.model, plan.prompt)


def _why_unguided(request: PaintRequest, chosen: Chosen) -> str:
    """Return why a negative prompt has no effect, and what to do about it, as the end of a sentence."""
    if not request.prompt:
        return "without a prompt"
    if chosen.recipe.distilled:
        remedy = "use tier quality with guidance_scale above 1"
        return f"at tier {chosen.tier.value}, which is made without guidance; {remedy}"
    return "while guidance_scale is 1; raise it above 1"
