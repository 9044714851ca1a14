"""How the miniature is trained, at toy length and on plain drawings: no network, no npm."""

import colorsys
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

from server.engine import MODELS, Model
from server.engine.qwen import QwenEngine, open_engine
from server.miniature import build as builder
from server.miniature.__main__ import STAGES, main
from server.miniature.corpus import templates
from server.miniature.data.edits import Kind, draw_edit, tell_edit
from server.miniature.data.prompts import LANGUAGES, plural, tell
from server.miniature.data.scenes import TOKEN, Effect, Layout, Scene, arrange, compose, draw_scene, held_out
from server.miniature.data.sprites import Atlas
from server.miniature.data.things import COLOURS, THINGS
from server.miniature.parts import build_transformer
from server.miniature.sheet import paint_edits, paint_sheet, unseen
from server.miniature.training.attention import PlainAttention, RealAngles
from server.miniature.training.editing import EditStage, FormatStage
from server.miniature.training.encoder import CLASSES, EncoderStage, labels_of
from server.miniature.training.eyes import EDIT_CLASSES, Eyes, EyesStage, draw_edits, edit_labels
from server.miniature.training.flow import FlowStage, noise_levels, pack
from server.miniature.training.muon import orthogonalise
from server.miniature.training.run import Stage, load_state, random_of, train
from server.miniature.training.table import Table, changed_world, open_table, world
from server.miniature.training.text import Prompter, tokenizer_of
from server.miniature.training.vae import VaeStage, flatten, inflate, moments_of, pictures_of
from server.vocabulary import Operation
from tests.server.conftest import painted

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [(width // TOKEN, height // TOKEN) for width, height in MODELS["miniature"].sizes.values()]

PAIRS = world((8, 8), (Layout.PAIR,), pairs=60)


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
def run(tmp_path_factory: pytest.TempPathFactory, atlas: Atlas) -> Path:
    """A run whose stages were all trained for two steps."""
    folder = tmp_path_factory.mktemp("run")
    for name in STAGES[:3]:
        train(open_toy(name, folder, atlas), folder, 2, echo=quiet)
    return folder


def open_toy(name: str, folder: Path, atlas: Atlas) -> Stage:
    """A stage with tiny batches, planned for four steps."""
    if name == "vae":
        return VaeStage(atlas, 0, 4, batch=2, side=32)
    if name == "text_encoder":
        return EncoderStage(folder, 0, 4, batch=4)
    return FlowStage(folder, toy_table(folder, atlas), 0, 4, batch=2)


def toy_table(folder: Path, atlas: Atlas) -> Table:
    """A few scenes as latents."""
    return open_table(folder, atlas, world((8, 8), (Layout.BIG,))[:3], "toy")


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
    scene = arrange(layout, ["cat-face", "dog-face"][: 2 if layout is Layout.PAIR else 1], "red", size)
    taken = np.zeros((size[1], size[0]), dtype=int)
    for one in scene.placed:
        assert 0 <= one.x <= size[0] - one.side
        assert 0 <= one.y <= size[1] - one.side
        taken[one.y : one.y + one.side, one.x : one.x + one.side] += 1
    assert taken.max() == 1
    assert len(scene.placed) == {Layout.PAIR: 2, Layout.TWO: 2, Layout.THREE: 3}.get(layout, 1)


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
    assert len(THINGS) >= 100
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
    }
    assert list(CLASSES) == list(labels_of(scenes))


def test_every_prompt_fits_into_what_training_feeds(run: Path) -> None:
    prompter = Prompter(tokenizer_of(run))
    rng = np.random.default_rng(4)
    for language in LANGUAGES:
        prompter.tokens([tell(rng, draw_scene(rng, list(Layout)), language) for _ in range(500)])
    with pytest.raises(ValueError, match="more than 40 tokens"):
        prompter.tokens(["a cat and " * 20])


def test_the_objects_tokens_are_those_that_they_cover(atlas: Atlas) -> None:
    scenes = [arrange(Layout.LEFT, ["panda"], "green")]
    shown = Table(scenes, torch.zeros(1, 16, 16, 16), atlas).objects(0)
    assert shown.shape == (8, 8)
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


@pytest.mark.parametrize("name", STAGES[:3])
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
    assert CliRunner().invoke(main, ["build", "--out", str(folder), "--run", str(run)]).exit_code == 0
    engine = open_engine({miniature.name: replace(miniature, repository=str(folder))}, "cpu")
    assert len(painted(engine)) == 1
    builder.build(tmp_path / "again", run=run)
    for file in folder.rglob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(folder)).read_bytes()


def test_a_sheet_has_every_prompts_picture(miniature: Model, atlas: Atlas, tmp_path: Path) -> None:
    prompts = unseen(2)
    paint_sheet(Path(miniature.repository), tmp_path / "sheet.png", prompts, steps=2)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 132, 132)
        white = [sheet.crop((x, 0, x + 128, 128)).getcolors() == [(128 * 128, (255, 255, 255))] for x in (0, 132, 264)]
    assert white == [False, False, True]
    told = paint_edits(Path(miniature.repository), tmp_path / "edits.png", atlas, count=2, steps=2)
    assert (len(told), len(set(told))) == (4, 2)
    with Image.open(tmp_path / "edits.png") as sheet:
        assert sheet.size == (8 * 132, 132)
    assert [any("一" <= one <= "鿿" for one in prompt) for prompt in prompts] == [False, True]


def test_a_table_of_other_scenes_is_refused(run: Path, atlas: Atlas) -> None:
    with pytest.raises(RuntimeError, match="other scenes"):
        open_table(run, atlas, world((8, 8), (Layout.BIG,))[:4], "toy")


