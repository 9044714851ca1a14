"""Room on a device for one job, counted before anything of it is loaded: what has to leave for it, or that it fits
nowhere. Plans have room for an ordinary picture; a job with many references may need more than that.
"""

from collections.abc import Mapping
from enum import IntEnum

from qwen_image_studio.loading.memory import MemoryPlan, device_bytes
from qwen_image_studio.models.architectures import GIB, WIDE
from qwen_image_studio.models.footprints import Place, Stored, own_bytes, shared_bytes
from qwen_image_studio.models.table import Model


class Spare(IntEnum):
    """What leaves the device for a job, each with all before it."""

    NOTHING = 0
    ENCODER = 1
    """The text encoder, once all texts are encoded."""
    OTHERS = 2
    """All other models."""
    WEIGHTS = 3
    """The model itself, which passes through the device block by block."""


def spared_for(work: int, model: Model, stored: Stored, plan: MemoryPlan, models: Mapping[str, Model]) -> Spare | None:
    """Return what has to leave the device so that `work` bytes fit beside a model that is stored so; None where they
    fit beside nothing.
    """
    usable = plan.machine.usable_gib * GIB
    return next((spare for spare in Spare if _lying(spare, model, stored, plan, models) + work <= usable), None)


def left_at_most(model: Model, stored: Stored, plan: MemoryPlan) -> float:
    """Return the memory of the device in bytes that is left for work where all leaves that can."""
    return plan.machine.usable_gib * GIB - _lying(Spare.WEIGHTS, model, stored, plan, {model.name: model})


def _lying(spare: Spare, model: Model, stored: Stored, plan: MemoryPlan, models: Mapping[str, Model]) -> int:
    """Return the memory of the weights that lie on the device, in bytes, where so much has left it."""
    vae = WIDE * model.network.vae.parameters
    if spare is Spare.WEIGHTS:
        streamed = Stored(stored.precision, place=Place.STREAMED)
        return own_bytes(model.network.transformer, streamed, lora=model.has_tier_lora) + vae
    own = device_bytes(model, stored)
    shared = vae if spare else shared_bytes(model.network, plan.encoder)
    if spare is Spare.OTHERS or not plan.together:
        return own + shared
    others = sum(device_bytes(each, plan.base) for each in models.values() if each.name != model.name)
    beside = plan.narrow is not None and stored == plan.narrow
    twice = device_bytes(model, plan.base) if beside else 0
    strangers = {each.shares or each.name: each.network for each in models.values()}
    strangers.pop(model.shares or model.name, None)
    return own + shared + others + twice + sum(shared_bytes(each, plan.encoder) for each in strangers.values())
