"""The transformer's stage: it learns to take noise away (flow matching), and the text encoder goes on learning with it.

Method: Lipman et al., "Flow Matching for Generative Modeling", 2022; times as in Esser et al., "Scaling Rectified Flow
Transformers", 2024, with more of the noisy ones, where it is decided what the picture shows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import QwenImageTransformer2DModel
from torch import nn

from training import parts
from training.data.edits import SQUARE
from training.data.scenes import Layout, Scene
from training.data.tensors import CLASSES
from training.stages.attention import make_seeing, make_trainable, start_from_nothing
from training.stages.encoder import Encoded, Heads, right_answers, told_in_turns
from training.stages.muon import Muon
from training.stages.run import DEVICE, Mean, decayed, descend, fast_numbers, load_state, random_of, torch_random_of
from training.stages.table import Table, draw_told
from training.stages.text import NOTHING, Prompter, tokenizer_of
from training.stages.trained import put

EMPTY = 0.1  # of the prompts, so that guidance has something to lead away from
OBJECT_WEIGHT = 4.0  # more, for tokens that are not background: three quarters are flat colour
HEADS_WEIGHT = 0.05  # of the heads' losses beside the flow's
RATES = (0.02, 1e-3, 5e-4)  # of Muon, of the transformer's other numbers, of the text encoder

# From which part of the run on each layout is drawn: words first, then places, then counts and two objects.
CURRICULUM = (
    (0.0, (Layout.BIG, Layout.BIG, Layout.SMALL)),
    (0.3, (Layout.BIG, Layout.BIG, Layout.SMALL, Layout.LEFT, Layout.RIGHT, Layout.TOP, Layout.BOTTOM)),
    (0.5, (Layout.BIG, Layout.BIG, *Layout)),
)


def layouts_at(part: float) -> Sequence[Layout]:
    """Return the layouts that are drawn when that share of the run is done."""
    return [layouts for since, layouts in CURRICULUM if part >= since][-1]


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Return latents (n x 16 x 2h x 2w) as the pipelines' tokens: 64 numbers for 2 x 2 latents. (n x hw x 64)"""
    n, channels, height, width = latents.shape
    cut = latents.reshape(n, channels, height // 2, 2, width // 2, 2)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, height * width // 4, 4 * channels)


def noise_levels(rng: np.random.Generator, count: int) -> torch.Tensor:
    """Return the share of noise in each picture, 0 to 1: logit-normal, and for a third uniform over the noisy half."""
    usual = 1 / (1 + np.exp(-rng.normal(0.4, 1.0, count)))
    noisy = rng.uniform(0.5, 1.0, count)
    return torch.from_numpy(np.where(rng.random(count) < 0.35, noisy, usual)).float()


def emptied(rng: np.random.Generator, prompts: Sequence[str]) -> list[str]:
    """Return the prompts, a few of them left empty."""
    return [NOTHING if rng.random() < EMPTY else prompt for prompt in prompts]


class FlowStage:
    """Transformer and text encoder together; the encoder's heads go along, lest it forget what it can tell apart."""

    name = "transformer"
    before = "text_encoder"
    """Name of the stage from which encoder and heads come."""
    classes: Mapping[str, int] = CLASSES

    def __init__(self, run: Path, table: Table, seed: int, steps: int, *, batch: int = 48, fast: bool = False) -> None:
        """`fast` compiles the blocks: a minute first, then twice as fast."""
        tokenizer = tokenizer_of(run)
        self._prompter = Prompter(tokenizer)
        self._table = table
        self._seed, self._steps, self._batch = seed, steps, batch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder, heads = parts.build_text_encoder(tokenizer), Heads(self.classes)
            transformer = parts.build_transformer()
        begun = load_state(run, self.before)["stage"]
        put(encoder, begun["mean"])
        heads.load_state_dict(begun["heads"])
        self._begin(run, transformer)
        make_seeing(encoder)
        make_trainable(transformer, fast=fast)
        self.both = nn.ModuleDict({"text_encoder": encoder, "transformer": transformer, "heads": heads}).to(DEVICE)
        inner = [value for value in transformer.transformer_blocks.parameters() if value.dim() == 2]
        known = {id(value) for value in inner}
        outer = [value for value in transformer.parameters() if id(value) not in known]
        self._optimizers: tuple[torch.optim.Optimizer, ...] = (
            Muon(inner, RATES[0], weight_decay=0.01),
            torch.optim.AdamW(outer, RATES[1], betas=(0.9, 0.98), weight_decay=0.0),
            torch.optim.AdamW(
                [*encoder.parameters(), *heads.parameters()], RATES[2], betas=(0.9, 0.98), weight_decay=0.01
            ),
        )
        self.mean = Mean(self.both, 0.998)

    def _begin(self, run: Path, transformer: QwenImageTransformer2DModel) -> None:
        """Every block starts as if it were not there."""
        start_from_nothing(transformer)

    def step(self, number: int) -> Mapping[str, float]:
        """Return one batch of scenes, half of them told in each language."""
        rng = random_of(self._seed, self.name, number)
        loss, named = self._generate(rng, layouts_at(number / self._steps), SQUARE)
        self._learn(loss + HEADS_WEIGHT * named, number)
        return {"loss": loss.item(), "heads": named.item()}

    def _generate(
        self, rng: np.random.Generator, layouts: Sequence[Layout], size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the flow's and the heads' loss on a batch of scenes of these layouts."""
        scenes = draw_told(rng, layouts, self._batch, size, self._table.pairs if size == SQUARE else ())
        prompts = emptied(rng, told_in_turns(rng, scenes))
        with fast_numbers():
            text = self._prompter.encode(self.both["text_encoder"], *self._prompter.tokens(prompts))
        weight = 1 + OBJECT_WEIGHT * self._table.shown(scenes)
        return self._flow_loss(rng, text, scenes, [], weight), self._named(text, prompts, right_answers(scenes))

    def _named(self, text: Encoded, prompts: Sequence[str], labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the heads' loss; empty prompts, which tell the heads nothing, are left out."""
        told = torch.tensor([prompt != NOTHING for prompt in prompts], device=DEVICE)
        if not told.any():
            return text[0].new_zeros(())
        hidden, there = (one[told] for one in text)
        loss: torch.Tensor = self.both["heads"](
            (hidden.float(), there), {name: label[told] for name, label in labels.items()}
        )[0]
        return loss

    def _flow_loss(
        self,
        rng: np.random.Generator,
        text: Encoded,
        scenes: Sequence[Scene],
        sources: Sequence[Sequence[Scene]],
        weight: torch.Tensor,
    ) -> torch.Tensor:
        """Return the error of the predicted flow from these scenes to noise, weighted by token (n x hw).

        `sources` are an edit's pictures, each one scene for every scene; they go clean behind the noisy one.
        """
        clean, *others = (pack(self._table.latents(column)) for column in (scenes, *sources))
        levels = noise_levels(rng, len(scenes)).to(DEVICE)
        noise = torch.randn(clean.shape, generator=torch_random_of(rng)).to(DEVICE)
        with fast_numbers():
            flow = self.both["transformer"](
                hidden_states=torch.cat([clean.lerp(noise, levels[:, None, None]), *others], dim=1),
                encoder_hidden_states=text[0],
                encoder_hidden_states_mask=text[1],
                timestep=levels,
                img_shapes=[[(1, one[0].height, one[0].width) for one in (scenes, *sources)]] * len(scenes),
                return_dict=False,
            )[0]
        error = (flow[:, : clean.shape[1]].float() - (noise - clean)).square().mean(2)
        loss: torch.Tensor = (error * weight).mean() / weight.mean()
        return loss

    def _learn(self, loss: torch.Tensor, number: int) -> None:
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.both.parameters(), 1.0)
        descend(self._optimizers, RATES, decayed(number, self._steps))
        self.mean.update(self.both, number)

    def state(self) -> dict[str, Any]:
        """See Stage."""
        return {
            "both": self.both.state_dict(),
            "mean": self.mean.values,
            "optimizers": [one.state_dict() for one in self._optimizers],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See Stage."""
        self.both.load_state_dict(state["both"])
        self.mean.restore(state["mean"])
        for optimizer, kept in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
