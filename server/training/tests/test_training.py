"""How the miniature is trained, at toy length and on plain drawings: no network, no npm."""

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
from PIL import Image

from qwen_image_studio.contract.words import Tier, Way
from qwen_image_studio.models.families.qwen_image_edit import sides_for
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.models.tiers import Recipe
from qwen_image_studio.painting.qwen import QwenEngine, open_engine, open_pipeline
from tests.support.plans import a_plan, painted
from training import build as builder
from training import sheet as sheets
from training.__main__ import STAGES, main
from training.corpus import templates
from training.data.edits import Stock, draw_edit, other_sizes
from training.data.prompts import LANGUAGES, tell
from training.data.scenes import TOKEN, Effect, Layout, arrange, compose, draw_scene, held_out
from training.data.sprites import Atlas
from training.data.tensors import CLASSES
from training.parts import build_text_encoder, build_transformer
from training.stages.attention import PlainAttention, RealAngles, make_seeing
from training.stages.editing import EditStage
from training.stages.eyes import Eyes, EyesStage
from training.stages.flow import noise_levels, pack
from training.stages.judging import JudgeStage, accuracy, draw_judged
from training.stages.muon import orthogonalise
from training.stages.run import load_state, random_of, train
from training.stages.table import Table, draw_told, encoder_of, open_table, world
from training.stages.text import Prompter, tokenizer_of
from training.stages.vae import flatten, inflate, moments_of, pictures_of
from training.tests.conftest import SIZES, STOCK, TOYS, open_toy, quiet

pytestmark = pytest.mark.usefixtures("one_thread")


def flat(state: Any) -> list[torch.Tensor]:
    """All tensors of a state, in order."""
    if isinstance(state, torch.Tensor):
        return [state]
    values = state.values() if isinstance(state, Mapping) else state if isinstance(state, list | tuple) else ()
    return [tensor for value in values for tensor in flat(value)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, atlas: Atlas) -> Path:
    """A cache with these drawings, so that nothing is fetched."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "drawings").mkdir()
    for icon, drawing in atlas.drawings.items():
        drawing.save(cache / "drawings" / f"{icon}.png")
    return cache


def test_every_prompt_fits_into_what_training_feeds(run: Path) -> None:
    prompter = Prompter(tokenizer_of(run))
    rng = np.random.default_rng(4)
    for language in LANGUAGES:
        prompter.tokens([tell(rng, draw_scene(rng, list(Layout)), language) for _ in range(500)])
    with pytest.raises(ValueError, match="more than 48 tokens"):
        prompter.tokens(["a cat and " * 30])


def test_the_objects_tokens_are_those_that_they_cover(run: Path, atlas: Atlas) -> None:
    scenes = [arrange(Layout.LEFT, ["panda"], "green")]
    encoder = encoder_of(run, atlas)
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
    monkeypatch.setattr(sheets, "OF_TIERS", (1, 1))
    quick = {Tier.QUALITY: Recipe(steps=2, guidance_scale=3.0), Tier.TURBO: Recipe(steps=2, guidance_scale=1.0)}
    monkeypatch.setitem(MODELS, "miniature", replace(miniature, tiers=quick))
    out = tmp_path / "sheet.png"
    for kind, columns, rows in (("told", 8, 1), ("edits", 8, 3), ("sizes", 8, 2), ("tiers", 6, 1)):
        lines = list(sheets.paint(kind, Path(miniature.repository), drawn, out))
        with Image.open(out) as sheet:
            assert sheet.size == (columns * 132, rows * 132)
            assert sheet.crop((0, 0, 128, 128)).getcolors() != [(128 * 128, (255, 255, 255))]
        assert len(lines) == {"told": 2, "edits": 22, "sizes": 14, "tiers": 5}[kind]
    assert [any("一" <= one <= "鿿" for one in prompt) for prompt in sheets.unseen(2)] == [False, True]


def test_a_table_of_other_scenes_is_refused(run: Path, atlas: Atlas) -> None:
    with pytest.raises(RuntimeError, match="other scenes"):
        open_table(run, atlas, world((8, 8), (Layout.BIG,))[:4], "toy")


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
    assert "recomposed: pixels away from edges" in first.output
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert {"judge.safetensors", "vocabulary.json", "model_index.json", "transformer", "turbo.safetensors"} <= made
    log = (tmp_path / "run" / "log.jsonl").read_text()
    again = CliRunner().invoke(main, [*told, "--count", "0"], catch_exceptions=False)
    assert again.exit_code == 0
    assert (tmp_path / "run" / "log.jsonl").read_text() == log
