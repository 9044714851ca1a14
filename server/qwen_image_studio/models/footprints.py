"""Footprints: the memory that weights take by how and where they are stored, counted from their networks."""

from dataclasses import dataclass
from enum import StrEnum

from qwen_image_studio.contract.words import Precision
from qwen_image_studio.models.architectures import GIB, WIDE, Network, Transformer

LEFT_FREE, LEFT_FREE_GIB = 0.01, 0.6
"""Share of a card's memory, and GiB besides, that plans leave free: CUDA's own, and what allocation cannot use."""
_LORA_SHARE = 0.0313
"""Memory of the LoRA of a model's tiers, as a share of the blocks in bf16: Lightning's for 20B take 0.85 GB."""
_TABLES_BYTES = 512 * 2**20
"""Memory of a model's modulation tables, in bytes: 4.4 MB for a step of a large model."""
_STREAM_BYTES = 1024 * 2**20
"""Memory of what is streamed, in bytes: the block at work, the next one, and what lies outside of blocks."""


class Place(StrEnum):
    """Where weights are."""

    CARD = "card"
    """On the device."""
    CARD_FP8 = "card-fp8"
    """On the device, their matrices in fp8."""
    STREAMED = "streamed"
    """In the machine's memory; they pass through the device, layer by layer, when it is their turn."""


@dataclass(frozen=True)
class Stored:
    """How a model's transformer is stored."""

    precision: Precision
    tables: bool = False
    """Whether its modulation is on the device as tables only."""
    place: Place = Place.CARD


def transformer_bytes(net: Transformer, stored: Stored) -> int:
    """Return the memory of a transformer's weights that is stored so, in bytes, wherever it is."""
    blocks = net.attention + net.feed_forward
    wide = 2 * WIDE if stored.precision is Precision.FP32 else WIDE
    narrowed = blocks - net.biases - net.kept_wide if stored.precision is Precision.FP8 else 0
    kept = 0 if stored.tables and net.tabled else net.modulation
    return narrowed + wide * (blocks - narrowed + net.rest + kept)


def modulation_bytes(net: Transformer) -> int:
    """Return the memory of what is not on the device where tables are, in bytes."""
    return WIDE * net.modulation if net.tabled else 0


def encoder_bytes(network: Network, place: Place) -> int:
    """Return the memory of a text encoder's weights, in bytes, wherever they are; without the head, which no painting
    needs.
    """
    encoder = network.encoder
    if place is Place.CARD_FP8:
        return encoder.needed + encoder.words
    return WIDE * encoder.needed


def own_bytes(net: Transformer, stored: Stored, *, lora: bool, quantised: int | None = None) -> int:
    """Return the memory of the device of what a model shares with no other, in bytes: transformer, tables and the LoRA
    of its tiers, where there is one. A transformer that stays `quantised` takes so many bytes however it is stored.
    """
    adapter = int(_LORA_SHARE * WIDE * (net.attention + net.feed_forward)) if lora else 0
    if quantised is not None:
        return quantised + adapter
    weights = transformer_bytes(net, stored)
    if stored.place is Place.STREAMED:
        weights = min(weights, _STREAM_BYTES)
    tables = _TABLES_BYTES if stored.tables and net.tabled else 0
    return weights + tables + adapter


def shared_bytes(network: Network, encoder: Place) -> int:
    """Return the memory of text encoder and VAE on the device, in bytes."""
    held = encoder_bytes(network, encoder)
    return WIDE * network.vae.parameters + (min(held, _STREAM_BYTES) if encoder is Place.STREAMED else held)


def usable_gib(card_gib: float) -> float:
    """Return the memory in GiB that weights and work may take of a card's."""
    return card_gib * (1 - LEFT_FREE) - LEFT_FREE_GIB


def card_that_holds(used: int) -> float:
    """Return the memory in GiB that a card must have where so many bytes are used."""
    return (used / GIB + LEFT_FREE_GIB) / (1 - LEFT_FREE)
