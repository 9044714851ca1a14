"""Pictures of layers, of which every one is known: a background, and objects cut out on clear ground, back to front.

Objects that stand further to the right are in front, and no two begin in one column or in the next: a rule of this
small world, so that there is one right answer also where objects do not overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.edits import SQUARE
from training.data.scenes import (
    BIG,
    MATERIALS,
    SMALL,
    TINY,
    TOKEN,
    Effect,
    Layout,
    Placed,
    Scene,
    arrange,
    can_stand,
    held_out,
    made_of,
    to_bytes,
)
from training.data.sprites import Atlas
from training.data.things import BY_ICON, COLOURS, THINGS

Layer = NDArray[np.uint8]
"""Height x width x 4: red, green, blue and alpha; white where it is clear."""
Colour = tuple[float, float, float]
Canvas = NDArray[np.float32]
"""Height x width x 4: red, green and blue from 0 to 255 multiplied by alpha, then alpha from 0 to 1."""

PLACES = 60  # tries to find room for an object
PLAIN = 0.65  # of the backgrounds are a named colour, others are of any colour or shaded
ARRANGED = 0.4  # of the stacks are layouts that a prompt can ask for
OVERLAP = 0.2  # of the others may overlap a little
OBJECTS = (1, 2, 3, 3, 3, 3)  # on those, as often
APART = 2  # tokens from an object's left edge to another's, at least
MATERIAL = 0.12  # of the stacks are in gold or silver
SIDES = (BIG, SMALL, SMALL, SMALL, TINY)  # of one or two objects; there is room for three of the last four


@dataclass(frozen=True)
class Stack:
    """What a picture of layers is made of."""

    width: int
    """Tokens."""
    height: int
    ground: tuple[Colour, Colour]
    """Colours of the background at its two ends: left and right, or top and bottom where `upright`."""
    upright: bool
    placed: tuple[Placed, ...]
    """The objects, back to front."""
    effect: Effect = Effect.NONE
    """A material of all objects, or none."""
    colour: str | None = None
    """The background's name where it is one of the named."""
    layout: Layout | None = None
    """The layout where it is one that a prompt can ask for."""

    @property
    def scene(self) -> Scene | None:
        """Return the scene that a prompt can tell, where it is one."""
        if self.colour is None or self.layout is None:
            return None
        return Scene(self.width, self.height, self.colour, self.layout, self.placed, self.effect)


def draw_stack(rng: np.random.Generator, size: tuple[int, int] = SQUARE, *, unseen: bool = False) -> Stack:
    """Return a random stack of pairs of object and background that training may see, or with `unseen` of held-out
    pairs only.
    """
    colour = list(COLOURS)[rng.integers(len(COLOURS))] if unseen or rng.random() < PLAIN else None
    icons = [thing.icon for thing in THINGS if colour is None or held_out(thing.icon, colour) is unseen]
    arranged = rng.random() < ARRANGED and min(size) >= min(SQUARE)
    layout: Layout | None = None
    placed: tuple[Placed, ...] = ()
    while not placed:
        layout, placed = _arranged(rng, icons, size) if arranged else (None, _scattered(rng, icons, size))
    plain = all(not BY_ICON[one.icon].text for one in placed)
    effect = Effect.NONE
    if plain and rng.random() < MATERIAL:
        effect = list(MATERIALS)[int(rng.integers(len(MATERIALS)))]
    first, last = (COLOURS[colour].rgb,) * 2 if colour else _shade(rng)
    return Stack(*size, (first, last), bool(rng.random() < 0.5), placed, effect, colour, layout)


def _shade(rng: np.random.Generator) -> tuple[Colour, Colour]:
    one = rng.uniform(0, 255, 3)
    if rng.random() < 0.4:
        return _colour(one), _colour(one)
    return _colour(one), _colour(np.clip(one + rng.normal(0, 60, 3), 0, 255))


def _colour(numbers: NDArray[np.float64]) -> Colour:
    red, green, blue = numbers.tolist()
    return red, green, blue


