"""What the miniature learns from: scenes, edits and the words for them, and how they are drawn."""

from dataclasses import replace

import numpy as np
import pytest

from training.data.edits import Kind, Stock, draw_edit, tell_edit
from training.data.prompts import LANGUAGES, plural, tell
from training.data.scenes import MATERIALS, Effect, Layout, Scene, arrange, compose, draw_scene, held_out
from training.data.sprites import Atlas
from training.data.tensors import CLASSES, labels_of
from training.data.things import BY_ICON, COLOURS, THINGS
from training.stages.eyes import EDIT_CLASSES, draw_edits, edit_labels
from training.stages.table import draw_told, world
from training.tests.conftest import SIZES, STOCK

pytestmark = pytest.mark.usefixtures("one_thread")


def icons_for(layout: Layout) -> list[str]:
    """As many objects as that layout shows."""
    return ["cat-face", "dog-face"][: {Layout.PAIR: 2, Layout.EMPTY: 0}.get(layout, 1)]


def test_a_red_apple_on_blue_is_red_on_blue(atlas: Atlas) -> None:
    pixels = compose(arrange(Layout.BIG, ["red-apple"], "blue"), atlas)
    assert pixels.shape == (128, 128, 3)
    assert tuple(pixels[64, 64]) == (229, 45, 45)
    assert {tuple(pixels[y, x]) for y in (0, -1) for x in (0, -1)} == {COLOURS["blue"].rgb}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", Layout)
def test_objects_stand_inside_and_apart_in_every_format(layout: Layout, size: tuple[int, int]) -> None:
    scene = arrange(layout, icons_for(layout), "red", size)
    taken = np.zeros((size[1], size[0]), dtype=int)
    for one in scene.placed:
        assert 0 <= one.x <= size[0] - one.side
        assert 0 <= one.y <= size[1] - one.side
        taken[one.y : one.y + one.side, one.x : one.x + one.side] += 1
    assert taken.max() <= 1
    assert len(scene.placed) == {Layout.PAIR: 2, Layout.TWO: 2, Layout.THREE: 3, Layout.EMPTY: 0}.get(layout, 1)


def test_scenes_and_prompts_are_the_same_each_time_and_told_right() -> None:
    def draw() -> list[str]:
        rng = np.random.default_rng(3)
        return [tell(rng, draw_scene(rng, list(Layout)), language) for language in LANGUAGES for _ in range(50)]

    assert draw() == draw()
    rng = np.random.default_rng(0)
    scene = arrange(Layout.LEFT, ["panda"], "green")
    for _ in range(50):
        english, chinese = (tell(rng, scene, language) for language in LANGUAGES)
        assert [word in english.lower() for word in ("panda", "green", "left")] == [True] * 3, english
        assert [word in chinese for word in ("熊猫", "绿色", "左")] == [True] * 3, chinese


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("cherry", "cherries"),
        ("slice of pizza", "slices of pizza"),
        ("headphones", "headphones"),
        ("police car", "police cars"),
        ("bus", "buses"),
        ("toy", "toys"),
        ("tomato", "tomatoes"),
    ],
)
def test_more_than_one(one: str, many: str) -> None:
    assert plural(one) == many


def test_every_name_means_one_object() -> None:
    assert sum(not thing.text for thing in THINGS) >= 100
    assert sum(bool(thing.text) for thing in THINGS) >= 3
    assert len(COLOURS) == 12
    for names in ([thing.english for thing in THINGS], [thing.chinese for thing in THINGS]):
        words = [word for one in names for word in one]
        assert len(set(words)) == len(words)


def test_held_out_pairs_are_never_trained_on() -> None:
    pairs = [(thing.icon, colour) for thing in THINGS for colour in COLOURS]
    assert 0.05 < sum(held_out(*pair) for pair in pairs) / len(pairs) < 0.12
    rng = np.random.default_rng(0)
    trained = world((8, 8), pairs=300) + [draw_scene(rng, list(Layout)) for _ in range(1000)]
    assert not [scene for scene in trained for icon in scene.icons if held_out(icon, scene.colour)]
    assert all(held_out(s.icons[0], s.colour) for s in (draw_scene(rng, [Layout.BIG], unseen=True) for _ in range(50)))


def test_labels_name_what_the_scene_shows() -> None:
    scenes = [arrange(Layout.PAIR, ["cat-face", "dog-face"], "white"), arrange(Layout.BIG, ["robot"], "red")]
    icons = [thing.icon for thing in THINGS]
    assert {name: labels.tolist() for name, labels in labels_of(scenes).items()} == {
        "object": [icons.index("cat-face"), icons.index("robot")],
        "second": [icons.index("dog-face"), len(icons)],
        "background": [list(COLOURS).index("white"), 0],
        "layout": [list(Layout).index(Layout.PAIR), 0],
        "effect": [0, 0],
    }
    empty = labels_of([arrange(Layout.EMPTY, [], "white")])
    assert (int(empty["object"]), int(empty["second"])) == (len(icons), len(icons))
    assert list(CLASSES) == list(labels_of(scenes))


