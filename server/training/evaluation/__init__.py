"""How good the weights are: every task painted by the engine and looked at by the judge, on all processor cores."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from qwen_image_studio.contract.words import Tier
from qwen_image_studio.local.generator import QwenImageGenerator, one
from training.data.scenes import TOKEN, compose
from training.data.sprites import Atlas, load_atlas
from training.evaluation.tasks import Prompted, Task
from training.evaluation.verdicts import Verdict, edited_right, painted_right
from training.judge import Judge, load_judge, worsened


def evaluate(
    tasks: Sequence[Task], folder: Path, cache: Path, tier: Tier = Tier.QUALITY, workers: int | None = None
) -> Iterator[Verdict]:
    """Paint every task in that tier with the weights in the folder, and say in order what became of it.

    `cache` holds the drawings, or gets them.
    """
    workers = workers or os.cpu_count() or 1
    with ProcessPoolExecutor(workers, get_context("spawn"), _open, (folder, cache, tier)) as pool:
        yield from pool.map(_paint, tasks)


@dataclass(frozen=True)
class _Tools:
    studio: QwenImageGenerator
    judge: Judge
    atlas: Atlas
    tier: Tier


_HERE: list[_Tools] = []
"""This process's own, once it is open."""


def _open(folder: Path, cache: Path, tier: Tier) -> None:
    torch.set_num_threads(1)
    studio = QwenImageGenerator("miniature", device="cpu", model_path=folder)
    _HERE[:] = [_Tools(studio, load_judge(folder), load_atlas(cache), tier)]


def _paint(task: Task) -> Verdict:
    here = _HERE[0]
    rng = np.random.default_rng(task.seed)
    if isinstance(task, Prompted):
        width, height = task.scene.width * TOKEN, task.scene.height * TOKEN
        picture = one(
            here.studio.generate(prompt=task.prompt, seed=task.seed, width=width, height=height, tier=here.tier.value)
        )
        seen = here.judge.see(picture)
        ideal = Image.fromarray(worsened(rng, compose(task.scene, here.atlas), gently=True))
        known = painted_right(task.scene, ideal, here.judge.see(ideal))
        return Verdict(task, painted_right(task.scene, picture, seen), seen, (picture,), known)
    sources = [Image.fromarray(compose(scene, here.atlas)) for scene in task.edit.sources]
    target = Image.fromarray(compose(task.edit.target, here.atlas))
    picture = one(here.studio.edit(sources, prompt=task.prompt, seed=task.seed, tier=here.tier.value))
    seen = here.judge.see(picture)
    answers = edited_right(task.edit, sources[0], target, picture, seen)
    ideal = Image.fromarray(worsened(rng, compose(task.edit.target, here.atlas), gently=True))
    known = edited_right(task.edit, sources[0], target, ideal, here.judge.see(ideal))
    return Verdict(task, answers, seen, (*sources, picture), known)
