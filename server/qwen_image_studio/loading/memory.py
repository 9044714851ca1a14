"""Memory plans: what of the configured models lies on a device, where the rest waits, and in which precision.

Pure arithmetic on counted sizes (`models.architectures`); no torch. Of all ways to lay the models out, the plan is the
one that changes pictures least, and of those the fastest that fits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from qwen_image_studio.contract.words import Precision
from qwen_image_studio.models.architectures import GIB
from qwen_image_studio.models.cards import FP8_CAPABILITY, Capability, find_card
from qwen_image_studio.models.folders import file_of
from qwen_image_studio.models.footprints import (
    Place,
    Stored,
    encoder_bytes,
    modulation_bytes,
    own_bytes,
    shared_bytes,
    transformer_bytes,
    usable_gib,
)
from qwen_image_studio.models.needs import denoising_bytes
from qwen_image_studio.models.roofline import PCIE
from qwen_image_studio.models.table import Model
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import Device, devices, processor

TILED_PIXELS = 2 * 1024 * 1024
"""Area in pixels above which the VAE works in tiles everywhere, however much memory there is."""
_ORDINARY_PIXELS = 1024 * 1024
"""Area in pixels that is not done in tiles where that can be helped."""
_RAM_SHARE, _RAM_LEFT_GIB = 0.9, 4.0
"""Share of the machine's memory that workers may use, and GiB that other processes have of it."""
_CROWDED = 0.95
"""Share of the usable memory from which modulation is better in tables than on the device."""
_NEW_TEXTS, _NEW_SCHEDULES, _SWITCHES, _FORWARDS = 1.0, 0.1, 0.25, 100
"""Of each picture, taken for the cost of moving: texts encoded, schedules not met before, switches to another model,
and forward passes.
"""


@dataclass(frozen=True)
class Machine:
    """A device and the machine around it. Memory in GiB."""

    card_gib: float
    ram_gib: float
    """Memory of the machine that its worker may use."""
    capability: Capability | None = None
    """None where it is not known."""
    below_gib: float | None = None
    """Memory of the device that the operator allows; None for all."""

    @property
    def usable_gib(self) -> float:
        """Return the memory of the device that weights and work may take."""
        usable = usable_gib(self.card_gib)
        return usable if self.below_gib is None else min(usable, self.below_gib)

    @property
    def multiplies_fp8(self) -> bool:
        """Return whether the device multiplies matrices in fp8."""
        return self.capability is not None and self.capability >= FP8_CAPABILITY


def machine_of(device: Device, settings: Settings) -> Machine:
    """Return a card and what its worker may use of the machine, whose memory the workers of all cards share."""
    known = find_card(device.name)
    capability = device.capability or (known.capability if known else None)
    cards = sum(each.gpu for each in devices(settings))
    ram_gib = (processor().memory_gib * _RAM_SHARE - _RAM_LEFT_GIB) / max(1, cards)
    return Machine(device.memory_gib, max(0.0, ram_gib), capability, settings.memory_gib)


def plan_for(models: Mapping[str, Model], device_id: str, settings: Settings) -> "MemoryPlan | None":
    """Return the plan for the card that has this id, such as ``cuda:0``; None for a processor, for a card whose memory
    is not known, and where nothing fits.
    """
    found = [device for device in devices(settings) if device.id == device_id and device.gpu and device.memory_gib]
    return plan_memory(models, machine_of(found[0], settings)) if found else None