@pytest.mark.parametrize("stock", [STOCK, Stock(), Stock(unseen=True), Stock(size=(6, 11)), Stock(size=(9, 7))])
@pytest.mark.parametrize("kind", Kind)
def test_an_edit_changes_what_it_says_and_nothing_else(kind: Kind, stock: Stock) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        edit = draw_edit(rng, stock, [kind])
        before, after = edit.sources[0], edit.target
        assert edit.kind is kind
        assert len(edit.sources) == (2 if kind is Kind.JOIN else 1)
        scenes = (*edit.sources, after)
        assert {(scene.width, scene.height) for scene in scenes} == {stock.size}
        assert all(held_out(icon, scene.colour) is stock.unseen for scene in scenes for icon in scene.icons)
        changed = {
            "icons": before.icons != after.icons,
            "colour": before.colour != after.colour,
            "layout": before.layout is not after.layout,
            "effect": before.effect is not after.effect,
        }
        assert {name for name, value in changed.items() if value} == {
            Kind.BACKGROUND: {"colour"},
            Kind.REPLACE: {"icons"},
            Kind.REMOVE: {"icons", "layout"},
            Kind.ADD: {"icons", "layout"},
            Kind.BIGGER: {"layout"},
            Kind.SMALLER: {"layout"},
            Kind.MOVE: {"layout"},
            Kind.MATERIAL: {"effect"},
            Kind.GRAYSCALE: {"effect"},
            Kind.FLIP: {"effect"},
            Kind.JOIN: {"icons", "layout"},
        }[kind]
        # What stays of a pair stays where it was.
        if kind in {Kind.ADD, Kind.REMOVE} and Layout.EMPTY not in {before.layout, after.layout}:
            assert set(before.placed) & set(after.placed)


def test_an_edit_is_told_right() -> None:
    rng = np.random.default_rng(2)
    panda, both = arrange(Layout.LEFT, ["panda"], "green"), arrange(Layout.PAIR, ["panda", "robot"], "green")
    for _ in range(30):
        for source, target, kind, words in (
            (panda, both, Kind.ADD, {"en": ("robot", "right"), "zh": ("机器人", "右")}),
            (both, panda, Kind.REMOVE, {"en": ("robot",), "zh": ("机器人",)}),
        ):
            edit = draw_edit(rng, STOCK, [kind])
            edit = type(edit)(kind, (source,), target)
            for language in LANGUAGES:
                told = tell_edit(rng, edit, language)
                assert all(word in told for word in words[language]), told
                assert ("panda" in told.lower()) + ("熊猫" in told) == 0, told


def test_nothing_is_removed_from_or_added_to_an_empty_picture_but_what_is_named() -> None:
    rng = np.random.default_rng(5)
    full, empty = arrange(Layout.BIG, ["panda"], "green"), arrange(Layout.EMPTY, [], "green")
    assert "panda" in tell_edit(rng, type(draw_edit(rng, STOCK))(Kind.REMOVE, (full,), empty), "en")
    left = arrange(Layout.LEFT, ["panda"], "green")
    told = tell_edit(rng, type(draw_edit(rng, STOCK))(Kind.ADD, (empty,), left), "zh")
    assert all(word in told for word in ("熊猫", "左")), told


def test_materials_are_told_and_drawn(atlas: Atlas) -> None:
    rng = np.random.default_rng(6)
    plain = arrange(Layout.BIG, ["panda"], "green")
    golden = replace(plain, effect=Effect.GOLDEN)
    assert any(word in tell(rng, golden, "zh") for word in ("金色", "黄金", "金子"))
    assert "gold" in tell(rng, golden, "en").lower()
    red, green, blue = (int(one) for one in compose(golden, atlas)[64, 64])
    assert red > green > blue + 40
    assert tuple(compose(golden, atlas)[0, 0]) == COLOURS["green"].rgb
    drawn = draw_told(rng, list(Layout), 400)
    assert {Effect.NONE, *MATERIALS} == {scene.effect for scene in drawn}
    assert not [scene for scene in drawn if scene.effect in MATERIALS and BY_ICON[scene.icons[0]].text]


def test_gray_and_mirrored_scenes_are(atlas: Atlas) -> None:
    gray, mirrored = (
        compose(Scene(8, 8, "blue", Layout.LEFT, arrange(Layout.LEFT, ["red-apple"], "blue").placed, effect), atlas)
        for effect in (Effect.GRAY, Effect.MIRRORED)
    )
    assert (gray[..., :1] == gray).all()
    assert tuple(mirrored[64, 96]) == (229, 45, 45)
    assert tuple(mirrored[64, 32]) == COLOURS["blue"].rgb


def test_edits_of_a_batch_show_as_many_pictures() -> None:
    rng = np.random.default_rng(0)
    shown = [{len(edit.sources) for edit in draw_edits(rng, number, STOCK, 8)} for number in range(5)]
    assert shown == [{2}, {1}, {1}, {1}, {1}]


def test_every_head_has_its_labels() -> None:
    labels = edit_labels(draw_edits(np.random.default_rng(0), 1, STOCK, 16))
    assert list(labels) == list(EDIT_CLASSES)
    assert all(0 <= int(labels[name].min()) <= int(labels[name].max()) < EDIT_CLASSES[name] for name in labels)
