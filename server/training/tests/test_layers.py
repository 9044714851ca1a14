"""The layered miniature's training: pictures whose layers are known, at toy length and on plain drawings."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageLayeredPipeline
from PIL import Image

from qwen_image_studio.loading.weights import Weights
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.painting.qwen import open_engine
from training.build import size_of
from training.data.layers import APART, cut_out, draw_stack, over, taken_apart, to_layer
from training.data.scenes import compose, held_out
from training.data.sprites import Atlas
from training.data.tensors import to_tensor
from training.evaluation.layers import EXACT, Task, edges_of, found, tasks_of
from training.layer_sheet import on_chequer
from training.layered import COPIED, build_layered
from training.stages.alpha import AlphaStage, alpha_vae, cut_outs, laid_over
from training.stages.flow import pack
from training.stages.layers import ELSEWHERE, RGBA, SHOWN, WHOLE, Apart, LayerEncoder, LayersStage, begun_transformer
from training.stages.run import load_state, random_of, train
from training.stages.vae import flatten, moments_of, pictures_of
from training.tests.conftest import quiet
from training.tests.test_training import flat

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(miniature: Model) -> Path:
    """The miniature from which the layered one begins."""
    return Path(miniature.repository)


@pytest.fixture(scope="module")
def layered_run(tmp_path_factory: pytest.TempPathFactory, weights: Path, atlas: Atlas) -> Path:
    """A run whose two stages were trained for two steps of four."""
    folder = tmp_path_factory.mktemp("layered")
    train(open_alpha(weights, atlas), folder, 2, echo=quiet)
    train(open_layers(folder, weights, atlas), folder, 2, echo=quiet)
    return folder


def open_alpha(weights: Path, atlas: Atlas) -> AlphaStage:
    """The VAE's stage with tiny batches, planned for four steps."""
    return AlphaStage(weights, atlas, 0, 4, batch=3, side=32)


def open_layers(run: Path, weights: Path, atlas: Atlas) -> LayersStage:
    """The transformer's stage with tiny batches, planned for four steps."""
    return LayersStage(run, weights, atlas, 0, 4, tokens=300)


def test_layers_laid_over_each_other_are_the_picture(atlas: Atlas) -> None:
    rng = np.random.default_rng(0)
    for number in range(40):
        stack = draw_stack(rng)
        whole = over(taken_apart(stack, 8, atlas))
        for count in (2, 3, 4):
            layers = taken_apart(stack, count, atlas)
            assert len(layers) == count
            assert np.allclose(over(layers), whole, atol=1e-3)
        assert (whole[..., 3] == 1).all()
        if stack.scene is not None and number % 2:
            mine = cut_out(stack, stack.placed, atlas)
            drawn = compose(stack.scene, atlas).astype(float)
            assert np.abs(over([taken_apart(stack, 2, atlas)[0], mine])[..., :3] - drawn).max() <= 1


def test_each_object_has_a_layer_and_what_is_left_over_is_clear(atlas: Atlas) -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        stack = draw_stack(rng)
        layers = taken_apart(stack, 8, atlas)
        shown = [bool(layer[..., 3].any()) for layer in layers]
        objects = len(stack.placed)
        assert shown == [True] * (1 + objects) + [False] * (7 - objects)
        assert (to_layer(layers[-1]) == (255, 255, 255, 0)).all()
        edges = [one.x for one in stack.placed]
        assert all(after - before >= APART for before, after in pairwise(edges)), "one object is the next to the right"
        # One layer for all objects has them all.
        together = taken_apart(stack, 2, atlas)[1]
        assert np.allclose(together, over([np.zeros_like(together), *layers[1:]]), atol=1e-4)


