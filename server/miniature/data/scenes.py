"""Scenes: which objects stand where on which background, and their pixels.

Places and sizes are whole tokens of the transformer (16 pixels), so an object is the same tokens wherever it stands.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from server.miniature.data.sprites import Atlas
from server.miniature.data.things import COLOURS, THINGS

TOKEN = 16  # pixels along a side: eight of the VAE times two of a patch
BIG, SMALL, TINY = 6, 4, 3  # sides of objects in tokens
HELD_OUT = 12  # one of so many pairs of object and background is never trained on

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
Pixels = NDArray[np.uint8]
"""Height x width x 3."""


class Layout(StrEnum):
    """How the objects of a scene stand."""

    BIG = "big"
    SMALL = "small"
    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"
    PAIR = "pair"
    """Two different objects side by side."""
    TWO = "two"
    """The same object twice, side by side."""
    THREE = "three"
    """The same object three times: one above two."""


class Effect(StrEnum):
    """What is done to a whole picture."""

    NONE = "none"
    GRAY = "gray"
    MIRRORED = "mirrored"
    """Left to right."""


@dataclass(frozen=True)
class Placed:
    """An object and where it stands: left and top edge and side in tokens."""

    icon: str
    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Scene:
    """A picture before it is painted. Width and height are in tokens."""

    width: int
    height: int
    colour: str
    layout: Layout
    placed: tuple[Placed, ...]
    effect: Effect = Effect.NONE

    @property
    def icons(self) -> tuple[str, ...]:
        """The different objects, from left to right."""
        return tuple(dict.fromkeys(one.icon for one in self.placed))


def held_out(icon: str, colour: str) -> bool:
    """Whether this object on this background is kept from training, to measure what becomes of new pairs."""
    return hashlib.sha256(f"{icon} {colour}".encode()).digest()[0] % HELD_OUT == 0


def arrange(layout: Layout, icons: Sequence[str], colour: str, size: tuple[int, int] = (8, 8)) -> Scene:
    """Put one object, or two for a pair, in their places in a picture of `size` = (width, height) tokens."""
    width, height = size
    side = BIG if layout is Layout.BIG else SMALL
    if layout in {Layout.PAIR, Layout.TWO, Layout.THREE} and min(size[0], size[1] if layout is Layout.THREE else 8) < 8:
        side = TINY
    middle = ((width - side) // 2, (height - side) // 2)
    left, right = width // 2 - side, width // 2
    if width >= 3 * side:  # room for a gap
        left, right = left - 1, right + 1
    places = {
        Layout.BIG: [middle],
        Layout.SMALL: [middle],
        Layout.LEFT: [(0, middle[1])],
        Layout.RIGHT: [(width - side, middle[1])],
        Layout.TOP: [(middle[0], 0)],
        Layout.BOTTOM: [(middle[0], height - side)],
        Layout.PAIR: [(left, middle[1]), (right, middle[1])],
        Layout.TWO: [(left, middle[1]), (right, middle[1])],
        Layout.THREE: [(middle[0], 0), (left, height - side), (right, height - side)],
    }[layout]
    placed = tuple(Placed(icons[index % len(icons)], x, y, side) for index, (x, y) in enumerate(places))
    return Scene(width, height, colour, layout, placed)


def draw_scene(
    rng: np.random.Generator, layouts: Sequence[Layout], size: tuple[int, int] = (8, 8), *, unseen: bool = False
) -> Scene:
    """A random scene of pairs that training may see, or with `unseen` of held-out pairs only."""
    layout = layouts[int(rng.integers(len(layouts)))]
    colours = list(COLOURS)
    while True:
        colour = colours[rng.integers(len(colours))]
        icons = [THINGS[index].icon for index in rng.choice(len(THINGS), size=2, replace=False)]
        icons = icons if layout is Layout.PAIR else icons[:1]
        if all(held_out(icon, colour) is unseen for icon in icons):
            return arrange(layout, icons, colour, size)


def compose(scene: Scene, atlas: Atlas, background: Sequence[int] | None = None) -> Pixels:
    """Paint the scene, over its named colour or over a background of red, green and blue."""
    canvas = np.empty((scene.height * TOKEN, scene.width * TOKEN, 3), dtype=np.float32)
    canvas[:] = COLOURS[scene.colour].rgb if background is None else background
    for one in scene.placed:
        paste(canvas, atlas, one.icon, (one.x * TOKEN, one.y * TOKEN), one.side * TOKEN)
    if scene.effect is Effect.GRAY:
        canvas[:] = canvas @ LUMA[:, None]
    return to_bytes(canvas[:, ::-1] if scene.effect is Effect.MIRRORED else canvas)


def to_bytes(canvas: NDArray[np.float32]) -> Pixels:
    """Round a canvas."""
    pixels: Pixels = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    return pixels


def paste(canvas: NDArray[np.float32], atlas: Atlas, icon: str, corner: tuple[int, int], side: int) -> None:
    """Lay an object over the canvas; `corner` is (x, y) in pixels, and what stands out is cut."""
    sprite = atlas.sprite(icon, side)
    x, y = corner
    height, width = canvas.shape[:2]
    top, left = max(0, -y), max(0, -x)
    bottom, right = min(side, height - y), min(side, width - x)
    if bottom <= top or right <= left:
        return
    cut = sprite[top:bottom, left:right]
    under = canvas[y + top : y + bottom, x + left : x + right]
    under *= 1 - cut[..., 3:]
    under += cut[..., :3]
