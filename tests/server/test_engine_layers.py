"""The layered miniature on a CPU: pictures taken apart, and pictures painted on clear ground."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import Tier, Way
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.painting.cost import Meter
from qwen_image_studio.painting.qwen import QwenEngine, open_engine
from tests.support.pictures import digest
from tests.support.plans import a_plan

pytestmark = pytest.mark.usefixtures("one_thread")

NAME = "miniature-layered"
BLUE, RED, GREEN = (45, 85, 200), (220, 50, 40), (60, 160, 60)
STEPS = 10


@pytest.fixture(scope="module")
def layered() -> QwenEngine:
    """An engine with both miniatures, as on a machine without a GPU."""
    return open_engine({name: MODELS[name] for name in ("miniature", NAME)}, "cpu")


def scene(
    *discs: tuple[tuple[int, int, int, int], tuple[int, int, int]],
) -> tuple[Image.Image, list[np.ndarray[Any, Any]]]:
    """A picture of plain discs before a blue ground, and where each is."""
    large = Image.new("RGB", (512, 512), BLUE)
    masks = []
    for box, colour in discs:
        mask = Image.new("L", large.size, 0)
        ImageDraw.Draw(mask).ellipse([4 * side for side in box], fill=255)
        large.paste(colour, mask=mask)
        masks.append(np.asarray(mask.resize((128, 128), Image.Resampling.BOX)) > 127)
    return large.resize((128, 128), Image.Resampling.BOX), masks


ONE = scene(((34, 34, 94, 94), RED))
TWO = scene(((4, 34, 60, 90), RED), ((68, 34, 124, 90), GREEN))


def apart(engine: QwenEngine, picture: Image.Image, **changed: Any) -> list[Image.Image]:
    """The layers of a picture and what they make together."""
    width, height = picture.size
    asked = {
        "model": NAME,
        "way": Way.LAYERS,
        "prompt": "",
        "layers": 2,
        "width": width,
        "height": height,
        "paint_width": 128,
        "paint_height": 128,
        "steps": STEPS,
        "guidance_scale": 1.0,
    }
    return [one.image for one in engine.paint(a_plan(**{**asked, **changed}), [picture])]


def overlap(layer: Image.Image, mask: np.ndarray[Any, Any]) -> float:
    """IoU of what a layer shows with where something is."""
    shown = np.asarray(layer)[..., 3] > 127
    return float((shown & mask).sum() / (shown | mask).sum())


def test_the_order_in_which_both_are_loaded_changes_nothing() -> None:
    """They have a text encoder in common, and each its own VAE."""
    picture, _ = ONE
    made = []
    for first in ("miniature", NAME):
        engine = open_engine({name: MODELS[name] for name in ("miniature", NAME)}, "cpu")
        for name in (first, *({"miniature", NAME} - {first})):
            engine.load(name)
        made.append([digest(one) for one in apart(engine, picture, steps=2)])
        next(engine.paint(a_plan(model="miniature"), []))
    assert made[0] == made[1]


def test_one_object_comes_off_its_ground(layered: QwenEngine) -> None:
    picture, (mask,) = ONE
    back, front, together = apart(layered, picture)
    assert (back.mode, front.mode, together.mode) == ("RGBA", "RGBA", "RGB")
    assert {back.size, front.size, together.size} == {(128, 128)}
    assert overlap(front, mask) >= 0.9
    assert back.getchannel("A").getextrema() == (255, 255)
    # Behind the object, the ground goes on.
    behind = np.asarray(back)[mask][:, :3].astype(int)
    assert np.abs(np.median(behind, axis=0) - BLUE).max() <= 16
    # Away from the object's edge the layers make the picture again, to the bit.
    same = (np.asarray(together) == np.asarray(picture)).all(axis=2)
    assert same.mean() >= 0.93


def test_each_of_two_objects_has_its_layer(layered: QwenEngine) -> None:
    picture, masks = TWO
    layers = apart(layered, picture, layers=3)[1:-1]
    assert [overlap(layer, mask) >= 0.9 for layer, mask in zip(layers, masks, strict=True)] == [True, True]


def test_the_same_plan_paints_the_same_bytes_and_another_seed_others(layered: QwenEngine) -> None:
    picture, _ = ONE
    first, again, other = (
        [digest(image) for image in apart(layered, picture, layers=3, steps=2, seeds=(seed,))] for seed in (1, 1, 2)
    )
    assert first == again
    assert len(first) == 4
    assert first != other


def test_layers_have_the_inputs_size_and_transparency(layered: QwenEngine) -> None:
    picture = ONE[0].resize((200, 150)).convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 20, 150))
    *layers, together = apart(layered, picture, paint_width=144, paint_height=112, steps=2)
    assert {layer.size for layer in (*layers, together)} == {(200, 150)}
    assert not any(np.asarray(layer)[:, :20].any() for layer in layers)
    assert together.mode == "RGBA"


class Stopped(Exception):
    """What a report raises to stop the work."""


def test_a_job_is_stopped_within_a_step_and_the_engine_paints_on(layered: QwenEngine) -> None:
    heard: list[tuple[str, int, int]] = []

    def report(phase: str, step: int, steps: int) -> None:
        heard.append((phase, step, steps))
        if phase == "denoising" and step == 2:
            raise Stopped

    plan = a_plan(model=NAME, way=Way.LAYERS, layers=4, steps=6, guidance_scale=1.0)
    with pytest.raises(Stopped):
        list(layered.paint(plan, [ONE[0]], report))
    assert heard[-1] == ("denoising", 2, 6)
    assert len(list(layered.paint(plan.model_copy(update={"steps": 2}), [ONE[0]]))) == 5


def test_less_memory_paints_the_same_layers(layered: QwenEngine) -> None:
    plan = a_plan(model=NAME, way=Way.LAYERS, layers=2, steps=2, guidance_scale=1.0)
    usual = [digest(one.image) for one in layered.paint(plan, [ONE[0]])]
    assert [digest(one.image) for one in layered.paint(plan, [ONE[0]], frugal=True)] == usual


def test_steps_are_skipped_where_the_tier_says_so(layered: QwenEngine) -> None:
    plan = a_plan(model=NAME, way=Way.LAYERS, layers=2, tier=Tier.BALANCED, steps=20, guidance_scale=1.0)
    *_, last = layered.paint(plan, [ONE[0]])
    assert last.compute_saved is not None
    assert 0.1 < last.compute_saved < 0.9


def test_the_work_of_a_step_is_that_of_every_frame(layered: QwenEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    begin = Meter.begin

    def begin_and_count(meter: Meter, call: Any) -> Mapping[str, Any]:
        transformer = call.pipeline.transformer
        transformer.register_forward_pre_hook(
            lambda module, args, named: seen.append(named["hidden_states"].shape[1]), with_kwargs=True
        )
        return begin(meter, call)

    monkeypatch.setattr(Meter, "begin", begin_and_count)
    list(layered.paint(a_plan(model=NAME, way=Way.LAYERS, layers=4, steps=2, guidance_scale=1.0), [ONE[0]]))
    assert set(seen) == {(4 + 2) * 4 * 4}  # 64 x 64 pixels are 4 x 4 tokens


@pytest.mark.parametrize(("layers", "pictures"), [(0, 1), (1, 1), (3, 0), (3, 2)])
def test_one_picture_and_two_layers_are_the_least(layered: QwenEngine, layers: int, pictures: int) -> None:
    with pytest.raises(StudioError, match="layers: one image is taken apart"):
        list(layered.paint(a_plan(model=NAME, way=Way.LAYERS, layers=layers), [ONE[0]] * pictures))


def clear(engine: QwenEngine, prompt: str, **changed: Any) -> Image.Image:
    """What the model paints of a prompt at its own size, on clear ground."""
    asked = {
        "model": NAME,
        "prompt": prompt,
        "width": 128,
        "height": 128,
        "paint_width": 128,
        "paint_height": 128,
        "steps": STEPS,
        "background": Background.TRANSPARENT,
    }
    return next(iter(engine.paint(a_plan(**{**asked, **changed}), []))).image


def test_a_logo_lies_on_clear_ground(layered: QwenEngine) -> None:
    logo = clear(layered, "a red apple")
    assert logo.mode == "RGBA"
    pixels = np.asarray(logo).astype(int)
    assert not pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3].any()
    middle = pixels[48:80, 48:80]
    assert (middle[..., 3] == 255).mean() >= 0.9
    red, green, blue = (np.median(middle[..., channel]) for channel in range(3))
    assert red > green + 60
    assert red > blue + 60
    assert 0.1 < (pixels[..., 3] > 127).mean() < 0.6


def test_without_a_wish_the_same_model_paints_an_opaque_picture(layered: QwenEngine) -> None:
    plain = clear(layered, "a red apple on a blue background", background=Background.AUTO)
    assert plain.mode == "RGB"
    red, green, blue = np.median(np.asarray(plain)[:12].reshape(-1, 3).astype(int), axis=0)
    assert blue > red + 60
    assert blue > green + 20


def test_a_part_of_a_picture_is_painted_clear(layered: QwenEngine) -> None:
    picture = Image.new("RGBA", (128, 128), (*BLUE, 255))
    free = Image.new("L", (128, 128), 0)
    free.paste(255, (32, 32, 96, 96))
    plan = {"mask": True, "passes": ({"window": (16, 16, 112, 112), "width": 96, "height": 96},)}
    fields = a_plan(model=NAME, prompt="a star", width=128, height=128, steps=4, background=Background.TRANSPARENT)
    painted = next(iter(layered.paint(type(fields)(**{**fields.model_dump(), **plan}), [picture, free]))).image
    outside = np.asarray(free) == 0
    assert (np.asarray(painted)[outside] == np.asarray(picture)[outside]).all()
    assert painted.size == (128, 128)


def test_both_miniatures_have_one_text_encoder_and_a_vae_each(layered: QwenEngine) -> None:
    for name in ("miniature", NAME):
        layered.load(name)
    held: list[Mapping[str, Any]] = [
        layered._weights.parts(row, row.precision()[0]) for row in (MODELS["miniature"], MODELS[NAME])
    ]
    assert held[0]["text_encoder"] is held[1]["text_encoder"]
    assert held[0]["vae"] is not held[1]["vae"]
    assert [parts["vae"].config.get("input_channels", 3) for parts in held] == [3, 4]


def test_a_layered_model_alone_shares_with_nobody(tmp_path: Any) -> None:
    row: Model = replace(MODELS[NAME], shares="")
    engine = open_engine({row.name: row}, "cpu")
    engine.load(NAME)
    assert engine.loaded is not None