def test_held_out_pairs_are_for_evaluation_alone() -> None:
    rng = np.random.default_rng(2)
    for unseen in (True, False):
        for _ in range(100):
            stack = draw_stack(rng, unseen=unseen)
            pairs = [(one.icon, stack.colour) for one in stack.placed if stack.colour is not None]
            assert all(held_out(icon, colour) is unseen for icon, colour in pairs)
            assert pairs or not unseen
    assert {task.count for task in tasks_of(9)} == {2, 3, 4}
    assert tasks_of(5) == tasks_of(5)


def test_a_vae_with_alpha_begins_as_the_one_without(weights: Path) -> None:
    own = AutoencoderKLQwenImage.from_pretrained(weights / "vae", torch_dtype=torch.float32)
    wider = alpha_vae(weights)
    assert wider.config.latents_mean == own.config.latents_mean
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    own, wider = flatten(own), flatten(wider)
    with torch.no_grad():
        latents = moments_of(own, picture)
        opaque = torch.cat([picture, torch.ones(1, 1, 32, 32)], dim=1)
        assert torch.allclose(moments_of(wider, opaque), latents, atol=1e-5)
        back = pictures_of(wider, latents[:, :16])
        assert torch.allclose(back[:, :3], pictures_of(own, latents[:, :16]), atol=1e-5)
        assert torch.allclose(back[:, 3], torch.ones(1, 32, 32), atol=1e-5)


def test_what_is_clear_shows_the_ground() -> None:
    pixel = torch.tensor([0.5, -0.5, 1.0, -1.0]).reshape(1, 4, 1, 1)
    ground = torch.tensor([0.2, 0.3, 0.4]).reshape(1, 3, 1, 1)
    assert torch.equal(laid_over(pixel, ground), ground)
    pixel[:, 3] = 0
    assert torch.allclose(laid_over(pixel, ground), (pixel[:, :3] + ground) / 2)


def test_cut_outs_have_clear_and_opaque_pixels(atlas: Atlas) -> None:
    rng = np.random.default_rng(3)
    alphas = np.stack([cut_outs(rng, atlas, 64)[..., 3] for _ in range(30)])
    assert 0.1 < (alphas == 255).mean() < 0.9
    assert (alphas == 0).mean() > 0.1


def test_the_transformer_begins_with_all_that_the_miniatures_knows(weights: Path) -> None:
    transformer = begun_transformer(weights)
    assert transformer.config.use_layer3d_rope
    assert not transformer.time_text_embed.addition_t_embedding.weight.any()
    asked: dict[str, Any] = {
        "hidden_states": torch.randn(1, 6 * 16, 64),
        "encoder_hidden_states": torch.randn(1, 5, 192),
        "timestep": torch.tensor([0.5]),
        "img_shapes": [[(1, 4, 4)] * 6],
        "additional_t_cond": torch.zeros(1, dtype=torch.long),
        "return_dict": False,
    }
    with torch.no_grad():
        assert transformer(**asked)[0].shape == (1, 96, 64)


def test_frames_are_the_pipelines_tokens(weights: Path, atlas: Atlas) -> None:
    vae = alpha_vae(weights)
    figures = {name: vae.config[name] for name in ("latents_mean", "latents_std")}
    encoder = LayerEncoder(flatten(vae), figures)
    apart, rng = Apart(encoder, atlas), np.random.default_rng(4)
    stacks = [draw_stack(rng, (9, 7)), draw_stack(rng, (9, 7))]
    tokens, counted = apart.frames(3, stacks)
    assert (tokens.shape, counted.shape) == ((2, 4 * 63, 64), (2, 4 * 63))
    layers = taken_apart(stacks[1], 3, atlas)
    latents = torch.stack([encoder.latents([to_layer(frame)])[0] for frame in (over(layers), *layers)]).float()
    theirs = QwenImageLayeredPipeline._pack_latents(latents[None], 1, 16, 14, 18, 4)
    assert torch.allclose(tokens[1:], theirs, atol=2e-2)
    assert torch.equal(pack(latents[:1]), theirs[:, :63])
    assert (counted[:, :63] == WHOLE).all()
    assert (counted[:, 63:126] == 1).all()
    shown = counted[:, 126:].reshape(2, 2, 63) == SHOWN
    elsewhere = counted[:, 126:].reshape(2, 2, 63) == ELSEWHERE
    assert shown.any()
    assert torch.equal(elsewhere, shown.flip(1) & ~shown), "where one layer has an object, the other has none"


