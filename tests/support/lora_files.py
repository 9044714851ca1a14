"""Files of LoRAs for the miniature, as people have them: with random matrices, in the names of several programs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

BLOCKS = range(6)
WIDTH = 160
"""Width of the miniature's transformer."""
SHAPES: Mapping[str, tuple[int, int]] = {
    "attn.to_q": (WIDTH, WIDTH),
    "attn.add_k_proj": (WIDTH, WIDTH),
    "attn.to_out.0": (WIDTH, WIDTH),
    "img_mlp.net.0.proj": (WIDTH, 4 * WIDTH),
    "img_mod.1": (WIDTH, 6 * WIDTH),
}
"""Inputs and outputs of some layers of a block."""
Matrices = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""A (rank, inputs) and B (outputs, rank) by the names of layers."""


def matrices(seed: int, rank: int = 4, layers: Sequence[str] = tuple(SHAPES), strength: float = 0.08) -> Matrices:
    """Random matrices for these layers of every block."""
    noise = torch.Generator().manual_seed(seed)
    made = {}
    for block in BLOCKS:
        for layer in layers:
            inputs, outputs = SHAPES[layer]
            a = torch.randn(rank, inputs, generator=noise) * strength
            made[f"transformer_blocks.{block}.{layer}"] = (a, torch.randn(outputs, rank, generator=noise) * strength)
    return made


def written(path: Path, pairs: Matrices, **about: str) -> Path:
    """A file as diffusers writes it."""
    tensors: dict[str, torch.Tensor] = {}
    for layer, (a, b) in pairs.items():
        tensors |= {f"transformer.{layer}.lora_A.weight": a, f"transformer.{layer}.lora_B.weight": b}
    save_file(tensors, path, about or None)
    return path
