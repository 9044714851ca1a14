"""How the miniature is trained, at toy length and on plain drawings: no network, no npm."""

import colorsys
import inspect
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from diffusers import QwenImagePipeline
from PIL import Image, ImageDraw

from qwen_image_studio.contract.words import Tier, Way
from qwen_image_studio.models.families.qwen_image_edit import sides_for
from qwen_image_studio.models.table import MODELS, Model, Recipe
from qwen_image_studio.painting.qwen import QwenEngine, open_engine, open_pipeline
from tests.server.conftest import a_plan, painted
from training import build as builder
from training import sheet as sheets
from training.__main__ import STAGES, main
from training.corpus import templates
from training.data.edits import Kind, Stock, draw_edit, other_sizes, tell_edit
from training.data.prompts import LANGUAGES, plural, tell
from training.data.scenes import MATERIALS, TOKEN, Effect, Layout, Scene, arrange, compose, draw_scene, held_out
from training.data.sprites import Atlas
from training.data.tensors import CLASSES, labels_of
from training.data.things import BY_ICON, COLOURS, THINGS
from training.parts import build_text_encoder, build_transformer
from training.stages.attention import PlainAttention, RealAngles, make_seeing
from training.stages.editing import EditStage
from training.stages.encoder import EncoderStage
from training.stages.eyes import EDIT_CLASSES, Eyes, EyesStage, draw_edits, edit_labels
from training.stages.flow import FlowStage, noise_levels, pack
from training.stages.judging import JudgeStage, accuracy, draw_judged
from training.stages.muon import orthogonalise
from training.stages.run import Stage, load_state, random_of, train
from training.stages.table import SceneEncoder, Table, changed_world, draw_told, open_table, world
from training.stages.text import Prompter, tokenizer_of
from training.stages.vae import VaeStage, flatten, inflate, moments_of, pictures_of

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [(width // TOKEN, height // TOKEN) for width, height in MODELS["miniature"].sizes.values()]
STOCK = Stock(world((8, 8), (Layout.PAIR,), pairs=60))
TOYS = ("vae", "text_encoder", "transformer", "judge")


def quiet(line: str) -> None:
    """An echo that says nothing."""


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    """A disc of its own colour for every object; the apple's is red."""
    drawings = {}
    for index, thing in enumerate(THINGS):
        red, green, blue = (int(255 * one) for one in colorsys.hsv_to_rgb(index / len(THINGS), 0.8, 0.9))
        drawing = Image.new("RGBA", (96, 96))
        ImageDraw.Draw(drawing).ellipse((8, 8, 88, 88), (red, green, blue, 255))
        drawings[thing.icon] = drawing
    return Atlas(drawings)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, atlas: Atlas) -> Path:
    """A cache with these drawings, so that nothing is fetched."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "drawings").mkdir()
    for icon, drawing in atlas.drawings.items():
        drawing.save(cache / "drawings" / f"{icon}.png")
    return cache


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, atlas: Atlas) -> Path:
    """A run whose stages were all trained for two steps."""
    folder = tmp_path_factory.mktemp("run")
    for name in TOYS:
        train(open_toy(name, folder, atlas), folder, 2, echo=quiet)
    return folder


def open_toy(name: str, folder: Path, atlas: Atlas) -> Stage:
    """A stage with tiny batches, planned for four steps."""
    if name == "vae":
        return VaeStage(atlas, 0, 4, batch=2, side=32)
    if name == "text_encoder":
        return EncoderStage(folder, 0, 4, batch=4)
    if name == "judge":
        return JudgeStage(atlas, 0, 4, batch=4)
    return FlowStage(folder, toy_table(folder, atlas), 0, 4, batch=2)


def toy_table(folder: Path, atlas: Atlas) -> Table:
    """A few scenes as latents."""
    return open_table(folder, atlas, world((8, 8), (Layout.BIG,))[:3], "toy")


def icons_for(layout: Layout) -> list[str]:
    """As many objects as that layout shows."""
    return ["cat-face", "dog-face"][: {Layout.PAIR: 2, Layout.EMPTY: 0}.get(layout, 1)]


def flat(state: Any) -> list[torch.Tensor]:
    """All tensors of a state, in order."""
    if isinstance(state, torch.Tensor):
        return [state]
    values = state.values() if isinstance(state, Mapping) else state if isinstance(state, list | tuple) else ()
    return [tensor for value in values for tensor in flat(value)]


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


def test_every_prompt_fits_into_what_training_feeds(run: Path) -> None:
    prompter = Prompter(tokenizer_of(run))
    rng = np.random.default_rng(4)
    for language in LANGUAGES:
        prompter.tokens([tell(rng, draw_scene(rng, list(Layout)), language) for _ in range(500)])
    with pytest.raises(ValueError, match="more than 48 tokens"):
        prompter.tokens(["a cat and " * 30])


def test_the_objects_tokens_are_those_that_they_cover(run: Path, atlas: Atlas) -> None:
    scenes = [arrange(Layout.LEFT, ["panda"], "green")]
    encoder = SceneEncoder(run, atlas)
    shown = Table(scenes, torch.zeros(1, 16, 16, 16), encoder).shown(scenes).reshape(8, 8)
    assert not shown[:, 4:].any()
    assert shown[2:6, 0:4].sum() >= 12


def test_flat_kernels_do_what_the_vae_does() -> None:
    flat_vae = flatten(inflate({}))
    with torch.no_grad():
        for value in flat_vae.parameters():
            value.normal_(0, 0.1)
        whole = inflate(flat_vae.state_dict()).eval()
        pictures = torch.rand(1, 3, 16, 16) * 2 - 1
        moments = moments_of(flat_vae, pictures)
        assert torch.allclose(whole.encode(pictures.unsqueeze(2)).latent_dist.parameters[:, :, 0], moments, atol=1e-4)
        decoded = whole.decode(moments[:, :16].unsqueeze(2)).sample[:, :, 0]
        assert torch.allclose(decoded, pictures_of(flat_vae, moments[:, :16]).clamp(-1, 1), atol=1e-4)


def test_plain_attention_is_the_models_own() -> None:
    transformer = build_transformer()
    there = torch.ones(2, 9, dtype=torch.bool)
    there[1, 5:] = False
    asked = {
        "hidden_states": torch.randn(2, 24, 64),
        "encoder_hidden_states": torch.randn(2, 9, 192),
        "encoder_hidden_states_mask": there,
        "timestep": torch.tensor([0.3, 0.8]),
        "img_shapes": [[(1, 4, 6)]] * 2,
        "return_dict": False,
    }
    with torch.no_grad():
        own = transformer(**asked)[0]
        transformer.set_attn_processor(PlainAttention())
        transformer.pos_embed = RealAngles(transformer.pos_embed)
        assert torch.allclose(transformer(**asked)[0], own, atol=1e-5)


def test_flat_patches_are_the_models_own(run: Path) -> None:
    encoder = build_text_encoder(tokenizer_of(run))
    own, patches = encoder.model.visual.patch_embed, torch.randn(5, 1176)
    names = [name for name, _ in encoder.named_parameters()]
    make_seeing(encoder)
    assert torch.allclose(encoder.model.visual.patch_embed(patches), own(patches), atol=1e-4)
    assert [name for name, _ in encoder.named_parameters()] == names


def test_latents_are_packed_as_the_pipelines_do() -> None:
    latents = torch.randn(2, 16, 8, 12)
    assert torch.equal(pack(latents), QwenImagePipeline._pack_latents(latents, 2, 16, 8, 12))


def test_muons_step_has_singular_values_about_one() -> None:
    for shape in ((3, 20, 7), (2, 6, 30)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)).float())
        assert 0.5 < values.min()
        assert values.max() < 1.4


def test_noise_levels_lean_to_noise() -> None:
    levels = noise_levels(random_of(0, "x", 0), 4000)
    assert (float(levels.min()) > 0, float(levels.max()) < 1) == (True, True)
    assert 0.6 < float(levels.mean()) < 0.75


@pytest.mark.parametrize("name", TOYS)
def test_a_resumed_stage_ends_as_one_that_was_never_interrupted(
    name: str, run: Path, atlas: Atlas, tmp_path: Path
) -> None:
    seen: list[str] = []
    resumed = open_toy(name, run, atlas)
    resumed.restore(load_state(run, name)["stage"])
    straight = open_toy(name, run, atlas)
    for number in range(4):
        figures = straight.step(number)
        seen.append(str(figures))
        assert np.isfinite(list(figures.values())).all()
        if number >= 2:
            resumed.step(number)
    assert len(set(seen)) == 4
    ours, theirs = flat(resumed.state()), flat(straight.state())
    assert len(ours) == len(theirs) > 10
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


class Counting:
    """A stage that counts its steps and may do something beside."""

    name = "counting"

    def __init__(self, beside: Callable[[], None] = lambda: None) -> None:
        self.steps: list[int] = []
        self._beside = beside

    def step(self, number: int) -> Mapping[str, float]:
        self.steps.append(number)
        self._beside()
        return {"loss": 1.0}

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.steps = list(state["steps"])


def test_a_run_that_is_told_to_end_goes_on_later(tmp_path: Path) -> None:
    interrupted = Counting(lambda: os.kill(os.getpid(), signal.SIGTERM))
    handler = signal.getsignal(signal.SIGTERM)
    assert train(interrupted, tmp_path, 5, echo=quiet) == 1
    assert signal.getsignal(signal.SIGTERM) is handler
    later = Counting()
    assert train(later, tmp_path, 5, echo=quiet) == 5
    assert later.steps == [0, 1, 2, 3, 4]
    assert train(Counting(), tmp_path, 6, minutes=0, echo=quiet) == 5
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 1


def test_what_a_run_trained_is_built_and_paints(run: Path, miniature: Model, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    assert CliRunner().invoke(main, ["write", "--out", str(folder), "--run", str(run)]).exit_code == 0
    engine = open_engine({miniature.name: replace(miniature, repository=str(folder))}, "cpu")
    assert len(painted(engine)) == 1
    builder.build(tmp_path / "again", run=run)
    for file in folder.rglob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(folder)).read_bytes()


def test_sheets_show_what_was_asked(
    miniature: Model, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "TOLD", sheets.TOLD[:2])
    monkeypatch.setattr(sheets, "OF_EACH_KIND", 1)
    monkeypatch.setattr(sheets, "OF_EACH_SIZE", 1)
    monkeypatch.setitem(
        MODELS, "miniature", replace(miniature, tiers={Tier.QUALITY: Recipe(steps=2, guidance_scale=3.0)})
    )
    out = tmp_path / "sheet.png"
    for kind, rows in (("told", 1), ("edits", 3), ("sizes", 2)):
        lines = list(sheets.paint(kind, Path(miniature.repository), drawn, out))
        with Image.open(out) as sheet:
            assert sheet.size == (8 * 132, rows * 132)
            assert sheet.crop((0, 0, 128, 128)).getcolors() != [(128 * 128, (255, 255, 255))]
        assert len(lines) == {"told": 2, "edits": 22, "sizes": 14}[kind]
    assert [any("一" <= one <= "鿿" for one in prompt) for prompt in sheets.unseen(2)] == [False, True]


def test_a_table_of_other_scenes_is_refused(run: Path, atlas: Atlas) -> None:
    with pytest.raises(RuntimeError, match="other scenes"):
        open_table(run, atlas, world((8, 8), (Layout.BIG,))[:4], "toy")


@pytest.fixture(scope="module")
def table(run: Path, atlas: Atlas) -> Table:
    """Every square scene that an edit may need, with latents that are not worth the work of a VAE."""
    scenes = [*world((8, 8), pairs=60), *changed_world((8, 8))]
    latents = torch.randn(8, 16, 16, 16, generator=torch.Generator().manual_seed(0)).half()
    return Table(scenes, latents[torch.arange(len(scenes)) % 8], SceneEncoder(run, atlas))


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


def editing_pipeline(engine: QwenEngine, model: Model) -> Any:
    """The pipeline with which the engine edits."""
    return open_pipeline(model.family(Way.EDIT), engine._weights.parts(model, model.precision()[0]))


def test_an_edit_is_fed_as_the_pipeline_feeds_it(atlas: Atlas, engine: QwenEngine, miniature: Model) -> None:
    processor = editing_pipeline(engine, miniature).processor
    scenes = [arrange(Layout.BIG, ["red-apple"], "blue"), arrange(Layout.SMALL, ["robot"], "pink")]
    shown = "".join(f"Picture {one}: <|vision_start|><|image_pad|><|vision_end|>" for one in (1, 2))
    theirs = processor(
        text=[templates()["edit"][0].format(shown + "把它变大")],
        images=[Image.fromarray(compose(scene, atlas)) for scene in scenes],
        return_tensors="pt",
    )
    tokens, there = Prompter(processor.tokenizer, "edit").tokens(["把它变大"], [16, 16])
    assert tokens[there].tolist() == theirs["input_ids"][0].tolist()
    assert Eyes(atlas).views(scenes).seen == [16, 16]


@pytest.mark.parametrize("size", SIZES)
def test_a_source_of_a_native_size_is_fed_as_it_is(
    atlas: Atlas, engine: QwenEngine, miniature: Model, size: tuple[int, int]
) -> None:
    model = MODELS["miniature"]
    assert sides_for(model.input_pixels, size[0] / size[1], model.input_grid) == (size[0] * TOKEN, size[1] * TOKEN)
    scene = arrange(Layout.SMALL, ["robot"], "pink", size)
    pipeline = editing_pipeline(engine, miniature)
    seen: list[dict[str, torch.Tensor]] = []
    visual = pipeline.text_encoder.model.visual
    names = list(inspect.signature(visual.forward).parameters)
    hook = visual.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append({**dict(zip(names, args, strict=False)), **kwargs}), with_kwargs=True
    )
    try:
        source = Image.fromarray(compose(scene, atlas))
        list(engine.paint(a_plan(way=Way.EDIT, width=64, height=64), [source]))
    finally:
        hook.remove()
    views = Eyes(atlas).views([scene])
    assert torch.allclose(seen[0][names[0]].float(), views.patches)
    assert seen[0]["grid_thw"].tolist() == views.grids.tolist()


def test_edits_of_a_batch_show_as_many_pictures() -> None:
    rng = np.random.default_rng(0)
    shown = [{len(edit.sources) for edit in draw_edits(rng, number, STOCK, 8)} for number in range(5)]
    assert shown == [{2}, {1}, {1}, {1}, {1}]


def test_every_head_has_its_labels() -> None:
    labels = edit_labels(draw_edits(np.random.default_rng(0), 1, STOCK, 16))
    assert list(labels) == list(EDIT_CLASSES)
    assert all(0 <= int(labels[name].min()) <= int(labels[name].max()) < EDIT_CLASSES[name] for name in labels)


def test_square_scenes_of_edits_are_looked_up_and_others_encoded(table: Table) -> None:
    rng = random_of(0, "edits", 0)
    for _ in range(500):
        edit = draw_edit(rng, Stock(table.pairs))
        assert all(scene in table._numbers for scene in (*edit.sources, edit.target))
    assert set(table._numbers) >= set(draw_told(rng, list(Layout), 500, pairs=table.pairs))
    wide = draw_told(rng, [Layout.BIG], 2, (9, 7))
    assert table.latents(wide).shape == (2, 16, 14, 18)
    assert len(other_sizes()) == 6


def test_eyes_and_edits_resume_as_if_never_interrupted(run: Path, atlas: Atlas, table: Table) -> None:
    def open_eyes() -> EyesStage:
        return EyesStage(run, atlas, STOCK, 0, 6, batch=2)

    def open_edits() -> EditStage:
        return EditStage(run, table, atlas, 0, 6, batch=2)

    for opener in (open_eyes, open_edits):
        train(opener(), run, 1, echo=quiet)  # with two pictures, and prompts beside
        resumed, straight = opener(), opener()
        resumed.restore(load_state(run, resumed.name)["stage"])
        resumed.step(4)
        for number in (0, 4):
            assert np.isfinite(list(straight.step(number).values())).all()
        both = zip(flat(resumed.state()), flat(straight.state()), strict=True)
        assert all(torch.equal(one, other) for one, other in both)


def test_the_judge_tells_discs_apart_once_it_has_learned(atlas: Atlas) -> None:
    stage = JudgeStage(atlas, 0, 60, batch=24)
    for number in range(60):
        stage.step(number)
    figures = accuracy(stage.judge.eval(), atlas, 60)
    assert figures["background"] > 0.7
    assert list(figures) == list(CLASSES)


def test_the_judge_is_asked_about_everything_that_can_be_painted() -> None:
    rng = np.random.default_rng(0)
    scenes = [draw_judged(rng) for _ in range(500)]
    assert {scene.layout for scene in scenes} == set(Layout)
    assert {scene.effect for scene in scenes} == set(Effect)
    unseen = {held_out(icon, scene.colour) for scene in scenes for icon in scene.icons}
    assert unseen == {True, False}


def test_everything_is_built_with_one_command_and_goes_on_where_it_was(drawn: Path, tmp_path: Path) -> None:
    told = ["build", "--toy", "--run", str(tmp_path / "run"), "--cache", str(drawn), "--out", str(tmp_path / "made")]
    first = CliRunner().invoke(main, [*told, "--count", "1"], catch_exceptions=False)
    assert first.exit_code == 0
    for stage in STAGES:
        assert f"{stage}: 2 of 2 steps are done" in first.output
    assert "The judge alone" in first.output
    assert "edits, unseen pairs: all else kept" in first.output
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert {"judge.safetensors", "vocabulary.json", "model_index.json", "transformer"} <= made
    log = (tmp_path / "run" / "log.jsonl").read_text()
    again = CliRunner().invoke(main, [*told, "--count", "0"], catch_exceptions=False)
    assert again.exit_code == 0
    assert (tmp_path / "run" / "log.jsonl").read_text() == log