@dataclass(frozen=True)
class MemoryPlan:
    """What lies where on one device."""

    machine: Machine
    base: Stored
    """How each model is stored that is asked for in its own precision."""
    narrow: Stored | None
    """How each is stored that is asked for in fp8; None where `base` paints that, too."""
    encoder: Place
    together: bool
    """Whether all models are on the device at once; else they take turns."""
    waiting: bool
    """Whether the machine has the memory for models to wait in it for their turn; else they are read again."""
    tile_pixels: int
    """Area in pixels above which the VAE works in tiles."""
    peak_gib: float
    """Memory of the device that is expected to be used at most."""
    ram_gib: float
    """Memory of the machine that streamed weights take."""

    def stored(self, wish: Precision) -> Stored:
        """Return how the transformer is stored that paints what is asked for in that precision."""
        if wish is Precision.FP8 and self.narrow is not None:
            return self.narrow
        return self.base if wish in {Precision.FP8, Precision.BF16} else Stored(wish)

    @property
    def fits_ram(self) -> bool:
        """Return whether the machine has the memory for what does not lie on the device."""
        return self.ram_gib <= self.machine.ram_gib


@dataclass(frozen=True)
class _Layout:
    """One way to lay models out."""

    base: Stored
    encoder: Place
    together: bool


def plan_memory(models: Mapping[str, Model], machine: Machine) -> MemoryPlan | None:
    """Return the plan for these models on a device; None where no layout fits it."""
    fitting = [plan for layout in _layouts(models) if (plan := _plan(layout, models, machine)) is not None]
    # min() takes the first of equals, and the layouts come with the fastest first.
    return min(fitting, key=_harm, default=None)


def _harm(plan: MemoryPlan) -> tuple[float, bool, int, bool, bool]:
    """Return what a plan is judged by before its speed: weights that are streamed from the disk, or a transformer that
    is streamed, take much longer; fp8 changes pictures, and so do tiles, a little; a crowded device may run out.
    """
    fp8 = (plan.base.precision is Precision.FP8) + (plan.encoder is Place.CARD_FP8)
    from_disk = 0.0 if plan.fits_ram else plan.ram_gib
    is_streamed = plan.base.place is Place.STREAMED
    is_crowded = not plan.base.tables and plan.peak_gib > _CROWDED * plan.machine.usable_gib
    return from_disk, is_streamed, fp8, plan.tile_pixels < _ORDINARY_PIXELS, is_crowded


def quantised_bytes(model: Model) -> int | None:
    """Return the memory of a transformer whose file keeps it quantised in memory, in bytes; None for all others."""
    path = file_of(model)
    return path.stat().st_size if path.suffix.casefold() == ".gguf" and path.is_file() else None


def stored_bytes(model: Model, stored: Stored) -> int:
    """Return the memory of a model's transformer that is to be stored so, in bytes, wherever it is."""
    return quantised_bytes(model) or transformer_bytes(model.network.transformer, stored)


def device_bytes(model: Model, stored: Stored) -> int:
    """Return the memory of the device of what a model shares with no other, in bytes."""
    quantised = quantised_bytes(model)
    own = own_bytes(model.network.transformer, stored, lora=model.has_tier_lora, quantised=quantised)
    return model.own_vae_bytes + own


def _layouts(models: Mapping[str, Model]) -> Iterator[_Layout]:
    """Yield all ways to lay the models out, the fastest first."""
    precisions, places = (Precision.BF16, Precision.FP8), (Place.CARD, Place.STREAMED)
    together = (True, False) if len(models) > 1 else (True,)
    layouts = [
        _Layout(Stored(precision, tables, place), encoder, several)
        for precision, tables, place, encoder, several in product(precisions, (False, True), places, Place, together)
        # What is streamed passes with all its weights, and takes turns.
        if place is Place.CARD or not (tables or (several and len(models) > 1))
    ]
    yield from sorted(layouts, key=lambda layout: _moved_seconds(layout, models))


def _moved_seconds(layout: _Layout, models: Mapping[str, Model]) -> float:
    """Return the seconds of an ordinary picture in which weights are moved."""
    network = max((model.network for model in models.values()), key=lambda each: each.parameters)
    stored = layout.base
    weights = transformer_bytes(network.transformer, stored)
    moved = _NEW_SCHEDULES * modulation_bytes(network.transformer) if stored.tables else 0.0
    moved += _NEW_TEXTS * encoder_bytes(network, Place.CARD) if layout.encoder is Place.STREAMED else 0.0
    moved += 0.0 if layout.together else _SWITCHES * weights
    moved += _FORWARDS * weights if stored.place is Place.STREAMED else 0.0
    return moved / PCIE


