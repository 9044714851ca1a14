"""Write the miniature as one folder from which the pipelines of both families load."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Qwen2Tokenizer

from qwen_image_studio.models.known_words import FILE as VOCABULARY_FILE
from training import parts
from training.judge import save_judge
from training.stages.run import checkpoint_of
from training.stages.trained import trained_judge, trained_parts
from training.tokenizer import train_tokenizer
from training.vocabulary import vocabulary

# The edit pipeline's parts are the union; a text-to-image pipeline leaves the processor.
MODEL_INDEX = {
    "_class_name": "QwenImageEditPlusPipeline",
    "_diffusers_version": "0.42.1",
    "processor": ["transformers", "Qwen2VLProcessor"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"],
    "transformer": ["diffusers", "QwenImageTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKLQwenImage"],
}


def build(folder: Path, seed: int = 0, run: Path | None = None) -> None:
    """Make the miniature, trained by that run or random, and put it in place of `folder`.

    The same seed or run gives the same bytes. The folder appears whole or not at all.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        made = Path(name) / "made"
        _write(made, *(_random(seed) if run is None else trained_parts(run)))
        if run is not None and checkpoint_of(run, "judge").is_file():
            save_judge(trained_judge(run), made)
        if run is not None and checkpoint_of(run, "transformer").is_file():  # else it knows nothing
            words = json.dumps(vocabulary(), ensure_ascii=False, indent=1)
            (made / VOCABULARY_FILE).write_text(words + "\n", encoding="utf-8")
        make_readable(made)
        if folder.exists():
            folder.rename(Path(name) / "old")
        made.rename(folder)


def _random(seed: int) -> tuple[Qwen2Tokenizer, dict[str, nn.Module]]:
    tokenizer = train_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return tokenizer, {
            "vae": parts.build_vae(),
            "text_encoder": parts.build_text_encoder(tokenizer),
            "transformer": parts.build_transformer(),
        }


def _write(folder: Path, tokenizer: Qwen2Tokenizer, weights: Mapping[str, Any]) -> None:
    for part, model in weights.items():
        nn.Module.to(model, torch.bfloat16).save_pretrained(folder / part)  # diffusers' own .to() logs a false alarm
    parts.build_scheduler().save_pretrained(folder / "scheduler")
    tokenizer.save_pretrained(folder / "tokenizer")
    tokenizer.save_pretrained(folder / "processor")
    parts.build_image_processor().save_pretrained(folder / "processor")
    (folder / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=2) + "\n", encoding="utf-8")


def make_readable(folder: Path) -> None:
    """Let every user read the weights."""
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors makes them private, and the server may run as another user


def size_of(folder: Path) -> int:
    """Bytes of all files in the folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
