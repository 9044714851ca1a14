"""Scenes and pictures as tensors: what they show, as classes to name or to see, and their pixels."""

from collections.abc import Sequence

import numpy as np
import torch

from training.data.scenes import Effect, Layout, Pixels, Scene
from training.data.things import COLOURS, THINGS

ICONS = tuple(thing.icon for thing in THINGS)
NONE = len(ICONS)
"""The class of an object that is not there."""
CLASSES = {
    "object": NONE + 1,
    "second": NONE + 1,
    "background": len(COLOURS),
    "layout": len(Layout),
    "effect": len(Effect),
}


def to_tensor(pictures: Pixels) -> torch.Tensor:
    """From bytes (n x h x w x 3) to numbers from -1 to 1 (n x 3 x h x w)."""
    return torch.tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def labels_of(scenes: Sequence[Scene]) -> dict[str, torch.Tensor]:
    """Return the right class of each scene for each question."""
    layouts, effects, colours = list(Layout), list(Effect), list(COLOURS)
    rows = []
    for scene in scenes:
        icons = [ICONS.index(icon) for icon in scene.icons] + [NONE, NONE]
        rows.append((*icons[:2], colours.index(scene.colour), layouts.index(scene.layout), effects.index(scene.effect)))
    return dict(zip(CLASSES, torch.from_numpy(np.array(rows)).T, strict=True))
