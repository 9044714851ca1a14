"""The text encoder's first stage: it learns to say what a prompt asks for before it is asked to paint it.

Trained from the diffusion loss alone, the whole binds colours and places but not objects. So heads on the encoding,
which are thrown away at the end, have to name the objects, the background and the layout.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from training import parts
from training.data.prompts import LANGUAGES, tell
from training.data.scenes import Layout, Scene
from training.data.tensors import CLASSES, labels_of
from training.stages.attention import make_seeing
from training.stages.run import DEVICE, Mean, decayed, descend, random_of
from training.stages.table import draw_told
from training.stages.text import Prompter, tokenizer_of

Encoded = tuple[torch.Tensor, torch.Tensor]
"""Encodings (n x length x 192) and which of them are there (n x length)."""


def right_answers(scenes: Sequence[Scene]) -> dict[str, torch.Tensor]:
    """Return the right class of each scene for each head, where training happens."""
    return {name: label.to(DEVICE) for name, label in labels_of(scenes).items()}


class Heads(nn.Module):
    """Classifiers that look at an encoding's mean and at its last token."""

    def __init__(self, classes: Mapping[str, int]) -> None:
        super().__init__()
        self.by_name = nn.ModuleDict({name: nn.Linear(2 * parts.HIDDEN, count) for name, count in classes.items()})

    def forward(self, encoded: Encoded, labels: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the sum of the heads' losses, and for each head how many of its guesses are right."""
        hidden, there = encoded
        weight = there.unsqueeze(2).float()
        mean = (hidden * weight).sum(1) / weight.sum(1)
        last = hidden[torch.arange(len(hidden), device=hidden.device), there.sum(1) - 1]
        seen = torch.cat([mean, last], dim=1).float()
        guesses = {name: self.by_name[name](seen) for name in labels}
        losses = [functional.cross_entropy(guesses[name], label) for name, label in labels.items()]
        right = {name: (guesses[name].argmax(1) == label).float().mean().item() for name, label in labels.items()}
        return torch.stack(losses).sum(), right


def told_in_turns(rng: np.random.Generator, scenes: Sequence[Scene]) -> list[str]:
    """Prompts for the scenes, half of them in each language."""
    return [tell(rng, scene, LANGUAGES[index % 2]) for index, scene in enumerate(scenes)]


class EncoderStage:
    """The encoder with its heads."""

    name = "text_encoder"
    rate = 2e-3
    classes: Mapping[str, int] = CLASSES

    def __init__(self, run: Path, seed: int, steps: int, *, batch: int = 64) -> None:
        tokenizer = tokenizer_of(run)
        self._prompter = Prompter(tokenizer)
        self._seed, self._steps, self._batch = seed, steps, batch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = self._fresh(run, tokenizer)
            make_seeing(self.encoder)
            nn.Module.to(self.encoder, DEVICE)
            self.heads = Heads(self.classes).to(DEVICE)
        self._optimizer = torch.optim.AdamW(
            [*self.encoder.parameters(), *self.heads.parameters()], lr=self.rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.mean = Mean(self.encoder, 0.99)

    def _fresh(self, run: Path, tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
        """Return the encoder as it begins."""
        return parts.build_text_encoder(tokenizer)

    def step(self, number: int) -> Mapping[str, float]:
        """Return one batch of prompts, half of them in each language."""
        loss, right = self._read(random_of(self._seed, self.name, number), self._batch)
        self._learn(loss, number)
        return {"loss": loss.item(), **right}

    def _read(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Return loss and right guesses on `count` prompts without pictures."""
        scenes = draw_told(rng, list(Layout), count)
        tokens = self._prompter.tokens(told_in_turns(rng, scenes))
        read: tuple[torch.Tensor, dict[str, float]] = self.heads(
            self._prompter.encode(self.encoder, *tokens), right_answers(scenes)
        )
        return read

    def _learn(self, loss: torch.Tensor, number: int) -> None:
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
        descend([self._optimizer], [self.rate], decayed(number, self._steps))
        self.mean.update(self.encoder, number)

    def state(self) -> dict[str, Any]:
        """See Stage."""
        return {
            "encoder": self.encoder.state_dict(),
            "heads": self.heads.state_dict(),
            "mean": self.mean.values,
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See Stage."""
        self.encoder.load_state_dict(state["encoder"])
        self.heads.load_state_dict(state["heads"])
        self.mean.restore(state["mean"])
        self._optimizer.load_state_dict(state["optimizer"])