@pytest.fixture(scope="module")
def table(atlas: Atlas) -> Table:
    """Every scene that an edit may need, with latents that are not worth the work of a VAE."""
    scenes = [*world((8, 8), pairs=60), *changed_world((8, 8))]
    latents = torch.randn(8, 16, 16, 16, generator=torch.Generator().manual_seed(0)).half()
    return Table(scenes, latents[torch.arange(len(scenes)) % 8], atlas)


@pytest.mark.parametrize("kind", Kind)
def test_an_edit_changes_what_it_says_and_nothing_else(kind: Kind) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        edit = draw_edit(rng, PAIRS, [kind])
        before, after = edit.sources[0], edit.target
        assert edit.kind is kind
        assert len(edit.sources) == (2 if kind is Kind.JOIN else 1)
        assert not any(held_out(icon, scene.colour) for scene in (*edit.sources, after) for icon in scene.icons)
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
            Kind.GRAYSCALE: {"effect"},
            Kind.FLIP: {"effect"},
            Kind.JOIN: {"icons", "layout"},
        }[kind]
        # What stays of a pair stays where it was.
        if kind in {Kind.ADD, Kind.REMOVE}:
            assert set(before.placed) & set(after.placed)


def test_an_edit_is_told_right() -> None:
    rng = np.random.default_rng(2)
    panda, both = arrange(Layout.LEFT, ["panda"], "green"), arrange(Layout.PAIR, ["panda", "robot"], "green")
    for _ in range(30):
        for source, target, kind, words in (
            (panda, both, Kind.ADD, {"en": ("robot", "right"), "zh": ("机器人", "右")}),
            (both, panda, Kind.REMOVE, {"en": ("robot",), "zh": ("机器人",)}),
        ):
            edit = draw_edit(rng, PAIRS, [kind])
            edit = type(edit)(kind, (source,), target)
            for language in LANGUAGES:
                told = tell_edit(rng, edit, language)
                assert all(word in told for word in words[language]), told
                assert ("panda" in told.lower()) + ("熊猫" in told) == 0, told


def test_gray_and_mirrored_scenes_are(atlas: Atlas) -> None:
    gray, mirrored = (
        compose(Scene(8, 8, "blue", Layout.LEFT, arrange(Layout.LEFT, ["red-apple"], "blue").placed, effect), atlas)
        for effect in (Effect.GRAY, Effect.MIRRORED)
    )
    assert (gray[..., :1] == gray).all()
    assert tuple(mirrored[64, 96]) == (229, 45, 45)
    assert tuple(mirrored[64, 32]) == COLOURS["blue"].rgb


def test_an_edit_is_fed_as_the_pipeline_feeds_it(atlas: Atlas, engine: QwenEngine, miniature: Model) -> None:
    engine.load(miniature.name)
    processor = engine._open_view(miniature, Operation.EDIT).processor
    scenes = [arrange(Layout.BIG, ["red-apple"], "blue"), arrange(Layout.SMALL, ["robot"], "pink")]
    shown = "".join(f"Picture {one}: <|vision_start|><|image_pad|><|vision_end|>" for one in (1, 2))
    theirs = processor(
        text=[templates()["edit"][0].format(shown + "把它变大")],
        images=[Image.fromarray(compose(scene, atlas)) for scene in scenes],
        return_tensors="pt",
    )
    tokens, there = Prompter(processor.tokenizer, "edit").tokens(["把它变大"], pictures=2)
    assert tokens[there].tolist() == theirs["input_ids"][0].tolist()
    assert torch.equal(Eyes(atlas).patches(scenes), theirs["pixel_values"])


def test_edits_of_a_batch_show_as_many_pictures() -> None:
    rng = np.random.default_rng(0)
    shown = [{len(edit.sources) for edit in draw_edits(rng, number, PAIRS, 8)} for number in range(5)]
    assert shown == [{2}, {1}, {1}, {1}, {1}]


def test_every_head_has_its_labels() -> None:
    labels = edit_labels(draw_edits(np.random.default_rng(0), 1, PAIRS, 16))
    assert list(labels) == list(EDIT_CLASSES)
    assert all(0 <= int(labels[name].min()) <= int(labels[name].max()) < EDIT_CLASSES[name] for name in labels)


def test_every_scene_of_an_edit_is_in_the_table(table: Table) -> None:
    pairs = [scene for scene in table.scenes if scene.layout is Layout.PAIR]
    rng = random_of(0, "edits", 0)
    for _ in range(500):
        edit = draw_edit(rng, pairs)
        assert all(scene in table.numbers for scene in (*edit.sources, edit.target))


def test_eyes_and_edits_resume_as_if_never_interrupted(run: Path, atlas: Atlas, table: Table) -> None:
    def open_eyes() -> EyesStage:
        return EyesStage(run, atlas, PAIRS, 0, 6, batch=2)

    def open_edits() -> EditStage:
        return EditStage(run, table, atlas, 0, 6, batch=2)

    def open_formats() -> FormatStage:
        wide = Table(world((9, 7), (Layout.BIG,))[:4], torch.ones(4, 16, 14, 18).half(), atlas)
        return FormatStage(run, table, [wide], atlas, 0, 6, batch=2)

    for opener in (open_eyes, open_edits, open_formats):
        train(opener(), run, 1, echo=quiet)  # with two pictures, and prompts beside
        resumed, straight = opener(), opener()
        resumed.restore(load_state(run, resumed.name)["stage"])
        resumed.step(4)
        for number in (0, 4):
            assert np.isfinite(list(straight.step(number).values())).all()
        both = zip(flat(resumed.state()), flat(straight.state()), strict=True)
        assert all(torch.equal(one, other) for one, other in both)
