"""Needs: the memory that painting with a model takes besides its weights, and the smallest card for it."""

import math

from qwen_image_studio.contract.layers import MAX_LAYERS
from qwen_image_studio.contract.words import MAX_INPUTS, Precision, Way
from qwen_image_studio.models.footprints import Place, Stored, card_that_holds, own_bytes, shared_bytes
from qwen_image_studio.models.table import Model


def denoising_bytes(model: Model) -> int:
    """Return the memory of a forward pass besides the weights, in bytes: over the largest picture, the most layers or
    the most sources, of which one counts where keys and values are kept.
    """
    net, token = model.network.transformer, max(model.family(way).pixels_per_token for way in model.families) ** 2
    source, native = model.input_pixels // token, math.prod(max(model.sizes.values(), key=math.prod)) // token
    text = max(model.max_prompt_tokens.values())
    if net.kept_bytes:
        return net.working_bytes(native + source + text) + net.kept_bytes * source
    if Way.LAYERS in model.families:  # the layers, what they make together, and the picture itself
        native, source = model.paint_pixels[1] // token * (MAX_LAYERS + 1), model.paint_pixels[1] // token
    shown = native + min(model.max_images, MAX_INPUTS) * source
    return net.working_bytes(max(model.max_pixels // token, shown) + text)


def job_bytes(model: Model, way: Way, painted: int, seen: int, *, guided: bool = False) -> int:
    """Return the memory of one job's forward pass besides the weights, in bytes: over a picture of `painted` pixels and
    sources of `seen` pixels together. Keys and values that are kept are so for each of the two texts where it is
    `guided`.
    """
    net, token = model.network.transformer, model.family(way).pixels_per_token ** 2
    before = seen // token + model.max_prompt_tokens[way]
    return net.working_bytes(painted // token + before) + net.kept_bytes * before * (2 if guided else 1)


def least_gib(model: Model) -> float:
    """Return the memory in GiB of the smallest card that holds the model's transformer: in fp8, with tables."""
    own = own_bytes(model.network.transformer, Stored(Precision.FP8, tables=True), lora=model.has_tier_lora)
    work = max(denoising_bytes(model), model.network.vae.tile)
    return card_that_holds(own + model.own_vae_bytes + shared_bytes(model.network, Place.STREAMED) + work)
