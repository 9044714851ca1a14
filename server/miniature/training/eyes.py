"""The text encoder's second stage: it learns to see the pictures of an edit, by naming what they show and will show."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_dimensions
from PIL import Image
from torch import nn
from torch.nn import functional

from server.engine import MODELS
from server.miniature import parts
from server.miniature.data.edits import Edit, Kind, draw_edit, tell_edit
from server.miniature.data.prompts import LANGUAGES, tell
from server.miniature.data.scenes import Layout, Scene, compose, draw_scene
from server.miniature.data.sprites import Atlas
from server.miniature.training.encoder import CLASSES, labels_of, summary
from server.miniature.training.run import Mean, decayed, load_state, random_of
from server.miniature.training.text import Prompter, tokenizer_of
from server.miniature.training.trained import put

KINDS = list(Kind)
EDIT_CLASSES = {
    "kind": len(KINDS),
    **{f"{name} before": size for name, size in CLASSES.items()},
    **{f"{name} after": size for name, size in CLASSES.items()},
}
RATE = 1.5e-3
JOIN_EVERY = 5  # steps; an edit with two pictures has other shapes and so a batch of its own
TALKED = 24  # prompts without pictures in each step, lest the words be forgotten


class Eyes:
    """Pictures as patches for the text encoder, by the way that the edit pipeline takes."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._processor = parts.build_image_processor()

    def patches(self, scenes: Sequence[Scene]) -> torch.Tensor:
        """Of all scenes, one after the other. (64 n x 1176)"""
        pictures = [self._resized(Image.fromarray(compose(scene, self._atlas))) for scene in scenes]
        patches: torch.Tensor = self._processor(images=pictures, return_tensors="pt")["pixel_values"]
        return patches

    def _resized(self, picture: Image.Image) -> Image.Image:
        width, height = calculate_dimensions(MODELS["miniature"].vision_pixels, picture.width / picture.height)
        size = (round(width), round(height))
        return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def draw_edits(rng: np.random.Generator, number: int, pairs: Sequence[Scene], count: int) -> list[Edit]:
    """Edits for that step, all with one picture or all with two."""
    kinds = [Kind.JOIN] if number % JOIN_EVERY == 0 else [kind for kind in KINDS if kind is not Kind.JOIN]
    return [draw_edit(rng, pairs, kinds) for _ in range(count)]


class EyesStage:
    """Encoder and vision tower with heads on edits, beside those on prompts."""

    name = "eyes"

    def __init__(
        self, run: Path, atlas: Atlas, pairs: Sequence[Scene], seed: int, steps: int, *, batch: int = 32
    ) -> None:
        """`pairs` are the scenes with two objects that training may see."""
        tokenizer = tokenizer_of(run)
        self._talk, self._edit = Prompter(tokenizer), Prompter(tokenizer, "edit")
        self._eyes, self._pairs = Eyes(atlas), pairs
        self._seed, self._steps, self._batch = seed, steps, batch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = parts.build_text_encoder(tokenizer)
            heads = {name: nn.Linear(2 * parts.HIDDEN, size) for name, size in (CLASSES | EDIT_CLASSES).items()}
        put(self.encoder, load_state(run, "transformer")["stage"]["mean"], "text_encoder.")
        self._heads = nn.ModuleDict(heads)
        self._optimizer = torch.optim.AdamW(
            [*self.encoder.parameters(), *self._heads.parameters()], lr=RATE, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.mean = Mean(self.encoder, 0.99)

    def step(self, number: int) -> Mapping[str, float]:
        """One batch of edits and one of prompts."""
        rng = random_of(self._seed, self.name, number)
        edits = draw_edits(rng, number, self._pairs, self._batch)
        told = [tell_edit(rng, edit, LANGUAGES[index % 2]) for index, edit in enumerate(edits)]
        patches = self._eyes.patches([scene for edit in edits for scene in edit.sources])
        tokens = self._edit.tokens(told, len(edits[0].sources))
        edited = self._heard(self._edit.encode(self.encoder, *tokens, patches), edit_labels(edits))
        scenes = [draw_scene(rng, list(Layout)) for _ in range(TALKED)]
        prompts = [tell(rng, scene, LANGUAGES[index % 2]) for index, scene in enumerate(scenes)]
        talked = self._heard(self._talk.encode(self.encoder, *self._talk.tokens(prompts)), labels_of(scenes))
        torch.autograd.backward(torch.stack([loss for loss, _ in (edited | talked).values()]).sum())
        nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = RATE * decayed(number, self._steps)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.mean.update(self.encoder, number)
        return {name: right for name, (_, right) in (edited | talked).items()}

    def _heard(
        self, encoded: tuple[torch.Tensor, torch.Tensor], labels: Mapping[str, torch.Tensor]
    ) -> dict[str, tuple[torch.Tensor, float]]:
        """Each head's loss and how many of its guesses are right."""
        seen = summary(*encoded)
        guesses = {name: self._heads[name](seen) for name in labels}
        return {
            name: (
                functional.cross_entropy(guesses[name], labels[name]),
                (guesses[name].argmax(1) == labels[name]).float().mean().item(),
            )
            for name in labels
        }

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


def edit_labels(edits: Sequence[Edit]) -> dict[str, torch.Tensor]:
    """The right class for each head: the kind, and of a joined edit's second picture the object."""
    labels = {"kind": torch.tensor([KINDS.index(edit.kind) for edit in edits])}
    before = labels_of([edit.sources[0] for edit in edits])
    after = labels_of([edit.target for edit in edits])
    return labels | {f"{k} before": v for k, v in before.items()} | {f"{k} after": v for k, v in after.items()}
