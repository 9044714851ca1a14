"""The last stage: transformer and text encoder learn to edit, at every native size, and go on painting from words."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers import QwenImageTransformer2DModel

from training.data.edits import SQUARE, Edit, Stock, other_sizes
from training.data.scenes import Layout
from training.data.sprites import Atlas
from training.data.tensors import CLASSES
from training.stages.eyes import EDIT_CLASSES, Eyes, draw_edits, edit_labels, tell_edits
from training.stages.flow import HEADS_WEIGHT, OBJECT_WEIGHT, FlowStage, emptied, pack
from training.stages.run import fast_numbers, load_state, random_of
from training.stages.table import Table
from training.stages.text import Prompter, tokenizer_of
from training.stages.trained import put

CHANGE_WEIGHT = 2.0  # more, for tokens that the edit changes
CHANGED = 0.3  # mean difference of a token's latents, of deviation 1, that counts as a change
PAINT_EVERY = 2  # steps: how often scenes are painted from words beside the edits
PAINTED = (Layout.BIG, Layout.BIG, Layout.PAIR, *Layout)
"""Layouts of the scenes that are painted from words."""
OTHER_SIZES_FROM = 0.3  # part of the run; before it all is square
OTHER_SIZES = 0.25  # of the batches after it


class EditStage(FlowStage):
    """Edits in every step, prompts in every second."""

    name = "edit"
    before = "eyes"
    classes = CLASSES | EDIT_CLASSES

    def __init__(
        self, run: Path, table: Table, atlas: Atlas, seed: int, steps: int, *, batch: int = 24, fast: bool = False
    ) -> None:
        """`table` and `fast` as in FlowStage."""
        super().__init__(run, table, seed, steps, batch=batch, fast=fast)
        self._edit = Prompter(tokenizer_of(run), "edit")
        self._eyes = Eyes(atlas)

    def _begin(self, run: Path, transformer: QwenImageTransformer2DModel) -> None:
        """As the stage before left it."""
        put(transformer, load_state(run, "transformer")["stage"]["mean"], "transformer.")

    def step(self, number: int) -> Mapping[str, float]:
        """Return one batch of edits, half of them worded in each language."""
        rng = random_of(self._seed, self.name, number)
        size = self._size(rng, number)
        stock = Stock(self._table.pairs) if size == SQUARE else Stock(size=size)
        edits = draw_edits(rng, number if size == SQUARE else 1, stock, self._batch)
        edited, named = self._edited(rng, edits)
        loss = edited + HEADS_WEIGHT * named
        if number % PAINT_EVERY == 0:
            painted, told = self._generate(rng, PAINTED, self._size(rng, number))
            loss = loss + painted + HEADS_WEIGHT * told
        self._learn(loss, number)
        return {"loss": edited.item(), "heads": named.item()}

    def _size(self, rng: np.random.Generator, number: int) -> tuple[int, int]:
        other = rng.random() < OTHER_SIZES and number >= OTHER_SIZES_FROM * self._steps
        sizes = other_sizes()
        return sizes[int(rng.integers(len(sizes)))] if other else SQUARE

    def _edited(self, rng: np.random.Generator, edits: list[Edit]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the flow's and the heads' loss on these edits, which all have the same number of pictures."""
        told = emptied(rng, tell_edits(rng, edits))
        views = self._eyes.views([scene for edit in edits for scene in edit.sources])
        tokens = self._edit.tokens(told, views.seen[: len(edits[0].sources)])
        with fast_numbers():
            text = self._edit.encode(self.both["text_encoder"], *tokens, views)
        targets = [edit.target for edit in edits]
        sources = [list(column) for column in zip(*(edit.sources for edit in edits), strict=True)]
        after, before = (pack(self._table.latents(column)) for column in (targets, sources[0]))
        changed = (after - before).abs().mean(2) > CHANGED
        weight = 1 + OBJECT_WEIGHT * self._table.shown(targets) + CHANGE_WEIGHT * changed
        return self._flow_loss(rng, text, targets, sources, weight), self._named(text, told, edit_labels(edits))