def test_both_stages_resume_as_if_never_interrupted(layered_run: Path, weights: Path, atlas: Atlas) -> None:
    def opened(name: str) -> AlphaStage | LayersStage:
        return open_alpha(weights, atlas) if name == "alpha" else open_layers(layered_run, weights, atlas)

    for name in ("alpha", "layers"):
        resumed, straight = opened(name), opened(name)
        resumed.restore(load_state(layered_run, name)["stage"])
        resumed.step(2)
        for number in range(3):
            assert np.isfinite(list(straight.step(number).values())).all()
        both = zip(flat(resumed.state()), flat(straight.state()), strict=True)
        assert all(torch.equal(one, other) for one, other in both)


def test_pictures_are_painted_from_words_too(layered_run: Path, weights: Path, atlas: Atlas) -> None:
    stage = open_layers(layered_run, weights, atlas)
    kinds: list[int] = []
    forward = stage.transformer.forward

    def noting(**named: Any) -> Any:
        kinds.extend(named["additional_t_cond"].tolist())
        return forward(**named)

    stage.transformer.forward = noting
    for number in range(24):
        loss = stage._paint(random_of(0, "paint", number), (8, 8))
        assert torch.isfinite(loss)
    assert len(set(kinds)) == 2
    assert kinds.count(RGBA) > len(kinds) / 2


def test_what_a_run_trained_is_written_beside_its_text_encoder(
    layered_run: Path, weights: Path, atlas: Atlas, tmp_path: Path
) -> None:
    build_layered(tmp_path / "made", weights, layered_run)
    build_layered(tmp_path / "again", weights, layered_run)
    assert 19e6 < size_of(tmp_path / "made") < 22e6
    for file in (tmp_path / "made").rglob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(tmp_path / "made")).read_bytes()
    for part in COPIED:
        for file in (weights / part).iterdir():
            assert (tmp_path / "made" / part / file.name).read_bytes() == file.read_bytes()
    row = replace(MODELS["miniature-layered"], repository=str(tmp_path / "made"), shares="")
    parts = Weights("cpu").parts(row, row.precision()[0])
    trained = load_state(layered_run, "layers")["stage"]["mean"]["proj_out.weight"]
    assert torch.equal(parts["transformer"].proj_out.weight, trained.bfloat16().float())
    assert parts["vae"].config.input_channels == 4
    result = found(
        Task(draw_stack(np.random.default_rng(5), unseen=True), 3, 0), open_engine({row.name: row}, "cpu"), atlas
    )
    assert len(result.overlaps) == 2
    assert 0 < result.away < 1


def test_edges_are_where_layers_begin_and_end(atlas: Atlas) -> None:
    stack = draw_stack(np.random.default_rng(6))
    layers = taken_apart(stack, 3, atlas)
    edges = edges_of(layers)
    soft = np.any([(layer[..., 3] > 0.02) & (layer[..., 3] < 0.98) for layer in layers], axis=0)
    assert edges[soft].all()
    assert 0 < edges.mean() < 0.5
    assert not edges_of(layers[:1]).any()
    assert 0.99 < EXACT < 1


def test_a_sheet_shows_what_is_clear() -> None:
    shown = on_chequer(Image.new("RGBA", (32, 32), (9, 9, 9, 0)))
    assert {colour for _, colour in shown.getcolors() or []} == {(255, 255, 255), (205, 205, 205)}
    assert on_chequer(Image.new("RGB", (8, 8), (1, 2, 3))).getpixel((0, 0)) == (1, 2, 3)
    assert to_tensor(np.zeros((1, 4, 4, 4), dtype=np.uint8)).shape == (1, 4, 4, 4)
