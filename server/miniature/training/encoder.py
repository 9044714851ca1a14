"""The text encoder's stage: it learns to say what a prompt asks for before it is asked to paint it.

Trained from the diffusion loss alone, the whole binds colours and places but not objects. So heads on the encoding,
which are thrown away afterwards, have to name the objects, the background and the layout.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from server.miniature import parts
from server.miniature.data.prompts import LANGUAGES, tell
from server.miniature.data.scenes import Layout, Scene, draw_scene
from server.miniature.data.things import COLOURS, THINGS
from server.miniature.training.run import Mean, decayed, random_of
from server.miniature.training.text import Prompter, tokenizer_of

ICONS = [thing.icon for thing in THINGS]
CLASSES = {"object": len(ICONS), "second": len(ICONS) + 1, "background": len(COLOURS), "layout": len(Layout)}
RATE = 2e-3


def labels_of(scenes: Sequence[Scene]) -> dict[str, torch.Tensor]:
    """For each head the right class of each scene; the second object's last class is that there is none."""
    layouts, colours = list(Layout), list(COLOURS)
    rows = [
        (
            ICONS.index(scene.icons[0]),
            ICONS.index(scene.icons[1]) if len(scene.icons) > 1 else len(ICONS),
            colours.index(scene.colour),
            layouts.index(scene.layout),
        )
        for scene in scenes
    ]
    return dict(zip(CLASSES, torch.tensor(rows).T, strict=True))


def summary(hidden: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """What the heads look at: the encoding's mean and its last token. (n x length x 192 to n x 384)"""
    weight = there.unsqueeze(2).float()
    mean = (hidden * weight).sum(1) / weight.sum(1)
    last = hidden[torch.arange(len(hidden)), there.sum(1) - 1]
    return torch.cat([mean, last], dim=1)


class EncoderStage:
    """The encoder with its heads."""

    name = "text_encoder"

    def __init__(self, run: Path, seed: int, steps: int, *, batch: int = 64) -> None:
        tokenizer = tokenizer_of(run)
        self._prompter = Prompter(tokenizer)
        self._seed, self._steps, self._batch = seed, steps, batch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = parts.build_text_encoder(tokenizer)
            self._heads = nn.ModuleDict({name: nn.Linear(2 * parts.HIDDEN, n) for name, n in CLASSES.items()})
        self._optimizer = torch.optim.AdamW(
            [*self.encoder.parameters(), *self._heads.parameters()], lr=RATE, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.mean = Mean(self.encoder, 0.99)

    def step(self, number: int) -> Mapping[str, float]:
        """One batch of prompts, half of them in each language."""
        rng = random_of(self._seed, self.name, number)
        scenes = [draw_scene(rng, list(Layout)) for _ in range(self._batch)]
        prompts = [tell(rng, scene, LANGUAGES[index % 2]) for index, scene in enumerate(scenes)]
        hidden, there = self._prompter.encode(self.encoder, *self._prompter.tokens(prompts))
        seen = summary(hidden, there)
        guesses = {name: head(seen) for name, head in self._heads.items()}
        labels = labels_of(scenes)
        losses = {name: functional.cross_entropy(guesses[name], labels[name]) for name in CLASSES}
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = RATE * decayed(number, self._steps)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.mean.update(self.encoder, number)
        right = {name: (guesses[name].argmax(1) == labels[name]).float().mean().item() for name in CLASSES}
        return {"loss": sum(loss.item() for loss in losses.values()), **right}

    def state(self) -> dict[str, Any]:
        """See Stage."""
        return {
            "encoder": self.encoder.state_dict(),
            "heads": self._heads.state_dict(),
            "mean": self.mean.values,
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See Stage."""
        self.encoder.load_state_dict(state["encoder"])
        self._heads.load_state_dict(state["heads"])
        self.mean.values = dict(state["mean"])
        self._optimizer.load_state_dict(state["optimizer"])
