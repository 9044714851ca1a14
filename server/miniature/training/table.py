"""The small world as latents: every scene that training draws, encoded once by the trained VAE."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from server.miniature.data.scenes import TOKEN, Effect, Layout, Scene, arrange, compose, draw_scene, held_out
from server.miniature.data.sprites import Atlas
from server.miniature.data.things import COLOURS, THINGS
from server.miniature.training.run import load_state
from server.miniature.training.vae import flatten, inflate, moments_of, statistics, to_tensor

PAIRS = 4000  # scenes with two different objects: a sample, where all others are complete
BATCH = 32
STATISTICS = "latents.json"
SAMPLE, SAMPLE_STRIDE = 400, 48  # for the statistics: pairs, and every so many of all scenes
SINGLE = tuple(layout for layout in Layout if layout is not Layout.PAIR)


def world(size: tuple[int, int], layouts: Sequence[Layout] = tuple(Layout), pairs: int = PAIRS) -> list[Scene]:
    """Every scene of that size in tokens that training may see."""
    scenes = [
        arrange(layout, [thing.icon], colour, size)
        for layout in SINGLE
        if layout in layouts
        for thing in THINGS
        for colour in COLOURS
        if not held_out(thing.icon, colour)
    ]
    rng = np.random.default_rng(0)
    drawn = [draw_scene(rng, [Layout.PAIR], size) for _ in range(pairs if Layout.PAIR in layouts else 0)]
    return scenes + drawn


class Table:
    """Different scenes of one size and their latents, with mean 0 and deviation 1 in each channel."""

    def __init__(self, scenes: Sequence[Scene], latents: torch.Tensor, atlas: Atlas) -> None:
        """`latents` are n x 16 x height / 8 x width / 8, in float16."""
        self.scenes = list(scenes)
        self.latents = latents
        self._atlas = atlas
        self._covered: dict[tuple[str, int], torch.Tensor] = {}
        self.numbers = {scene: number for number, scene in enumerate(scenes)}
        self._by_layout: dict[Layout, list[int]] = {layout: [] for layout in Layout}
        for number, scene in enumerate(scenes):
            if scene.effect is Effect.NONE:
                self._by_layout[scene.layout].append(number)

    def with_more(self, other: "Table") -> "Table":
        """Both tables as one."""
        return Table(self.scenes + other.scenes, torch.cat([self.latents, other.latents]), self._atlas)

    def draw(self, rng: np.random.Generator, layouts: Sequence[Layout], count: int) -> list[int]:
        """Numbers of random scenes of these layouts, as far as the table has them."""
        layouts = [layout for layout in layouts if self._by_layout[layout]]
        chosen = [self._by_layout[layouts[index]] for index in rng.integers(len(layouts), size=count)]
        return [rows[int(rng.integers(len(rows)))] for rows in chosen]

    def objects(self, number: int) -> torch.Tensor:
        """Which tokens of the scene show more than background. (height x width)"""
        scene = self.scenes[number]
        if scene.effect is Effect.MIRRORED:
            return self.objects(self.numbers[replace(scene, effect=Effect.NONE)]).flip(1)
        shown = torch.zeros(scene.height, scene.width, dtype=torch.bool)
        for one in scene.placed:
            shown[one.y : one.y + one.side, one.x : one.x + one.side] |= self._tokens(one.icon, one.side)
        return shown

    def shown(self, numbers: Sequence[int]) -> torch.Tensor:
        """The same of several scenes in one row each. (n x tokens)"""
        return torch.stack([self.objects(number) for number in numbers]).flatten(1)

    def _tokens(self, icon: str, side: int) -> torch.Tensor:
        key = (icon, side)
        if key not in self._covered:
            alpha = torch.from_numpy(self._atlas.sprite(icon, side * TOKEN)[..., 3].copy())
            self._covered[key] = alpha.reshape(side, TOKEN, side, TOKEN).amax(dim=(1, 3)) > 0.02
        return self._covered[key]


def latent_statistics(run: Path, atlas: Atlas) -> dict[str, list[float]]:
    """Mean and deviation of the trained VAE's latent channels over a sample of scenes, kept in the run."""
    kept = run / STATISTICS
    if not kept.is_file():
        scenes = world((8, 8), (Layout.BIG, Layout.SMALL, Layout.LEFT, Layout.PAIR), pairs=SAMPLE)[::SAMPLE_STRIDE]
        vae = flatten(inflate(load_state(run, "vae")["stage"]["mean"])).eval()
        mean, deviation = statistics(vae, to_tensor(np.stack([compose(scene, atlas) for scene in scenes])))
        kept.write_text(json.dumps({"latents_mean": mean, "latents_std": deviation}), encoding="utf-8")
    figures: dict[str, list[float]] = json.loads(kept.read_text(encoding="utf-8"))
    return figures


def changed_world(size: tuple[int, int]) -> list[Scene]:
    """Scenes as they are after an edit of the whole picture."""
    alone = world(size, (Layout.BIG, Layout.SMALL))
    return [replace(scene, effect=effect) for effect in (Effect.GRAY, Effect.MIRRORED) for scene in alone]


def open_table(run: Path, atlas: Atlas, scenes: Sequence[Scene], name: str) -> Table:
    """The latents of these scenes by the run's VAE, kept in the run under that name."""
    kept = run / f"latents-{name}.pt"
    if not kept.is_file():
        figures = latent_statistics(run, atlas)
        mean, deviation = (torch.tensor(figures[name])[:, None, None] for name in ("latents_mean", "latents_std"))
        rows = [((one - mean) / deviation).half() for one in _encode(run, atlas, scenes)]
        new = kept.with_suffix(".new")
        torch.save(torch.cat(rows), new)
        new.replace(kept)
    latents: torch.Tensor = torch.load(kept, weights_only=True)
    if len(latents) != len(scenes):
        raise RuntimeError(f"{kept.name} holds other scenes than these; delete it to encode them")
    return Table(scenes, latents, atlas)


@torch.no_grad()
def _encode(run: Path, atlas: Atlas, scenes: Sequence[Scene]) -> Iterator[torch.Tensor]:
    vae = flatten(inflate(load_state(run, "vae")["stage"]["mean"])).eval()
    for start in range(0, len(scenes), BATCH):
        pictures = np.stack([compose(scene, atlas) for scene in scenes[start : start + BATCH]])
        with torch.autocast("cpu", torch.bfloat16):
            moments = moments_of(vae, to_tensor(pictures))
        yield moments.float().chunk(2, dim=1)[0]
