"""The small world as latents: the square scenes are encoded once by the trained VAE, all others when they are drawn."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage

from training.data.edits import SQUARE
from training.data.scenes import (
    MATERIALS,
    TOKEN,
    Effect,
    Layout,
    Scene,
    arrange,
    can_stand,
    compose,
    draw_scene,
    held_out,
)
from training.data.sprites import Atlas
from training.data.tensors import to_tensor
from training.data.things import BY_ICON, COLOURS, THINGS
from training.stages.run import DEVICE, fast_numbers, load_state
from training.stages.vae import flatten, inflate, moments_of, statistics

PAIRS = 4000  # scenes with two different objects: a sample, where all others are complete
BATCH = 32
STATISTICS = "latents.json"
SAMPLE, SAMPLE_STRIDE = 400, 48  # for the statistics: number of pairs, and stride over all scenes
MATERIAL_SHOWN = 0.5  # of prompts for an object alone ask for gold or silver


def world(size: tuple[int, int] = SQUARE, layouts: Sequence[Layout] = tuple(Layout), pairs: int = PAIRS) -> list[Scene]:
    """Every scene of that size in tokens that training may see."""
    scenes = [arrange(Layout.EMPTY, [], colour, size) for colour in COLOURS if Layout.EMPTY in layouts]
    scenes += [
        arrange(layout, [thing.icon], colour, size)
        for layout in layouts
        if layout not in {Layout.PAIR, Layout.EMPTY}
        for thing in THINGS
        for colour in COLOURS
        if can_stand([thing.icon], layout) and not held_out(thing.icon, colour)
    ]
    rng = np.random.default_rng(0)
    return scenes + [draw_scene(rng, [Layout.PAIR], size) for _ in range(pairs if Layout.PAIR in layouts else 0)]


def changed_world(size: tuple[int, int] = SQUARE) -> list[Scene]:
    """Scenes of a material, and as they are after an edit of the whole picture."""
    return [
        replace(scene, effect=effect)
        for effect in Effect
        for scene in world(size, (Layout.BIG, Layout.SMALL))
        if effect is not Effect.NONE and not (effect in MATERIALS and BY_ICON[scene.icons[0]].text)
    ]


def draw_told(
    rng: np.random.Generator,
    layouts: Sequence[Layout],
    count: int,
    size: tuple[int, int] = SQUARE,
    pairs: Sequence[Scene] = (),
) -> list[Scene]:
    """Random scenes that a prompt can ask for; those with two objects are from `pairs` where there are any."""
    scenes = []
    for _ in range(count):
        scene = draw_scene(rng, layouts, size)
        if scene.layout is Layout.PAIR and pairs:
            scene = pairs[int(rng.integers(len(pairs)))]
        elif scene.layout in {Layout.BIG, Layout.SMALL} and not BY_ICON[scene.icons[0]].text:
            if rng.random() < MATERIAL_SHOWN:
                scene = replace(scene, effect=list(MATERIALS)[int(rng.integers(len(MATERIALS)))])
        scenes.append(scene)
    return scenes


class Table:
    """Latents of scenes, with mean 0 and deviation 1 in each channel: kept ones are looked up, others encoded."""

    def __init__(self, scenes: Sequence[Scene], latents: torch.Tensor, encoder: "SceneEncoder") -> None:
        """`latents` are n x 16 x height / 8 x width / 8, in float16, of the scenes that are kept."""
        self.pairs = [scene for scene in scenes if scene.layout is Layout.PAIR]
        self._numbers = {scene: number for number, scene in enumerate(scenes)}
        self._latents = latents
        self._encoder = encoder
        self._covered: dict[tuple[str, int], torch.Tensor] = {}

    def latents(self, scenes: Sequence[Scene]) -> torch.Tensor:
        """Return the latents of these scenes, all of one size. (n x 16 x height / 8 x width / 8)"""
        numbers = [self._numbers.get(scene) for scene in scenes]
        known = [number for number in numbers if number is not None]
        if len(known) == len(scenes):
            return self._latents[known].to(DEVICE, torch.float32)
        return self._encoder.latents(scenes).to(DEVICE, torch.float32)

    def shown(self, scenes: Sequence[Scene]) -> torch.Tensor:
        """Return which tokens of each scene show more than background. (n x tokens)"""
        return torch.stack([self._shown(scene) for scene in scenes]).flatten(1).to(DEVICE)

    def _shown(self, scene: Scene) -> torch.Tensor:
        shown = torch.zeros(scene.height, scene.width, dtype=torch.bool)
        for one in scene.placed:
            shown[one.y : one.y + one.side, one.x : one.x + one.side] |= self._tokens(one.icon, one.side)
        return shown.flip(1) if scene.effect is Effect.MIRRORED else shown

    def _tokens(self, icon: str, side: int) -> torch.Tensor:
        key = (icon, side)
        if key not in self._covered:
            alpha = torch.from_numpy(self._encoder.atlas.sprite(icon, side * TOKEN)[..., 3].copy())
            self._covered[key] = alpha.reshape(side, TOKEN, side, TOKEN).amax(dim=(1, 3)) > 0.02
        return self._covered[key]


class SceneEncoder:
    """A trained VAE, with the statistics that bring its latents to mean 0 and deviation 1."""

    def __init__(self, vae: AutoencoderKLQwenImage, figures: Mapping[str, Sequence[float]], atlas: Atlas) -> None:
        """`figures` are ``latents_mean`` and ``latents_std``; the VAE becomes a flat one."""
        self.atlas = atlas
        self._mean, self._deviation = (
            torch.tensor(figures[name], device=DEVICE)[:, None, None] for name in ("latents_mean", "latents_std")
        )
        self._vae = flatten(vae).eval().to(DEVICE)

    @torch.no_grad()
    def latents(self, scenes: Sequence[Scene]) -> torch.Tensor:
        """Return the latents of these scenes, all of one size, in float16."""
        pictures = np.stack([compose(scene, self.atlas) for scene in scenes])
        with fast_numbers():
            moments = moments_of(self._vae, to_tensor(pictures).to(DEVICE))
        return ((moments.float().chunk(2, dim=1)[0] - self._mean) / self._deviation).half().cpu()


def encoder_of(run: Path, atlas: Atlas) -> SceneEncoder:
    """Return the run's VAE, to encode scenes with."""
    return SceneEncoder(inflate(load_state(run, "vae")["stage"]["mean"]), latent_statistics(run, atlas), atlas)


