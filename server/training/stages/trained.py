"""The parts as a run has trained them: their running means, in the large models' own classes."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage
from torch import nn
from transformers import Qwen2Tokenizer

from training import parts
from training.stages.run import checkpoint_of, load_state
from training.stages.table import STATISTICS
from training.stages.text import tokenizer_of
from training.stages.vae import inflate


def trained_parts(run: Path) -> tuple[Qwen2Tokenizer, dict[str, nn.Module]]:
    """Tokenizer and models of a run; a part that the run has not trained yet has random weights."""
    tokenizer = tokenizer_of(run)
    models = {
        "vae": _vae(run),
        "text_encoder": parts.build_text_encoder(tokenizer),
        "transformer": parts.build_transformer(),
    }
    painting = [stage for stage in ("edit", "transformer") if checkpoint_of(run, stage).is_file()]
    if painting:
        values = load_state(run, painting[0])["stage"]["mean"]
        for name in ("text_encoder", "transformer"):
            put(models[name], values, f"{name}.")
    elif checkpoint_of(run, "text_encoder").is_file():
        put(models["text_encoder"], load_state(run, "text_encoder")["stage"]["mean"])
    return tokenizer, models


def _vae(run: Path) -> AutoencoderKLQwenImage:
    if not checkpoint_of(run, "vae").is_file():
        return parts.build_vae()
    vae = inflate(load_state(run, "vae")["stage"]["mean"])
    if (run / STATISTICS).is_file():
        figures = json.loads((run / STATISTICS).read_text(encoding="utf-8"))
        vae.register_to_config(**{name: figures[name] for name in ("latents_mean", "latents_std")})
    return vae


def trained_judge(run: Path) -> dict[str, torch.Tensor]:
    """Return the judge's running means, and what its norms have counted."""
    kept = load_state(run, "judge")["stage"]
    return {**kept["judge"], **kept["mean"]}


@torch.no_grad()
def put(module: nn.Module, values: Mapping[str, torch.Tensor], prefix: str = "") -> None:
    """Set every parameter of the module. Raises KeyError where a value is missing."""
    for name, parameter in module.named_parameters():
        parameter.copy_(values[prefix + name])
