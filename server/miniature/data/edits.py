"""Edits: one or two pictures, what somebody asks to be changed, and what the picture is then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from server.miniature.data.instructions import instruct
from server.miniature.data.scenes import Effect, Layout, Scene, arrange, draw_scene, held_out
from server.miniature.data.things import COLOURS, THINGS

PLACES = (Layout.LEFT, Layout.RIGHT, Layout.TOP, Layout.BOTTOM, Layout.SMALL)
ALONE = (Layout.BIG, Layout.BIG, Layout.SMALL, Layout.LEFT, Layout.RIGHT)
"""What pictures with one object are drawn from."""


class Kind(StrEnum):
    """What is asked."""

    BACKGROUND = "background"
    REPLACE = "replace"
    REMOVE = "remove"
    ADD = "add"
    BIGGER = "bigger"
    SMALLER = "smaller"
    MOVE = "move"
    GRAYSCALE = "grayscale"
    FLIP = "flip"
    JOIN = "join"
    """The object of the second picture beside the one of the first."""


@dataclass(frozen=True)
class Edit:
    """Pictures before and after."""

    kind: Kind
    sources: tuple[Scene, ...]
    target: Scene


def draw_edit(rng: np.random.Generator, pairs: Sequence[Scene], kinds: Sequence[Kind] = tuple(Kind)) -> Edit:
    """A random edit. Scenes with two objects come from `pairs`; the others are any that training may see."""
    kind = kinds[int(rng.integers(len(kinds)))]
    return _MAKERS[kind](rng, pairs)


def tell_edit(rng: np.random.Generator, edit: Edit, language: str) -> str:
    """One of the ways to ask for it."""
    before, after = edit.sources[0], edit.target
    new = [icon for icon in after.icons if icon not in before.icons]
    gone = [icon for icon in before.icons if icon not in after.icons]
    other = (new or gone or before.icons)[0]
    standing = after if new else before
    place = after.layout
    if len(standing.icons) > 1:
        place = Layout.LEFT if standing.icons[0] == other else Layout.RIGHT
    old = gone[0] if edit.kind is Kind.REPLACE else before.icons[0]
    return instruct(rng, edit.kind.value, language, old, other, after.colour, place)


def _alone(rng: np.random.Generator, layouts: Sequence[Layout] = ALONE) -> Scene:
    return draw_scene(rng, layouts)


def _pair(rng: np.random.Generator, pairs: Sequence[Scene]) -> Scene:
    return pairs[int(rng.integers(len(pairs)))]


def _other_colour(rng: np.random.Generator, pairs: Sequence[Scene]) -> Edit:
    source = _alone(rng)
    open_to = [one for one in COLOURS if one != source.colour and not held_out(source.icons[0], one)]
    target = replace(source, colour=open_to[int(rng.integers(len(open_to)))])
    return Edit(Kind.BACKGROUND, (source,), target)


def _other_object(rng: np.random.Generator, pairs: Sequence[Scene]) -> Edit:
    source = _alone(rng)
    open_to = [one.icon for one in THINGS if one.icon != source.icons[0] and not held_out(one.icon, source.colour)]
    icon = open_to[int(rng.integers(len(open_to)))]
    return Edit(Kind.REPLACE, (source,), arrange(source.layout, [icon], source.colour))


def _one_of(rng: np.random.Generator, pair: Scene) -> Scene:
    """The pair without one of its objects."""
    kept = int(rng.integers(2))
    return arrange((Layout.LEFT, Layout.RIGHT)[kept], [pair.icons[kept]], pair.colour)


def _without(rng: np.random.Generator, pairs: Sequence[Scene]) -> Edit:
    pair = _pair(rng, pairs)
    return Edit(Kind.REMOVE, (pair,), _one_of(rng, pair))


def _with(rng: np.random.Generator, pairs: Sequence[Scene]) -> Edit:
    pair = _pair(rng, pairs)
    return Edit(Kind.ADD, (_one_of(rng, pair),), pair)


def _joined(rng: np.random.Generator, pairs: Sequence[Scene]) -> Edit:
    pair = _pair(rng, pairs)
    sources = []
    for number, icon in enumerate(pair.icons):
        colours = [pair.colour] if number == 0 else [one for one in COLOURS if not held_out(icon, one)]
        layout = (Layout.BIG, Layout.SMALL)[int(rng.integers(2))]
        sources.append(arrange(layout, [icon], colours[int(rng.integers(len(colours)))]))
    return Edit(Kind.JOIN, tuple(sources), pair)


def _resized(kind: Kind, before: Layout, after: Layout) -> Callable[[np.random.Generator, Sequence[Scene]], Edit]:
    def make(rng: np.random.Generator, pairs: Sequence[Scene]) -> Edit:
        source = _alone(rng, [before])
        return Edit(kind, (source,), arrange(after, source.icons, source.colour))

    return make


def _moved(rng: np.random.Generator, pairs: Sequence[Scene]) -> Edit:
    before, after = rng.choice(len(PLACES), size=2, replace=False)
    source = _alone(rng, [PLACES[int(before)]])
    return Edit(Kind.MOVE, (source,), arrange(PLACES[int(after)], source.icons, source.colour))


def _changed(kind: Kind, effect: Effect) -> Callable[[np.random.Generator, Sequence[Scene]], Edit]:
    def make(rng: np.random.Generator, pairs: Sequence[Scene]) -> Edit:
        source = _alone(rng, [Layout.BIG, Layout.SMALL])
        return Edit(kind, (source,), replace(source, effect=effect))

    return make


_MAKERS: dict[Kind, Callable[[np.random.Generator, Sequence[Scene]], Edit]] = {
    Kind.BACKGROUND: _other_colour,
    Kind.REPLACE: _other_object,
    Kind.REMOVE: _without,
    Kind.ADD: _with,
    Kind.BIGGER: _resized(Kind.BIGGER, Layout.SMALL, Layout.BIG),
    Kind.SMALLER: _resized(Kind.SMALLER, Layout.BIG, Layout.SMALL),
    Kind.MOVE: _moved,
    Kind.GRAYSCALE: _changed(Kind.GRAYSCALE, Effect.GRAY),
    Kind.FLIP: _changed(Kind.FLIP, Effect.MIRRORED),
    Kind.JOIN: _joined,
}