def latent_statistics(run: Path, atlas: Atlas) -> dict[str, list[float]]:
    """Mean and deviation of the trained VAE's latent channels over a sample of scenes, kept in the run.

    Raises RuntimeError where they are those of another VAE.
    """
    kept, trained = run / STATISTICS, load_state(run, "vae")["steps"]
    if not kept.is_file():
        scenes = world(SQUARE, (Layout.BIG, Layout.SMALL, Layout.LEFT, Layout.PAIR), pairs=SAMPLE)[::SAMPLE_STRIDE]
        vae = flatten(inflate(load_state(run, "vae")["stage"]["mean"])).eval()
        mean, deviation = statistics(vae, to_tensor(np.stack([compose(scene, atlas) for scene in scenes])))
        found = {"latents_mean": mean, "latents_std": deviation, "vae_steps": trained}
        kept.write_text(json.dumps(found), encoding="utf-8")
    figures: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    if figures.pop("vae_steps") != trained:
        raise RuntimeError("the VAE was trained on since its latents were made: delete latents* and what came after")
    return figures


def open_table(run: Path, atlas: Atlas, scenes: Sequence[Scene], name: str = "square") -> Table:
    """Return the latents of these scenes by the run's VAE, kept in the run under that name."""
    encoder = encoder_of(run, atlas)
    kept = run / f"latents-{name}.pt"
    if not kept.is_file():
        new = kept.with_suffix(".new")
        torch.save(torch.cat(list(_encoded(encoder, scenes))), new)
        new.replace(kept)
    latents: torch.Tensor = torch.load(kept, weights_only=True)
    if len(latents) != len(scenes):
        raise RuntimeError(f"{kept.name} holds other scenes than these; delete it to encode them")
    return Table(scenes, latents, encoder)


def _encoded(encoder: SceneEncoder, scenes: Sequence[Scene]) -> Iterator[torch.Tensor]:
    for start in range(0, len(scenes), BATCH):
        yield encoder.latents(scenes[start : start + BATCH])
