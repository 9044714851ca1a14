"""Edits: one or two pictures, what somebody asks to be changed, and what the picture is then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from qwen_image_studio.models.table import MODELS
from training.data.instructions import Wish, instruct
from training.data.scenes import MATERIALS, TOKEN, Effect, Layout, Scene, arrange, draw_scene, held_out
from training.data.things import BY_ICON, COLOURS, THINGS

SQUARE = (8, 8)  # width and height in tokens
PLACES = (Layout.LEFT, Layout.RIGHT, Layout.TOP, Layout.BOTTOM, Layout.SMALL)
ALONE = (Layout.BIG, Layout.BIG, Layout.SMALL, Layout.LEFT, Layout.RIGHT)
"""Layouts of the pictures with one object."""
TO_EMPTY = 0.3  # share of removals that take the only object, and of additions that begin with nothing


def other_sizes() -> list[tuple[int, int]]:
    """Widths and heights in tokens of the miniature's native sizes that are not square."""
    sizes = [(width // TOKEN, height // TOKEN) for width, height in MODELS["miniature"].sizes.values()]
    return [size for size in sizes if size != SQUARE]


class Kind(StrEnum):
    """The kind of an edit."""

    BACKGROUND = "background"
    REPLACE = "replace"
    REMOVE = "remove"
    ADD = "add"
    BIGGER = "bigger"
    SMALLER = "smaller"
    MOVE = "move"
    MATERIAL = "material"
    """Give the object a material: gold or silver."""
    GRAYSCALE = "grayscale"
    FLIP = "flip"
    JOIN = "join"
    """Put the object of the second picture beside that of the first."""


@dataclass(frozen=True)
class Edit:
    """Pictures before and after."""

    kind: Kind
    sources: tuple[Scene, ...]
    target: Scene


@dataclass(frozen=True)
class Stock:
    """The stock from which edits take their pictures."""

    pairs: Sequence[Scene] = ()
    """Scenes with two objects; without any, new ones are drawn."""
    size: tuple[int, int] = SQUARE
    unseen: bool = False
    """Whether to take only pairs of object and background that training never sees, before and after the edit."""

    def alone(self, rng: np.random.Generator, layouts: Sequence[Layout] = ALONE) -> Scene:
        """Return a scene with one object."""
        return draw_scene(rng, layouts, self.size, unseen=self.unseen)

    def pair(self, rng: np.random.Generator) -> Scene:
        """Return a scene with two objects."""
        if not self.pairs:
            return draw_scene(rng, [Layout.PAIR], self.size, unseen=self.unseen)
        return self.pairs[int(rng.integers(len(self.pairs)))]

    def colours(self, icon: str) -> list[str]:
        """Backgrounds on which the object may stand."""
        return [colour for colour in COLOURS if held_out(icon, colour) is self.unseen]

    def icons(self, colour: str) -> list[str]:
        """Objects that may stand on the background."""
        return [thing.icon for thing in THINGS if held_out(thing.icon, colour) is self.unseen]


Maker = Callable[[np.random.Generator, Stock], Edit | None]
"""Draws an edit; None where what it drew leaves nothing to ask for."""


def draw_edit(rng: np.random.Generator, stock: Stock, kinds: Sequence[Kind] = tuple(Kind)) -> Edit:
    """Return a random edit."""
    kind = kinds[int(rng.integers(len(kinds)))]
    while True:
        edit = _MAKERS[kind](rng, stock)
        if edit is not None:
            return edit


def tell_edit(rng: np.random.Generator, edit: Edit, language: str) -> str:
    """Return a random way to ask for the edit."""
    before, after = edit.sources[0], edit.target
    new = [icon for icon in after.icons if icon not in before.icons]
    gone = [icon for icon in before.icons if icon not in after.icons]
    other = (new or gone or before.icons)[0]
    standing = after if new else before
    place = after.layout
    if len(standing.icons) > 1:
        place = Layout.LEFT if standing.icons[0] == other else Layout.RIGHT
    old = gone[0] if edit.kind is Kind.REPLACE else (before.icons or after.icons)[0]
    return instruct(rng, Wish(edit.kind.value, old, other, after.colour, place, after.effect), language)


def _any(rng: np.random.Generator, choices: Sequence[str]) -> str | None:
    return choices[int(rng.integers(len(choices)))] if choices else None


def _other_colour(rng: np.random.Generator, stock: Stock) -> Edit | None:
    source = stock.alone(rng)
    colour = _any(rng, [one for one in stock.colours(source.icons[0]) if one != source.colour])
    return (colour and Edit(Kind.BACKGROUND, (source,), replace(source, colour=colour))) or None


def _other_object(rng: np.random.Generator, stock: Stock) -> Edit | None:
    source = stock.alone(rng)
    icon = _any(rng, [one for one in stock.icons(source.colour) if one != source.icons[0]])
    return (icon and Edit(Kind.REPLACE, (source,), arrange(source.layout, [icon], source.colour, stock.size))) or None


def one_of_pair(pair: Scene, kept: int) -> Scene:
    """Return a pair with one of its two objects left: the left one for 0, the right one for 1."""
    return replace(pair, layout=(Layout.LEFT, Layout.RIGHT)[kept], placed=(pair.placed[kept],))


def _emptied(scene: Scene) -> Scene:
    return replace(scene, layout=Layout.EMPTY, placed=())


def _without(rng: np.random.Generator, stock: Stock) -> Edit:
    if rng.random() < TO_EMPTY:
        source = stock.alone(rng)
        return Edit(Kind.REMOVE, (source,), _emptied(source))
    pair = stock.pair(rng)
    return Edit(Kind.REMOVE, (pair,), one_of_pair(pair, int(rng.integers(2))))


def _with(rng: np.random.Generator, stock: Stock) -> Edit:
    if rng.random() < TO_EMPTY:
        target = stock.alone(rng, PLACES)
        return Edit(Kind.ADD, (_emptied(target),), target)
    pair = stock.pair(rng)
    return Edit(Kind.ADD, (one_of_pair(pair, int(rng.integers(2))),), pair)


def _joined(rng: np.random.Generator, stock: Stock) -> Edit | None:
    pair = stock.pair(rng)
    sources = []
    for number, icon in enumerate(pair.icons):
        colour = pair.colour if number == 0 else _any(rng, stock.colours(icon))
        if colour is None:
            return None
        sources.append(arrange((Layout.BIG, Layout.SMALL)[int(rng.integers(2))], [icon], colour, stock.size))
    return Edit(Kind.JOIN, tuple(sources), pair)


def _resized(kind: Kind, before: Layout, after: Layout) -> Maker:
    def make(rng: np.random.Generator, stock: Stock) -> Edit:
        source = stock.alone(rng, [before])
        return Edit(kind, (source,), arrange(after, source.icons, source.colour, stock.size))

    return make


def _moved(rng: np.random.Generator, stock: Stock) -> Edit | None:
    before, after = rng.choice(len(PLACES), size=2, replace=False)
    source = stock.alone(rng, [PLACES[int(before)]])
    target = arrange(PLACES[int(after)], source.icons, source.colour, stock.size)
    return None if target.placed == source.placed else Edit(Kind.MOVE, (source,), target)


def _changed(kind: Kind, effects: Sequence[Effect]) -> Maker:
    def make(rng: np.random.Generator, stock: Stock) -> Edit | None:
        source = stock.alone(rng, [Layout.BIG, Layout.SMALL])
        effect = effects[int(rng.integers(len(effects)))]
        if effect in MATERIALS and BY_ICON[source.icons[0]].text:
            return None
        return Edit(kind, (source,), replace(source, effect=effect))

    return make


_MAKERS: dict[Kind, Maker] = {
    Kind.BACKGROUND: _other_colour,
    Kind.REPLACE: _other_object,
    Kind.REMOVE: _without,
    Kind.ADD: _with,
    Kind.BIGGER: _resized(Kind.BIGGER, Layout.SMALL, Layout.BIG),
    Kind.SMALLER: _resized(Kind.SMALLER, Layout.BIG, Layout.SMALL),
    Kind.MOVE: _moved,
    Kind.MATERIAL: _changed(Kind.MATERIAL, tuple(MATERIALS)),
    Kind.GRAYSCALE: _changed(Kind.GRAYSCALE, (Effect.GRAY,)),
    Kind.FLIP: _changed(Kind.FLIP, (Effect.MIRRORED,)),
    Kind.JOIN: _joined,
}
