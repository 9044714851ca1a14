"""Forecast: what ``doctor`` says of a device before anything is loaded: its memory plan and the seconds of tiers.

Nothing is measured here but what this server's own jobs have taken; all else is calculated and says so.
"""

from collections.abc import Iterator, Mapping

from qwen_image_studio.contract.words import AspectRatio, Precision, Size, Tier, Way
from qwen_image_studio.loading.memory import TILED_PIXELS, Machine, MemoryPlan, machine_of, plan_memory, working_bytes
from qwen_image_studio.models.architectures import GIB, WIDE
from qwen_image_studio.models.cards import Card, find_card
from qwen_image_studio.models.footprints import Place, Stored, transformer_bytes
from qwen_image_studio.models.roofline import Execution, expected_seconds, within
from qwen_image_studio.models.table import Model
from qwen_image_studio.models.tiers import Recipe
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import Device

Measured = Mapping[tuple[str, str, str], float]
"""Median seconds of a picture by model, tier and operation."""
_MEGAPIXEL: Size = (1024, 1024)
_LAYERS = 4
_ENCODERS: Mapping[Place, str] = {
    Place.CARD: "on the card in bf16",
    Place.CARD_FP8: "on the card in fp8",
    Place.STREAMED: "in the machine's memory, from where it passes through the card for a new text",
}


def forecast(models: Mapping[str, Model], device: Device, settings: Settings, measured: Measured) -> Iterator[str]:
    """Yield lines on how the models run on a card: what lies where, the expected peak, and the seconds of each tier."""
    machine = machine_of(device, settings)
    plan = plan_memory(models, machine)
    capability = ".".join(map(str, machine.capability)) if machine.capability else "not known"
    fp8 = "with" if machine.multiplies_fp8 else "without"
    yield f"{device.id}: capability {capability}, {fp8} fp8; attention by the kernel that is fastest when it starts"
    if plan is None:
        yield f"{device.id}: {_without_plan(machine)}"
        return
    yield from (f"{device.id}: {line}" for line in plan_lines(plan, models))
    card = find_card(device.name)
    if card is None:
        yield f"{device.id}: no seconds can be calculated, since the rates of {device.name} are not known"
        return
    for model in models.values():
        for tier in model.tiers:
            yield f"{device.id}: {model.name}, {_seconds(model, tier, plan, card)}{_measured(model, tier, measured)}"


def _without_plan(machine: Machine) -> str:
    if not machine.card_gib:
        return "its memory is not known, so there is no plan; check STUDIO_DEVICES"
    is_limited = machine.below_gib is not None and machine.usable_gib == machine.below_gib
    remedy = "raise STUDIO_MEMORY, which allows no more" if is_limited else "take a larger card, or a smaller model"
    return f"no plan fits into {max(0.0, machine.usable_gib):.1f} GiB; {remedy}"


def plan_lines(plan: MemoryPlan, models: Mapping[str, Model]) -> Iterator[str]:
    """Yield what lies where, and the memory that is expected to be used at most."""
    several = "" if len(models) == 1 else " at once" if plan.together else ", one at a time"
    yield f"{' and '.join(models)}{several}: transformer in {_stored(plan.base)}"
    if plan.narrow is not None:
        yield f"tiers that paint in fp8: transformer in {_stored(plan.narrow)}"
    if not plan.together:
        where = "wait in the machine's memory" if plan.waiting else "are read from the disk again"
        yield f"models that make room {where}"
    yield f"text encoder {_ENCODERS[plan.encoder]}; VAE in tiles above {plan.tile_pixels / 1e6:.1f} megapixels"
    of_machine = f", and {plan.ram_gib:.1f} GiB of the machine's memory" if plan.ram_gib else ""
    yield f"expected peak {plan.peak_gib:.1f} of {plan.machine.card_gib:.1f} GiB{of_machine} (calculated)"
    if not plan.fits_ram:
        yield (
            f"the machine has {plan.machine.ram_gib:.1f} GiB for that: what does not fit is read from the disk each "
            "time, which is slow"
        )


def fit_of(model: Model, device: Device, settings: Settings) -> str | None:
    """Return how a device holds a model alone, in a few words; None where it cannot."""
    if not device.gpu:  # a processor computes in float32
        needed = 2 * (WIDE * model.network.parameters + working_bytes({model.name: model}, TILED_PIXELS))
        return "in fp32" if needed <= device.memory_gib * GIB else None
    plan = plan_memory({model.name: model}, machine_of(device, settings))
    return None if plan is None else f"in {_stored(plan.base)}"


def _stored(stored: Stored) -> str:
    if stored.place is Place.STREAMED:
        return f"{stored.precision.value}, passing through the card block by block in each step"
    return f"{stored.precision.value}{', its modulation in tables' if stored.tables else ''}"


def _seconds(model: Model, tier: Tier, plan: MemoryPlan, card: Card) -> str:
    """Return the calculated seconds of a tier at the model's own size and at a megapixel."""
    recipe = model.recipe(tier)
    native = model.sizes[AspectRatio.SQUARE]
    asked = (native, native if model.miniature else _MEGAPIXEL)
    sizes = dict.fromkeys(within(size, recipe.max_pixels) for size in asked)
    shown = [f"{calculated(model, recipe, size, plan, card):.3g} s at {size[0]}x{size[1]}" for size in sizes]
    return f"{tier.value}: {', '.join(shown)} (calculated)"


def calculated(model: Model, recipe: Recipe, size: Size, plan: MemoryPlan, card: Card) -> float:
    """Return the calculated seconds of one picture of `size` in pixels; an edit is shown one source of that size,
    and a picture is taken apart into four layers.
    """
    net, way = model.network.transformer, next(iter(model.families))
    stored = plan.stored(recipe.precision or Precision.BF16)
    narrow = stored.precision is Precision.FP8
    execution = Execution(
        fp8=narrow and card.fp8 is not None,
        table=stored.tables or net.tabled,
        widened=narrow and card.fp8 is None,
        fetched=transformer_bytes(net, stored) if stored.place is Place.STREAMED else 0,
    )
    references = 0 if way is Way.GENERATE else 1
    layers = _LAYERS if way is Way.LAYERS else 0
    return expected_seconds(net, model.family(way), recipe, size, card, execution, references=references, layers=layers)


def _measured(model: Model, tier: Tier, measured: Measured) -> str:
    found = [
        f"{seconds:.3g} s for {operation.value}"
        for operation in model.operations
        if (seconds := measured.get((model.name, tier.value, operation.value))) is not None
    ]
    return f"; measured here: {', '.join(found)}" if found else ""
