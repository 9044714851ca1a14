"""What the weights are asked: prompts and edits of pairs of object and background that training never saw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from server.engine import MODELS
from server.miniature.data.edits import SQUARE, Edit, Kind, Stock, draw_edit, tell_edit
from server.miniature.data.prompts import LANGUAGES, tell
from server.miniature.data.scenes import MATERIALS, TOKEN, Layout, Scene, draw_scene
from server.miniature.data.sprites import Atlas
from server.miniature.data.things import BY_ICON

ONE_OBJECT = (Layout.BIG, Layout.BIG, Layout.SMALL, Layout.LEFT, Layout.RIGHT, Layout.TOP, Layout.BOTTOM)
LIKE_ITS_MIRROR = 12.0  # mean difference under which nobody can tell a drawing from its mirror image


@dataclass(frozen=True)
class Prompted:
    """A picture to paint from words."""

    language: str
    prompt: str
    scene: Scene
    seed: int

    @property
    def group(self) -> str:
        """Which row of the table it counts for."""
        if (self.scene.width, self.scene.height) != SQUARE:
            return "other sizes"
        if self.scene.effect in MATERIALS:
            return "gold and silver"
        return {Layout.PAIR: "two objects", Layout.TWO: "counting", Layout.THREE: "counting"}.get(
            self.scene.layout, "one object"
        )


@dataclass(frozen=True)
class Asked:
    """A picture to edit."""

    language: str
    prompt: str
    edit: Edit
    seed: int

    @property
    def group(self) -> str:
        """Which row of the table it counts for."""
        return self.edit.kind.value


Task = Prompted | Asked


def prompts(count: int, group: Sequence[Layout] = ONE_OBJECT, seed: int = 11) -> list[Prompted]:
    """So many prompts in each language for pairs of object and background that training never saw."""
    rng = np.random.default_rng([seed, *b"prompts"])
    tasks = []
    for number in range(count):
        scene = draw_scene(rng, group, unseen=True)
        tasks += [Prompted(language, tell(rng, scene, language), scene, 1000 + number) for language in LANGUAGES]
    return tasks


def harder_prompts(count: int, seed: int = 12) -> list[Prompted]:
    """Beyond one object in a square: so many in each language of two, of counts, of gold and silver, of other sizes."""
    rng = np.random.default_rng([seed, *b"harder"])
    sizes = [(width // TOKEN, height // TOKEN) for width, height in MODELS["miniature"].sizes.values()][1:]
    draws: list[Callable[[int], Scene]] = [
        lambda _: draw_scene(rng, [Layout.PAIR], unseen=True),
        lambda _: draw_scene(rng, [Layout.TWO, Layout.THREE], unseen=True),
        lambda number: replace(_drawing(rng), effect=list(MATERIALS)[number % len(MATERIALS)]),
        lambda number: draw_scene(rng, ONE_OBJECT, sizes[number % len(sizes)], unseen=True),
    ]
    tasks = []
    for draw in draws:
        for number in range(count):
            scene = draw(number)
            tasks += [Prompted(language, tell(rng, scene, language), scene, 5000 + number) for language in LANGUAGES]
    return tasks


def _drawing(rng: np.random.Generator) -> Scene:
    """An object alone that is no text."""
    while True:
        scene = draw_scene(rng, [Layout.BIG, Layout.SMALL], unseen=True)
        if not BY_ICON[scene.icons[0]].text:
            return scene


def edits(count: int, atlas: Atlas, seed: int = 13) -> list[Asked]:
    """So many edits in each language, every kind as often, of pairs that training never saw."""
    rng = np.random.default_rng([seed, *b"edits"])
    kinds = list(Kind)
    tasks = []
    for number in range(count):
        edit = draw_edit(rng, Stock(unseen=True), [kinds[number % len(kinds)]])
        while edit.kind is Kind.FLIP and _is_symmetric(edit.sources[0].icons[0], atlas):
            edit = draw_edit(rng, Stock(unseen=True), [Kind.FLIP])
        tasks += [Asked(language, tell_edit(rng, edit, language), edit, 2000 + number) for language in LANGUAGES]
    return tasks


def _is_symmetric(icon: str, atlas: Atlas) -> bool:
    sprite = atlas.sprite(icon, 6 * TOKEN)
    return float(np.abs(sprite[..., :3] - sprite[:, ::-1, :3]).mean()) < LIKE_ITS_MIRROR