def _plan(layout: _Layout, models: Mapping[str, Model], machine: Machine) -> MemoryPlan | None:
    """Return the plan of a layout; None where the device has no room for it."""
    usable = machine.usable_gib * GIB
    weights = _resident(layout, models)
    if weights + working_bytes(models, 0) > usable:
        return None
    narrow, beside = _narrow(layout, models, machine, weights)
    ram = _streamed(layout, models)
    nets = [model.network.transformer for model in models.values()]
    turns = sum(stored_bytes(model, layout.base) for model in models.values())
    turns += sum(map(modulation_bytes, nets)) if layout.base.tables else 0
    weights += beside
    tile = min(TILED_PIXELS, _untiled_pixels(models, usable - weights))
    return MemoryPlan(
        machine,
        layout.base,
        narrow,
        layout.encoder,
        layout.together,
        ram + turns + 2 * beside <= machine.ram_gib * GIB,
        tile,
        (weights + working_bytes(models, tile)) / GIB,
        ram / GIB,
    )


def _narrow(layout: _Layout, models: Mapping[str, Model], machine: Machine, weights: int) -> tuple[Stored | None, int]:
    """Return how models are stored besides for tiers that wish fp8, and the memory of the device that it takes besides
    `weights`, in bytes; None and 0 where one form has to do.
    """
    wished = any(recipe.precision is Precision.FP8 for model in models.values() for recipe in model.tiers.values())
    if not (wished and machine.multiplies_fp8 and layout.base.precision is Precision.BF16):
        return None, 0
    narrow = Stored(Precision.FP8, tables=True)
    if layout.base.place is Place.STREAMED:
        return None, 0
    beside = sum(stored_bytes(model, narrow) for model in models.values())
    if layout.together and weights + beside + working_bytes(models, TILED_PIXELS) <= machine.usable_gib * GIB:
        return narrow, beside
    # Else it takes turns with the others, which wait in the machine's memory meanwhile.
    all_forms = weights + beside + _streamed(layout, models)
    return (narrow if all_forms <= machine.ram_gib * GIB else None), 0


def _resident(layout: _Layout, models: Mapping[str, Model]) -> int:
    """Return the memory of the weights that lie on the device at once, in bytes."""
    own = [device_bytes(model, layout.base) for model in models.values()]
    shared = {model.shares or name: model.network for name, model in models.items()}
    parts = [shared_bytes(network, layout.encoder) for network in shared.values()]
    return sum(own) + sum(parts) if layout.together else max(own) + max(parts)


def _streamed(layout: _Layout, models: Mapping[str, Model]) -> int:
    """Return the memory of the machine that streamed weights take, in bytes."""
    shared = {model.shares or name: model.network for name, model in models.items()}
    encoders = [encoder_bytes(each, Place.CARD) for each in shared.values()]
    transformers = [stored_bytes(model, layout.base) for model in models.values()]
    return (sum(encoders) if layout.encoder is Place.STREAMED else 0) + (
        max(transformers) if layout.base.place is Place.STREAMED else 0
    )


def working_bytes(models: Mapping[str, Model], tile_pixels: int) -> int:
    """Return the most memory that painting takes besides the weights, in bytes, with tiles above that area."""
    return max(max(denoising_bytes(model), _coding(model, tile_pixels)) for model in models.values())


def _coding(model: Model, tile_pixels: int) -> int:
    vae = model.network.vae
    return max(vae.tile, vae.decoding * min(tile_pixels, model.max_pixels))


def _untiled_pixels(models: Mapping[str, Model], room: float) -> int:
    """Return the area in pixels up to which every model's VAE can work on a whole picture in so much memory."""
    return int(room // max(model.network.vae.decoding for model in models.values()))
