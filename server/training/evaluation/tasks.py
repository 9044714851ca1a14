"""What the weights are asked: prompts and edits of pairs of object and background that training never saw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.data.edits import SQUARE, Edit, Kind, Stock, draw_edit, other_sizes, tell_edit
from training.data.prompts import LANGUAGES, tell
from training.data.scenes import MATERIALS, Effect, Layout, Scene, compose, draw_scene
from training.data.sprites import Atlas
from training.data.things import BY_ICON

ONE_OBJECT = (Layout.BIG, Layout.BIG, Layout.SMALL, Layout.LEFT, Layout.RIGHT, Layout.TOP, Layout.BOTTOM)
SHOWS = 14.0  # mean difference of 255, over an object's square, from which two pictures can be told apart


@dataclass(frozen=True)
class Prompted:
    """A picture to paint from words."""

    language: str
    prompt: str
    scene: Scene
    seed: int

    @property
    def group(self) -> str:
        """Return the name of the row of the table in which the task counts."""
        if (self.scene.width, self.scene.height) != SQUARE:
            return "other sizes"
        if self.scene.effect in MATERIALS:
            return "gold and silver"
        return {Layout.PAIR: "two objects", Layout.TWO: "counting", Layout.THREE: "counting"}.get(
            self.scene.layout, "one object"
        )

    @property
    def shown(self) -> tuple[str, ...]:
        """Icons of what it is about."""
        return self.scene.icons


@dataclass(frozen=True)
class Asked:
    """A picture to edit."""

    language: str
    prompt: str
    edit: Edit
    seed: int

    @property
    def group(self) -> str:
        """Return the name of the row of the table in which the task counts."""
        return self.edit.kind.value

    @property
    def shown(self) -> tuple[str, ...]:
        """Icons of what it is about."""
        return tuple(icon for scene in (*self.edit.sources, self.edit.target) for icon in scene.icons)


Task = Prompted | Asked


def prompts(count: int, group: Sequence[Layout] = ONE_OBJECT, seed: int = 11) -> list[Prompted]:
    """So many prompts in each language for pairs of object and background that training never saw."""
    rng = np.random.default_rng([seed, *b"prompts"])
    tasks = []
    for number in range(count):
        scene = draw_scene(rng, group, unseen=True)
        tasks += [Prompted(language, tell(rng, scene, language), scene, 1000 + number) for language in LANGUAGES]
    return tasks


def harder_prompts(count: int, atlas: Atlas, seed: int = 12) -> list[Prompted]:
    """Return harder tasks: two objects, counts, gold and silver, other sizes; `count` of each in each language."""
    rng = np.random.default_rng([seed, *b"harder"])
    sizes = other_sizes()
    draws: list[Callable[[int], Scene]] = [
        lambda _: draw_scene(rng, [Layout.PAIR], unseen=True),
        lambda _: draw_scene(rng, [Layout.TWO, Layout.THREE], unseen=True),
        lambda number: _of_material(rng, list(MATERIALS)[number % len(MATERIALS)], atlas),
        lambda number: draw_scene(rng, ONE_OBJECT, sizes[number % len(sizes)], unseen=True),
    ]
    tasks = []
    for draw in draws:
        for number in range(count):
            scene = draw(number)
            tasks += [Prompted(language, tell(rng, scene, language), scene, 5000 + number) for language in LANGUAGES]
    return tasks


def _of_material(rng: np.random.Generator, material: Effect, atlas: Atlas) -> Scene:
    """Return a scene of one object, not a text, that visibly is of gold or silver."""
    while True:
        scene = draw_scene(rng, [Layout.BIG, Layout.SMALL], unseen=True)
        made = replace(scene, effect=material)
        if not BY_ICON[scene.icons[0]].text and _is_other(scene, made, atlas):
            return made


def edits(count: int, atlas: Atlas, seed: int = 13) -> list[Asked]:
    """So many edits in each language, every kind as often, of pairs that training never saw."""
    rng = np.random.default_rng([seed, *b"edits"])
    kinds = list(Kind)
    tasks = []
    for number in range(count):
        edit = draw_edit(rng, Stock(unseen=True), [kinds[number % len(kinds)]])
        while not _shows(edit, atlas):
            edit = draw_edit(rng, Stock(unseen=True), [edit.kind])
        tasks += [Asked(language, tell_edit(rng, edit, language), edit, 2000 + number) for language in LANGUAGES]
    return tasks


def _shows(edit: Edit, atlas: Atlas) -> bool:
    """Return whether a viewer could tell that the edit was made."""
    effects = {Kind.FLIP, Kind.GRAYSCALE, Kind.MATERIAL}
    return edit.kind not in effects or _is_other(edit.sources[0], edit.target, atlas)


def _is_other(one: Scene, other: Scene, atlas: Atlas) -> bool:
    """Return whether the two can be told apart: some objects equal their mirror image, some are gray or silver."""
    pixels = [compose(scene, atlas).astype(np.float32) for scene in (one, other)]
    covered = sum(placed.side**2 for placed in one.placed) / (one.width * one.height)
    return float(np.abs(pixels[0] - pixels[1]).mean()) > SHOWS * covered
