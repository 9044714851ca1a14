"""Weights of LoRAs: read from a file, brought into one form, and held against the transformer that they are for.

Files of diffusers, peft, kohya and ComfyUI name the same matrices in different ways. Here each layer of the transformer
has two, A (rank x inputs) and B (outputs x rank), with B A added to its weight.
"""

import json
import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import QwenImagePipeline
from safetensors import SafetensorError, safe_open
from torch import nn

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.models.lora_files import unusable

LOG = logging.getLogger(__name__)
_CONFIG = "lora_adapter_metadata"
"""Name under which diffusers writes the configuration of the training into a file."""
_OF_ENCODER = re.compile(r"(?:lora_)?(?:te\d?_|text_)")
_PREFIX = re.compile(r"^(?:(?:transformer|diffusion_model|base_model\.model)\.)+")
_SAME = {".lora_down.": ".lora_A.", ".lora_up.": ".lora_B.", ".lora.down.": ".lora_A.", ".lora.up.": ".lora_B."}
_KEY = re.compile(r"(?P<layer>.+)\.lora_(?P<matrix>[AB])\.weight")


class Pair(NamedTuple):
    """What a LoRA adds to the weight of one layer: B A."""

    a: torch.Tensor
    """(rank, inputs)"""
    b: torch.Tensor
    """(outputs, rank)"""


Layers = Mapping[str, Pair]
"""The matrices of a LoRA by the names of the transformer's layers, all of one rank."""


def read_lora(name: str, path: Path) -> Layers:
    """Return a copy of the LoRA in a file, on the CPU. Raises StudioError ``model_unavailable`` that says why not."""
    try:
        with safe_open(path, framework="pt") as file:
            about: Mapping[str, str] = file.metadata() or {}
            # Copied, since whoever writes over the file would else change, or cut off, what jobs are painted with.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}
    except (SafetensorError, OSError) as error:
        LOG.warning("cannot read %s: %s", path, error)
        remedy = "fetch it again, or have it saved as safetensors: other formats can hold code and are not loaded"
        raise unusable(name, f"its file is damaged or no safetensors file; {remedy}") from error
    if any(_OF_ENCODER.match(key) for key in tensors):
        reason = "it also changes the text encoder, which is shared with jobs that have no LoRA"
        raise unusable(name, f"{reason}; offer a file that has the transformer's layers alone")
    pairs = _paired(name, _renamed(name, tensors))
    try:
        scaled = _scaled(pairs, json.loads(about.get(_CONFIG, "{}")))
    except (ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RecursionError, re.error) as error:
        raise unusable(name, f"what its file says of its training cannot be read ({error}); save it again") from error
    if not all(each.isfinite().all() for pair in scaled.values() for each in pair):
        raise unusable(name, "its file has numbers that are infinite or none at all, which paint black; save it again")
    return _of_one_rank(scaled)


def check_fits(name: str, layers: Layers, transformer: nn.Module) -> None:
    """Raise StudioError ``model_unavailable`` for a LoRA of another architecture than the transformer's."""
    strangers = [layer for layer, pair in layers.items() if not _fits(pair, _layer(transformer, layer))]
    if len(strangers) == len(layers):
        reason = f"it was made for another model: none of its {len(layers)} layers is in this one"
        raise unusable(name, f"{reason}; name the right models in STUDIO_LORAS")
    if strangers:
        reason = f"{len(strangers)} of its {len(layers)} layers are not in this model or of another size"
        raise unusable(name, f"{reason}, such as {strangers[0][:80]}; name the right models in STUDIO_LORAS")


def rank_of(layers: Layers) -> int:
    """Return the rank that all layers have."""
    return next(iter(layers.values())).a.shape[0]


def padded(pair: Pair, rank: int) -> Pair:
    """Return the same with zeros up to a rank, which change nothing."""
    more = rank - pair.a.shape[0]
    return Pair(nn.functional.pad(pair.a, (0, 0, 0, more)), nn.functional.pad(pair.b, (0, more))) if more else pair


def _renamed(name: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors under the names that peft has for them, with their alphas in them."""
    others = [key for key in tensors if re.search(r"dora_scale|lokr_|hada_|oft_|\.diff(?:_b)?$", key)]
    if others:
        raise _not_plain(name, others[0])
    try:
        found: dict[str, torch.Tensor] = QwenImagePipeline.lora_state_dict(dict(tensors))
    except (ValueError, KeyError, IndexError, AttributeError, TypeError, RuntimeError, ArithmeticError) as error:
        LOG.warning("cannot convert LoRA %s: %s", name, error)
        raise _not_plain(name, next(iter(tensors), "nothing")) from error
    renamed = {}
    for key, tensor in found.items():
        for other, usual in _SAME.items():
            key = key.replace(other, usual)
        renamed[_PREFIX.sub("", key)] = tensor
    return renamed


def _paired(name: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, Pair]:
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        if (match := _KEY.fullmatch(key)) is None or tensor.ndim != 2:
            raise _not_plain(name, key)
        found.setdefault(match["layer"], {})[match["matrix"]] = tensor
    for layer, pair in found.items():
        if len(pair) < 2 or not pair["A"].shape[0] == pair["B"].shape[1] > 0:
            raise _not_plain(name, layer)
    if not found:
        raise _not_plain(name, "nothing")
    return {layer: Pair(pair["A"], pair["B"]) for layer, pair in found.items()}


def _not_plain(name: str, key: str) -> StudioError:
    reason = f"its file has {key[:80]}, which is no part of a LoRA of linear layers"
    return unusable(name, f"{reason}; offer one that adds two matrices to each layer (lora_A and lora_B)")


def _scaled(pairs: Mapping[str, Pair], config: Mapping[str, Any]) -> dict[str, Pair]:
    """Return the pairs times alpha by rank, as the configuration of the training has it; without one it is 1."""
    own = {key.removeprefix("transformer."): value for key, value in config.items()}
    if own.get("use_dora"):
        raise ValueError("use_dora")
    alphas: Mapping[str, float] = own.get("alpha_pattern") or {}

    def factor(layer: str, rank: int) -> float:
        by_layer = (alpha for pattern, alpha in alphas.items() if re.match(rf"(.*\.)?({pattern})$", layer))
        alpha = next(by_layer, own.get("lora_alpha", rank))
        return float(alpha) / (math.sqrt(rank) if own.get("use_rslora") else rank)

    factors = {layer: factor(layer, pair.a.shape[0]) for layer, pair in pairs.items()}
    return {
        layer: pair if factors[layer] == 1 else Pair((pair.a.float() * factors[layer]).to(pair.a.dtype), pair.b)
        for layer, pair in pairs.items()
    }


def _of_one_rank(pairs: Mapping[str, Pair]) -> Layers:
    rank = max(pair.a.shape[0] for pair in pairs.values())
    return {layer: padded(pair, rank) for layer, pair in pairs.items()}


def _layer(transformer: nn.Module, name: str) -> nn.Module | None:
    try:
        return transformer.get_submodule(name)
    except AttributeError:
        return None


def _fits(pair: Pair, layer: nn.Module | None) -> bool:
    sizes = getattr(layer, "in_features", None), getattr(layer, "out_features", None)
    return sizes == (pair.a.shape[1], pair.b.shape[0])
