"""The last stage: transformer and text encoder learn to edit, and go on painting from words alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from server.miniature.data.edits import Edit, tell_edit
from server.miniature.data.prompts import LANGUAGES
from server.miniature.data.scenes import Layout
from server.miniature.data.sprites import Atlas
from server.miniature.training.eyes import Eyes, draw_edits
from server.miniature.training.flow import OBJECT_WEIGHT, FlowStage, emptied
from server.miniature.training.run import load_state, random_of
from server.miniature.training.table import Table
from server.miniature.training.text import Prompter, tokenizer_of
from server.miniature.training.trained import put

CHANGE_WEIGHT = 2.0  # more, for tokens that the edit changes
CHANGED = 0.3  # mean difference of a token's latents, of deviation 1, that counts as a change
PAINT_EVERY = 2  # steps: how often scenes are painted from words beside the edits


class EditStage(FlowStage):
    """Edits in every step, prompts in every second."""

    name = "edit"

    def __init__(
        self, run: Path, table: Table, atlas: Atlas, seed: int, steps: int, *, batch: int = 24, fast: bool = False
    ) -> None:
        """`table` also holds what pictures are after edits of the whole; `fast` as in FlowStage."""
        super().__init__(run, table, seed, steps, batch=batch, fast=fast)
        put(self.both["transformer"], load_state(run, "transformer")["stage"]["mean"], "transformer.")
        put(self.both["text_encoder"], load_state(run, "eyes")["stage"]["mean"])
        self.mean.restart(self.both)
        self._edit = Prompter(tokenizer_of(run), "edit")
        self._eyes = Eyes(atlas)
        self._pairs = [scene for scene in table.scenes if scene.layout is Layout.PAIR]

    def step(self, number: int) -> Mapping[str, float]:
        """One batch of edits, half of them told in each language."""
        rng = random_of(self._seed, self.name, number)
        edits = draw_edits(rng, number, self._pairs, self._batch)
        edited = self._edited(rng, edits)
        loss = edited
        if number % PAINT_EVERY == 0:
            loss = loss + self._generate(rng, self._table, list(Layout))
        self._learn(loss, number)
        return {"loss": edited.item()}

    def _edited(self, rng: np.random.Generator, edits: list[Edit]) -> torch.Tensor:
        """The loss on these edits, which all show as many pictures."""
        told = [tell_edit(rng, edit, LANGUAGES[index % 2]) for index, edit in enumerate(edits)]
        patches = self._eyes.patches([scene for edit in edits for scene in edit.sources])
        tokens = self._edit.tokens(emptied(rng, told), len(edits[0].sources))
        with torch.autocast("cpu", torch.bfloat16):
            text = self._edit.encode(self.both["text_encoder"], *tokens, patches)
        rows = [self._table.numbers[edit.target] for edit in edits]
        sources = [
            [self._table.numbers[scene] for scene in column]
            for column in zip(*(edit.sources for edit in edits), strict=True)
        ]
        weight = 1 + OBJECT_WEIGHT * self._table.shown(rows) + CHANGE_WEIGHT * self._changed(rows, sources[0])
        return self._flow_loss(rng, text, self._table, rows, sources, weight)

    def _changed(self, rows: list[int], sources: list[int]) -> torch.Tensor:
        """Which tokens are other ones than before. (n x hw)"""
        off = (self._table.latents[rows].float() - self._table.latents[sources].float()).abs()
        return torch.nn.functional.avg_pool2d(off, 2).mean(1).flatten(1) > CHANGED


class FormatStage(EditStage):
    """Wide and tall pictures from words, in turns with the edits."""

    name = "formats"

    def __init__(
        self,
        run: Path,
        table: Table,
        others: Sequence[Table],
        atlas: Atlas,
        seed: int,
        steps: int,
        *,
        batch: int = 24,
        fast: bool = False,
    ) -> None:
        """`others` hold scenes of one other size each; the rest as in EditStage."""
        super().__init__(run, table, atlas, seed, steps, batch=batch, fast=fast)
        put(self.both, load_state(run, "edit")["stage"]["mean"])
        self.mean.restart(self.both)
        self._others = others

    def step(self, number: int) -> Mapping[str, float]:
        """A batch of edits, or one of scenes of another size."""
        if number % 2:
            return super().step(number)
        rng = random_of(self._seed, self.name, number)
        loss = self._generate(rng, self._others[int(rng.integers(len(self._others)))], list(Layout))
        self._learn(loss, number)
        return {"other sizes": loss.item()}