def _arranged(
    rng: np.random.Generator, names: Sequence[str], size: tuple[int, int]
) -> tuple[Layout | None, tuple[Placed, ...]]:
    layouts = [layout for layout in Layout if layout is not Layout.EMPTY] + [Layout.PAIR] * 4
    layout = layouts[int(rng.integers(len(layouts)))]
    icons = [names[index] for index in rng.choice(len(names), size=2, replace=False)]
    icons = icons[: 2 if layout is Layout.PAIR else 1]
    return (layout, _sorted(arrange(layout, icons, "white", size).placed)) if can_stand(icons, layout) else (None, ())


def _scattered(rng: np.random.Generator, names: Sequence[str], size: tuple[int, int]) -> tuple[Placed, ...]:
    """Objects anywhere on the grid: one to three, seldom more than touching."""
    width, height = size
    placed: list[Placed] = []
    near = 1 if rng.random() < OVERLAP else 0
    objects = int(rng.choice(OBJECTS))
    sides = SIDES if objects < 3 else SIDES[1:]
    for index in rng.choice(len(names), size=objects, replace=False):
        for _ in range(PLACES):
            side = min(sides[rng.integers(len(sides))], width, height)
            x, y = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
            one = Placed(names[index], x, y, side)
            if all(_common(one, other) <= near and abs(one.x - other.x) >= APART for other in placed):
                placed.append(one)
                break
    return _sorted(placed)


def _common(one: Placed, other: Placed) -> int:
    """Return how many tokens deep two objects overlap."""
    across = min(one.x + one.side, other.x + other.side) - max(one.x, other.x)
    down = min(one.y + one.side, other.y + other.side) - max(one.y, other.y)
    return max(0, min(across, down))


def _sorted(placed: Sequence[Placed]) -> tuple[Placed, ...]:
    return tuple(sorted(placed, key=lambda one: one.x))


def ground_of(stack: Stack) -> Canvas:
    """Return the background with nothing before it."""
    height, width = stack.height * TOKEN, stack.width * TOKEN
    along = np.linspace(0, 1, height if stack.upright else width, dtype=np.float32)
    along = along.reshape((height, 1, 1) if stack.upright else (1, width, 1))
    first, last = (np.array(end, dtype=np.float32) for end in stack.ground)
    canvas = np.ones((height, width, 4), dtype=np.float32)
    canvas[..., :3] = first + (last - first) * along
    return canvas


def cut_out(stack: Stack, placed: Sequence[Placed], atlas: Atlas) -> Canvas:
    """Return these objects of the stack together, on clear ground."""
    canvas = np.zeros((stack.height * TOKEN, stack.width * TOKEN, 4), dtype=np.float32)
    for one in placed:
        sprite = atlas.sprite(one.icon, one.side * TOKEN)
        if stack.effect in MATERIALS:
            sprite = made_of(stack.effect, sprite)
        here = canvas[one.y * TOKEN : (one.y + one.side) * TOKEN, one.x * TOKEN : (one.x + one.side) * TOKEN]
        here *= 1 - sprite[..., 3:]
        here += sprite
    return canvas


def over(layers: Sequence[Canvas]) -> Canvas:
    """Return the layers laid over each other, the first at the back."""
    result = layers[0].copy()
    for layer in layers[1:]:
        result *= 1 - layer[..., 3:]
        result += layer
    return result


def taken_apart(stack: Stack, count: int, atlas: Atlas) -> list[Canvas]:
    """Return the right answer in `count` layers, back to front: the background, then an object in each. The last has
    all objects for which there is no layer; layers for which there is no object are clear.
    """
    groups: list[Sequence[Placed]] = [[one] for one in stack.placed[: count - 2]]
    groups.append(stack.placed[count - 2 :])
    groups += [[]] * (count - 1 - len(groups))
    return [ground_of(stack), *(cut_out(stack, group, atlas) for group in groups)]


def to_layer(canvas: Canvas) -> Layer:
    """Round a canvas to bytes."""
    alpha = canvas[..., 3:]
    colours = np.where(alpha > 1e-3, canvas[..., :3] / np.maximum(alpha, 1e-3), 255.0)
    return to_bytes(np.concatenate([colours, alpha * 255], axis=2))
