"""The distilled tier's stage: a LoRA learns to go in few steps without guidance where the whole model goes in many.

Methods: guidance distilled as in Meng et al., "On Distillation of Guided Diffusion Models", 2022; many steps of one
way into few as in Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022; led back
from where the student itself has gone as in Ross et al., "A Reduction of Imitation Learning and Structured Prediction
to No-Regret Online Learning", 2011; low ranks as in Hu et al., "LoRA", 2021.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import nn

from qwen_image_studio.contract.words import Tier
from qwen_image_studio.models.table import MODELS
from training.data.edits import SQUARE, Stock
from training.data.sprites import Atlas
from training.stages.attention import make_trainable
from training.stages.editing import PAINTED
from training.stages.encoder import told_in_turns
from training.stages.eyes import draw_edits, tell_edits
from training.stages.run import Mean, decayed, descend, load_state, random_of
from training.stages.table import draw_told
from training.stages.teaching import Asked, Lesson, Teacher, flow, noise_left, transformer_of

TAUGHT = Tier.TURBO
RANK = 32
ADAPTED = ("to_q", "to_k", "to_v", "to_out.0", "img_mlp.net.0.proj", "img_mlp.net.2")
"""Layers that get low ranks beside them: those of the picture, in every block."""
RATE = 1e-3
NEW_EVERY = 3  # steps: how often the teacher paints; between, an earlier lesson is learned again
PAINT_EVERY = 3  # lessons: how often one paints from words; the others are edits, which are harder without guidance


class DistilStage:
    """The LoRA, beside the teacher from whom it learns; the teacher's lessons are kept in the run."""

    name = "distil"

    def __init__(
        self,
        run: Path,
        weights: Path,
        atlas: Atlas,
        seed: int,
        steps: int,
        *,
        batch: int = 24,
        fast: bool = False,
    ) -> None:
        """Teacher and student begin with the written weights; the rows of their tiers say how each paints. `fast` as in
        FlowStage.
        """
        many, few = (MODELS["miniature"].recipe(tier) for tier in (Tier.QUALITY, TAUGHT))
        self._mark = mark_of(weights)
        self._lessons = run / f"lessons-{self._mark}-{few.steps}"
        self._seed, self._steps, self._batch = seed, steps, batch
        self._teacher = Teacher(weights, atlas, many.steps, many.guidance_scale, fast=fast)
        stock = self._teacher.scheduler
        self._scheduler, self._painted_steps = type(stock).from_config(stock.config, **few.scheduler), few.steps
        self.transformer = transformer_of(weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(ADAPTED)))
        make_trainable(self.transformer, fast=fast)
        self._named = {name: value for name, value in self.transformer.named_parameters() if value.requires_grad}
        self._learned = nn.ParameterList(self._named.values())
        self._optimizer = torch.optim.AdamW(self._learned, RATE, betas=(0.9, 0.98), weight_decay=0.0)
        self.mean = Mean(self._learned, 0.99)

    def step(self, number: int) -> Mapping[str, float]:
        """Return a lesson, which is new in every third step."""
        index = number // NEW_EVERY
        if number % NEW_EVERY:
            index = int(random_of(self._seed, self.name, number).integers(index + 1))
        losses = self._follow(self._lesson(index))
        nn.utils.clip_grad_norm_(self._learned, 1.0)
        descend([self._optimizer], [RATE], decayed(number, self._steps))
        self.mean.update(self._learned, number)
        return {"loss": sum(losses) / len(losses), **{f"step {at}": loss for at, loss in enumerate(losses, 1)}}

    def _follow(self, lesson: Lesson) -> list[float]:
        """Paint in the student's own steps, and learn in each to come back to the teacher's way by its end."""
        levels = self._levels(lesson.way.shape[2])
        picture, losses = lesson.way[0], []
        for level, following, there in zip(levels[:-1], levels[1:], lesson.way[1:], strict=True):
            wanted = (there - picture) / (following - level)
            slope = flow(self.transformer, lesson.asked, picture, level)
            loss = ((slope - wanted).square().mean(2) * lesson.weight).mean() / lesson.weight.mean()
            torch.autograd.backward(loss / (len(levels) - 1))
            picture = picture + (following - level) * slope.detach()
            losses.append(loss.item())
        return losses

    def _levels(self, tokens: int) -> list[float]:
        return noise_left(self._scheduler, self._painted_steps, tokens)

    def _lesson(self, index: int) -> Lesson:
        """Return the lesson of that number: from the run, or else made now and kept there."""
        kept = self._lessons / f"{index}.pt"
        if not kept.is_file():
            self._lessons.mkdir(parents=True, exist_ok=True)
            made = asdict(self._made(index))
            new = kept.with_suffix(".new")
            torch.save(made, new)
            new.replace(kept)
        values = torch.load(kept, weights_only=True)
        return Lesson(**{**values, "asked": Asked(**values["asked"])})

    def _made(self, index: int) -> Lesson:
        """Make square pictures, or edits of such, half of them told in each language."""
        rng = random_of(self._seed, "lesson", index)
        levels = self._levels(SQUARE[0] * SQUARE[1])
        if index % PAINT_EVERY == 0:
            scenes = draw_told(rng, PAINTED, self._batch)
            return self._teacher.paint(rng, scenes, told_in_turns(rng, scenes), levels)
        edits = draw_edits(rng, index, Stock(), self._batch)
        return self._teacher.edit(rng, edits, tell_edits(rng, edits), levels)

    def state(self) -> dict[str, Any]:
        """See Stage."""
        return {
            "mark": self._mark,
            "lora": {name: value.detach() for name, value in self._named.items()},
            "mean": dict(zip(self._named, self.mean.values.values(), strict=True)),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See Stage. Raises RuntimeError where the LoRA was begun on other weights."""
        if state["mark"] != self._mark:
            raise RuntimeError("the weights have changed since this LoRA was begun: delete the run's distil.pt")
        with torch.no_grad():
            for name, value in self._named.items():
                value.copy_(state["lora"][name])
        self.mean.restore(dict(zip(self.mean.values, state["mean"].values(), strict=True)))
        self._optimizer.load_state_dict(state["optimizer"])


def mark_of(weights: Path) -> str:
    """Return a mark of the folder's transformer, which tells it from another."""
    file = weights / "transformer" / "diffusion_pytorch_model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def write_lora(run: Path, file: Path) -> None:
    """Write what the run has distilled as diffusers reads a LoRA: running means in bfloat16, and whose they are.

    Raises FileNotFoundError where nothing was distilled yet.
    """
    kept = load_state(run, DistilStage.name)["stage"]
    values = {
        f"transformer.{name.replace('.default.', '.')}": value.to(torch.bfloat16).contiguous()
        for name, value in kept["mean"].items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    save_file(values, new, {"format": "pt", "license": "Apache-2.0", "transformer": kept["mark"]})
    new.chmod(0o644)
    new.replace(file)
