"""The judge's stage, apart from all others: scenes as they are rendered, made worse, and what they show."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from training.data.edits import SQUARE, other_sizes
from training.data.scenes import MATERIALS, Effect, Layout, Pixels, Scene, compose, draw_scene
from training.data.sprites import Atlas
from training.data.tensors import CLASSES, labels_of, to_tensor
from training.data.things import BY_ICON
from training.judge import Judge, square, worsened
from training.stages.run import DEVICE, Mean, decayed, descend, fast_numbers, random_of

RATE = 2e-3
UNSEEN = 0.3  # of the scenes have a pair of object and background that the miniature never sees
OTHER_SIZES = 0.2  # are not square
EFFECT = 0.3  # of objects alone are of gold or silver, gray or mirrored


class JudgeStage:
    """The judge with its questions."""

    name = "judge"

    def __init__(self, atlas: Atlas, seed: int, steps: int, *, batch: int = 96) -> None:
        self._atlas = atlas
        self._seed, self._steps, self._batch = seed, steps, batch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.judge = Judge().to(DEVICE)
        self._optimizer = torch.optim.AdamW(self.judge.parameters(), lr=RATE, weight_decay=0.02)
        self.mean = Mean(self.judge, 0.995)
        self._drawer = ThreadPoolExecutor(1)  # draws the next batch while this one is learned from
        self._ahead: dict[int, Future[tuple[list[Scene], Pixels]]] = {}

    def step(self, number: int) -> Mapping[str, float]:
        """Return one batch."""
        ready = self._ahead.pop(number, None)
        scenes, pictures = ready.result() if ready else self._draw(number)
        self._ahead = {number + 1: self._drawer.submit(self._draw, number + 1)}
        with fast_numbers():
            scores = self.judge(to_tensor(pictures).to(DEVICE))
        labels = {name: label.to(DEVICE) for name, label in labels_of(scenes).items()}
        losses = [
            functional.cross_entropy(scores[name].float(), labels[name], label_smoothing=0.05) for name in CLASSES
        ]
        torch.autograd.backward(torch.stack(losses).sum())
        descend([self._optimizer], [RATE], decayed(number, self._steps))
        self.mean.update(self.judge, number)
        return {name: (scores[name].argmax(1) == labels[name]).float().mean().item() for name in CLASSES}

    def _draw(self, number: int) -> tuple[list[Scene], Pixels]:
        """Return the scenes and pictures of that step."""
        rng = random_of(self._seed, self.name, number)
        scenes = [draw_judged(rng) for _ in range(self._batch)]
        return scenes, np.stack([seen_badly(rng, scene, self._atlas) for scene in scenes])

    def state(self) -> dict[str, Any]:
        """See Stage."""
        return {"judge": self.judge.state_dict(), "mean": self.mean.values, "optimizer": self._optimizer.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See Stage."""
        self.judge.load_state_dict(state["judge"])
        self.mean.restore(state["mean"])
        self._optimizer.load_state_dict(state["optimizer"])


def draw_judged(rng: np.random.Generator) -> Scene:
    """Return a random scene of any kind that the miniature may be asked for."""
    size = SQUARE
    if rng.random() < OTHER_SIZES:
        sizes = other_sizes()
        size = sizes[int(rng.integers(len(sizes)))]
    scene = draw_scene(rng, (Layout.BIG, Layout.SMALL, *Layout), size, unseen=rng.random() < UNSEEN)
    if scene.layout in {Layout.BIG, Layout.SMALL} and rng.random() < EFFECT:
        effects = [effect for effect in Effect if not (effect in MATERIALS and BY_ICON[scene.icons[0]].text)]
        scene = replace(scene, effect=effects[int(rng.integers(len(effects)))])
    return scene


def seen_badly(rng: np.random.Generator, scene: Scene, atlas: Atlas) -> Pixels:
    """Return the scene as the judge gets it, made worse."""
    return worsened(rng, square(Image.fromarray(compose(scene, atlas))))


def accuracy(judge: nn.Module, atlas: Atlas, count: int, seed: int = 1) -> dict[str, float]:
    """Return how often each answer is right on fresh pictures, made worse as in training."""
    rng = np.random.default_rng([seed, *b"accuracy"])
    right: dict[str, int] = dict.fromkeys(CLASSES, 0)
    for _ in range(count):
        scene = draw_judged(rng)
        picture = to_tensor(seen_badly(rng, scene, atlas)[None]).to(next(judge.parameters()).device)
        with torch.no_grad():
            scores = judge(picture)
        labels = labels_of([scene])
        for name in CLASSES:
            right[name] += int(scores[name][0].argmax()) == int(labels[name][0])
    return {name: number / count for name, number in right.items()}
