"""What a scene shows, as classes: what the text encoder is taught to name and the judge to see."""

from collections.abc import Sequence

import numpy as np
import torch

from server.miniature.data.scenes import Effect, Layout, Scene
from server.miniature.data.things import COLOURS, THINGS

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


def labels_of(scenes: Sequence[Scene]) -> dict[str, torch.Tensor]:
    """The right class of each scene for each question."""
    layouts, effects, colours = list(Layout), list(Effect), list(COLOURS)
    rows = []
    for scene in scenes:
        icons = [ICONS.index(icon) for icon in scene.icons] + [NONE, NONE]
        rows.append((*icons[:2], colours.index(scene.colour), layouts.index(scene.layout), effects.index(scene.effect)))
    return dict(zip(CLASSES, torch.from_numpy(np.array(rows)).T, strict=True))
