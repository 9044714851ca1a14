"""Write the layered miniature as one folder, beside the miniature whose text encoder and words it has."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from torch import nn

from qwen_image_studio.models.known_words import FILE as VOCABULARY_FILE
from training import parts
from training.build import MODEL_INDEX, make_readable
from training.stages.alpha import alpha_vae
from training.stages.layers import begun_transformer
from training.stages.run import checkpoint_of, load_state
from training.stages.trained import put
from training.stages.vae import inflate

INDEX = {**MODEL_INDEX, "_class_name": "QwenImageLayeredPipeline"}
COPIED = ("text_encoder", "tokenizer", "processor")
"""Parts that are the miniature's own."""


def build_layered(folder: Path, weights: Path, run: Path | None = None) -> None:
    """Make the layered miniature from the miniature's `weights`, trained by that run as far as it is, and put it in
    place of `folder`. Without a run it has learnt nothing: it takes nothing apart. The folder appears whole or not at
    all.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        made = Path(name) / "made"
        for part, model in _models(weights, run).items():
            nn.Module.to(model, torch.bfloat16).save_pretrained(made / part)
        for part in COPIED:
            shutil.copytree(weights / part, made / part)
        parts.build_scheduler().save_pretrained(made / "scheduler")
        (made / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n", encoding="utf-8")
        if (weights / VOCABULARY_FILE).is_file():
            shutil.copy(weights / VOCABULARY_FILE, made)
        make_readable(made)
        if folder.exists():
            folder.rename(Path(name) / "old")
        made.rename(folder)


def _models(weights: Path, run: Path | None) -> dict[str, Any]:
    return {"vae": _vae(weights, run), "transformer": _transformer(weights, run)}


def _vae(weights: Path, run: Path | None) -> AutoencoderKLQwenImage:
    begun = alpha_vae(weights)
    if run is None or not checkpoint_of(run, "alpha").is_file():
        return begun
    vae = inflate(load_state(run, "alpha")["stage"]["mean"], channels=4)
    vae.register_to_config(**{name: begun.config[name] for name in ("latents_mean", "latents_std")})
    return vae


def _transformer(weights: Path, run: Path | None) -> QwenImageTransformer2DModel:
    transformer = begun_transformer(weights)
    if run is not None and checkpoint_of(run, "layers").is_file():
        put(transformer, load_state(run, "layers")["stage"]["mean"])
    return transformer
