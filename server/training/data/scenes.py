"""Scenes: which objects stand where on which background, and their pixels.

Places and sizes are whole tokens of the transformer (16 pixels), so an object is the same tokens wherever it stands.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from training.data.sprites import Atlas, Sprite
from training.data.things import BY_ICON, COLOURS, THINGS

TOKEN = 16  # pixels along a side: eight of the VAE times two of a patch
BIG, SMALL, TINY = 6, 4, 3  # sides of objects in tokens
HELD_OUT = 12  # one in this many pairs of object and background is never trained on

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
Pixels = NDArray[np.uint8]
"""Height x width x 3."""


class Layout(StrEnum):
    """The arrangement of the objects of a scene."""

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
    EMPTY = "empty"
    """Nothing but the background."""


class Effect(StrEnum):
    """An effect on a whole picture."""

    NONE = "none"
    GRAY = "gray"
    MIRRORED = "mirrored"
    """Left to right."""
    GOLDEN = "golden"
    """The objects as if of gold."""
    SILVER = "silver"


MATERIALS = {
    Effect.GOLDEN: ((70, 40, 5), (225, 165, 40), (255, 244, 190)),
    Effect.SILVER: ((45, 50, 60), (165, 172, 182), (250, 252, 255)),
}
"""What shadows, middle tones and lights of an object become: red, green and blue."""


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
        """Return the different objects, from left to right."""
        return tuple(dict.fromkeys(one.icon for one in self.placed))


def held_out(icon: str, colour: str) -> bool:
    """Return whether this object on this background is held out of training, to measure how new pairs are painted."""
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
    places: list[tuple[int, int]] = {
        Layout.EMPTY: [],
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
    """Return a random scene of pairs that training may see, or with `unseen` of held-out pairs only."""
    layout = layouts[int(rng.integers(len(layouts)))]
    colours = list(COLOURS)
    while True:
        colour = colours[rng.integers(len(colours))]
        icons = [THINGS[index].icon for index in rng.choice(len(THINGS), size=2, replace=False)]
        icons = icons[: {Layout.PAIR: 2, Layout.EMPTY: 0}.get(layout, 1)]
        if can_stand(icons, layout) and all(held_out(icon, colour) is unseen for icon in icons):
            return arrange(layout, icons, colour, size)


def can_stand(icons: Sequence[str], layout: Layout) -> bool:
    """Return whether such a scene is allowed: a text only once, and never two texts."""
    texts = sum(bool(BY_ICON[icon].text) for icon in icons)
    return texts == 0 or (texts == 1 and layout not in {Layout.TWO, Layout.THREE})


def compose(scene: Scene, atlas: Atlas, background: Sequence[int] | None = None) -> Pixels:
    """Paint the scene, over its named colour or over a background of red, green and blue."""
    canvas = np.empty((scene.height * TOKEN, scene.width * TOKEN, 3), dtype=np.float32)
    canvas[:] = COLOURS[scene.colour].rgb if background is None else background
    for one in scene.placed:
        paste(canvas, atlas, one.icon, (one.x * TOKEN, one.y * TOKEN), one.side * TOKEN, scene.effect)
    if scene.effect is Effect.GRAY:
        canvas[:] = canvas @ LUMA[:, None]
    return to_bytes(canvas[:, ::-1] if scene.effect is Effect.MIRRORED else canvas)


def to_bytes(canvas: NDArray[np.float32]) -> Pixels:
    """Round a canvas."""
    pixels: Pixels = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    return pixels


def made_of(material: Effect, sprite: Sprite) -> Sprite:
    """Return the object in gold or silver: its brightness, in the material's colours."""
    alpha = sprite[..., 3:]
    bright = (sprite[..., :3] @ LUMA[:, None]) / np.maximum(alpha, 1e-3)
    stops = np.array(MATERIALS[material], dtype=np.float32)
    channels = [np.interp(bright[..., 0], (0, 150, 255), stops[:, channel]) for channel in range(3)]
    return np.concatenate([np.stack(channels, axis=2).astype(np.float32) * alpha, alpha], axis=2)


def paste(
    canvas: NDArray[np.float32],
    atlas: Atlas,
    icon: str,
    corner: tuple[int, int],
    side: int,
    effect: Effect = Effect.NONE,
) -> None:
    """Lay an object over the canvas; `corner` is (x, y) in pixels, and what stands out is cut."""
    sprite = atlas.sprite(icon, side)
    if effect in MATERIALS:
        sprite = made_of(effect, sprite)
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
