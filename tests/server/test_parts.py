"""Parts of pictures with the real model: masked edits, outpaints and paintings in an image's likeness.

What the pictures show is told by the miniature's judge.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Operation, Way
from qwen_image_studio.local.generator import QwenImageGenerator, one
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting.hooks import seed_of
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.planning.plan import Pass
from tests.support.pictures import digest, picture
from tests.support.plans import a_plan, plan_of
from training.judge import Judge, is_on, load_judge

pytestmark = pytest.mark.usefixtures("one_thread")

CAT = "cat"
INSTRUCTION = {"way": Way.EDIT, "operation": Operation.INPAINT}
DESCRIPTION = {"way": Way.GENERATE, "operation": Operation.INPAINT}


@pytest.fixture(scope="module")
def studio(miniature: Model, one_thread: None) -> QwenImageGenerator:
    """The public class, on the miniature."""
    return QwenImageGenerator("miniature", device="cpu", model_path=miniature.repository)


@pytest.fixture(scope="module")
def apple(studio: QwenImageGenerator) -> Image.Image:
    """A red apple on blue, as the miniature paints it."""
    return one(studio.generate(prompt="a red apple on a blue background", seed=3))


@pytest.fixture(scope="module")
def judge() -> Judge:
    """What looks at the pictures."""
    return load_judge()


def outside(image: Image.Image, box: tuple[int, int, int, int]) -> bytes:
    """The picture's pixels with the box blackened."""
    image = image.copy()
    image.paste(0, box)
    return image.tobytes()


# -- what they show ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["replace the apple with a cat", "把苹果换成猫"])
def test_an_instruction_changes_what_is_in_the_region_and_no_pixel_beyond(
    studio: QwenImageGenerator, apple: Image.Image, judge: Judge, prompt: str
) -> None:
    assert judge.see(apple).icons == ("red-apple",)
    edited = one(studio.inpaint(apple, prompt=prompt, region=(12, 12, 104, 104), seed=1))
    assert judge.see(edited).icons[0].startswith(CAT)
    assert is_on(edited, "blue")
    assert outside(edited, (12, 12, 116, 116)) == outside(apple, (12, 12, 116, 116))


@pytest.mark.parametrize("prompt", ["a cat on a blue background", "蓝色背景上的猫"])
def test_a_description_does_likewise(studio: QwenImageGenerator, apple: Image.Image, judge: Judge, prompt: str) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (5, 5, 59, 59))
    edited = one(studio.inpaint(apple, prompt=prompt, mask=mask, prompt_kind="description", seed=1))
    assert judge.see(edited).icons[0].startswith(CAT)
    assert outside(edited, (10, 10, 118, 118)) == outside(apple, (10, 10, 118, 118))


def test_a_corner_of_a_large_picture_gets_something_new(
    studio: QwenImageGenerator, apple: Image.Image, judge: Judge
) -> None:
    large = apple.resize((640, 640))
    region = (16, 16, 160, 160)
    named: dict[str, Any] = {"prompt": "a cat on a blue background", "prompt_kind": "description", "seed": 1}
    edited = one(studio.inpaint(large, region=region, **named))
    assert judge.see(edited.crop((0, 0, 192, 192))).icons[0].startswith(CAT)
    assert outside(edited, (16, 16, 176, 176)) == outside(large, (16, 16, 176, 176))


@pytest.mark.parametrize("asked", [{}, {"prompt": "a blue background", "prompt_kind": "description"}])
def test_an_outpaint_continues_the_background_and_keeps_the_picture(
    studio: QwenImageGenerator, apple: Image.Image, judge: Judge, asked: dict[str, Any]
) -> None:
    wide = one(studio.outpaint(apple, aspect_ratio="16:9", seed=1, **asked))
    assert wide.size == (228, 128)
    assert wide.crop((50, 0, 178, 128)).tobytes() == apple.tobytes()
    assert is_on(wide, "blue")
    for side in (wide.crop((0, 0, 50, 128)), wide.crop((178, 0, 228, 128))):
        assert judge.see(side).icons == ()


def test_a_strength_says_how_far_from_the_image(studio: QwenImageGenerator, apple: Image.Image, judge: Judge) -> None:
    star: dict[str, Any] = {"prompt": "a yellow star on a cyan background", "seed": 1}
    far = [
        float(np.abs(np.asarray(one(studio.generate(apple, strength=strength, **star)), float) - apple).mean())
        for strength in (0.1, 0.4, 0.7, 1.0)
    ]
    assert far == sorted(far)
    assert far[0] < 12 < 40 < far[-1]
    assert judge.see(one(studio.generate(apple, strength=1.0, **star))).icons == ("star",)


@pytest.mark.parametrize("prompt", ["put the {} of image 2 beside the {} of image 1", "把图2的{}放在图1的{}旁边"])
def test_images_keep_their_order(studio: QwenImageGenerator, apple: Image.Image, judge: Judge, prompt: str) -> None:
    star = one(studio.generate(prompt="a yellow star on a blue background", seed=3))
    names = ("star", "apple") if prompt.isascii() else ("星星", "苹果")
    for pair, words, icons in (
        ((apple, star), names, ("red-apple", "star")),
        ((star, apple), names[::-1], ("star", "red-apple")),
    ):
        joined = one(studio.edit(pair, prompt=prompt.format(*words), seed=2))
        assert judge.see(joined).icons == icons


# -- what they promise ---------------------------------------------------------------------------------------------


def test_at_full_strength_nothing_is_left_of_the_image(studio: QwenImageGenerator, apple: Image.Image) -> None:
    asked: dict[str, Any] = {"prompt": "a star", "seed": 5, "num_inference_steps": 3, "width": 64, "height": 64}
    assert digest(one(studio.generate(apple, strength=1.0, **asked))) == digest(one(studio.generate(**asked)))


def whole_of(size: tuple[int, int], known: tuple[int, int, int, int] | None = None) -> tuple[Pass, ...]:
    return (Pass(window=(0, 0, *size), width=size[0], height=size[1], known=known),)


def test_a_mask_of_everything_is_a_generation(engine: QwenEngine) -> None:
    mask = Image.new("RGB", (64, 64), "white")
    plan = a_plan(**DESCRIPTION, passes=whole_of((64, 64)), mask=True)
    (free,) = engine.paint(plan, [picture(), mask])
    assert digest(free.image) == digest(next(iter(engine.paint(a_plan(), []))).image)


@pytest.mark.parametrize("way", [INSTRUCTION, DESCRIPTION], ids=["instruction", "description"])
def test_what_stays_is_held_while_the_rest_is_painted(engine: QwenEngine, way: dict[str, Any]) -> None:
    """The pasted picture hides it; what the model itself delivers shows it."""
    mask = Image.new("RGB", (96, 96))
    mask.paste("white", (0, 0, 48, 96))
    source = picture("green", (96, 96))
    delivered: list[Image.Image] = []
    plan = a_plan(**way, passes=whole_of((96, 96)), width=96, height=96, mask=True, steps=4)
    with delivering(delivered):
        list(engine.paint(plan, [source, mask]))
        list(engine.paint(plan, [source, Image.new("RGB", (96, 96), "white")]))
    held, free = (float(np.abs(np.asarray(one, float) - source)[:, 64:].mean()) for one in delivered)
    assert held < 16
    assert free > 3 * held


@contextmanager
def delivering(pictures: list[Image.Image]) -> Iterator[None]:
    """Collect what the model makes of each pass, before it is laid over the picture."""
    from qwen_image_studio.painting.canvas import Canvas

    put = Canvas.put

    def kept(canvas: Canvas, number: int, painted: Image.Image) -> None:
        pictures.append(painted)
        put(canvas, number, painted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Canvas, "put", kept)
        yield


@pytest.mark.parametrize("way", [INSTRUCTION, DESCRIPTION], ids=["instruction", "description"])
def test_each_of_several_equals_that_one_alone(engine: QwenEngine, way: dict[str, Any]) -> None:
    mask = Image.new("RGB", (96, 64))
    mask.paste("white", (16, 16, 80, 48))
    inputs = [picture(size=(96, 64)), mask]
    fields = {**way, "passes": whole_of((96, 64)), "width": 96, "mask": True}
    together = [digest(one.image) for one in engine.paint(a_plan(**fields, seeds=(4, 5)), inputs)]
    assert together == [
        digest(next(iter(engine.paint(a_plan(**fields, seeds=(one,)), inputs))).image) for one in (4, 5)
    ]
    assert len(set(together)) == 2


def test_several_passes_equal_themselves_and_read_the_picture_anew(
    engine: QwenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoding that is kept from the pass before would describe a canvas that has changed since."""
    from diffusers import QwenImageEditPlusPipeline

    seen: list[str] = []
    encode = QwenImageEditPlusPipeline.encode_prompt

    def counted(pipeline: Any, *arguments: Any, **named: Any) -> Any:
        seen.append(digest(named["image"][0]) if isinstance(named["image"], Sequence) else "?")
        return encode(pipeline, *arguments, **named)

    monkeypatch.setattr(QwenImageEditPlusPipeline, "encode_prompt", counted)
    passes = (
        Pass(window=(0, 0, 96, 64), width=96, height=64, known=(0, 0, 64, 64)),
        Pass(window=(32, 0, 128, 64), width=96, height=64, known=(0, 0, 96, 64)),
    )
    fields: dict[str, Any] = {"operation": Operation.OUTPAINT, "way": Way.EDIT, "width": 128}
    plan = a_plan(**fields, passes=passes, place=(0, 0, 64, 64), guidance_scale=1.0, seeds=(1, 2))
    told: list[tuple[str, int, int]] = []
    twice = [digest(one.image) for one in engine.paint(plan, [picture()], lambda *said: told.append(said))]
    assert len(set(seen)) == 3  # the first canvas is the same for both seeds
    assert len(seen) == 4
    assert told[-1] == ("decoding", 8, 8)
    assert [step for phase, step, _ in told if phase == "denoising"] == list(range(1, 9))
    assert twice[1] == digest(next(iter(engine.paint(plan.model_copy(update={"seeds": (2,)}), [picture()]))).image)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(8, 150), st.integers(8, 150)),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
    kind=st.sampled_from(["instruction", "description"]),
    strength=st.sampled_from([0.3, 1.0]),
)
def test_any_mask_of_any_picture(
    studio: QwenImageGenerator, size: tuple[int, int], corners: tuple[float, ...], kind: Any, strength: float
) -> None:
    (left, right), (top, bottom) = (
        sorted(int(corner * (side - 1)) for corner in pair)
        for pair, side in ((corners[:2], size[0]), (corners[2:], size[1]))
    )
    box = (left, top, right + 1, bottom + 1)
    mask = Image.new("L", size)
    mask.paste(255, box)
    source = picture("teal", size)
    asked: dict[str, Any] = {"prompt": "a star", "num_inference_steps": 2, "guidance_scale": 1.0, "seed": 1}
    edited = one(studio.inpaint(source, mask=mask, prompt_kind=kind, strength=strength, **asked))
    assert edited.size == size
    assert outside(edited, box) == outside(source, box)


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.tuples(st.integers(8, 90), st.integers(8, 90)), sides=st.tuples(*[st.integers(0, 40)] * 4).filter(any))
def test_any_extension_of_any_picture(
    studio: QwenImageGenerator, size: tuple[int, int], sides: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = sides
    source = picture("teal", size)
    asked: dict[str, Any] = {"num_inference_steps": 2, "seed": 1}
    wide = one(studio.outpaint(source, left=left, top=top, right=right, bottom=bottom, **asked))
    assert wide.size == (size[0] + left + right, size[1] + top + bottom)
    assert wide.crop((left, top, left + size[0], top + size[1])).tobytes() == source.tobytes()


def test_inputs_that_do_not_fit_are_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_LICENCES", "qwen-research")
    studio = QwenImageGenerator("Qwen-Image", device="cpu", model_path="nowhere")
    with pytest.raises(StudioError, match="mask: send what may change, either as a mask"):
        studio.inpaint(picture(), prompt="x")
    with pytest.raises(StudioError, match="takes one image; send that alone"):
        studio.inpaint([picture(), picture()], prompt="x", region=(0, 0, 8, 8))
    with pytest.raises(StudioError, match="no model of this server does inpaint from a prompt that is instruction"):
        studio.inpaint(picture(), prompt="x", region=(0, 0, 8, 8), prompt_kind="instruction")
    unified = QwenImageGenerator("Qwen-Image-2.1", device="cpu", model_path="nowhere")
    with pytest.raises(StudioError, match=r"strength: Qwen-Image-2\.1 always paints anew"):
        unified.inpaint(picture(), prompt="x", region=(0, 0, 8, 8), strength=0.5)
    with pytest.raises(StudioError, match=r"image: Qwen-Image-2\.1 cannot start from an image"):
        unified.generate(picture(), prompt="x")


# -- what they save ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["instruction", "description"])
def test_what_is_saved_is_what_torch_counts(miniature: Model, kind: Any) -> None:
    from dataclasses import replace

    from qwen_image_studio.imaging.masks import mask_from

    model = replace(miniature, paint_pixels=(64 * 64, 256 * 256), region_pixels=64 * 64)
    engine = QwenEngine({model.name: model}, "cpu")
    size = (256, 256)
    white = Image.new("L", size)
    white.paste(255, (96, 96, 160, 160))
    mask = mask_from(white, size)
    asked = {"operation": "inpaint", "prompt": "a cat", "prompt_kind": kind, "steps": 2, "seed": 1}
    planned, _ = plan_of(asked, {model.name: model}, [size], mask)
    whole = planned.model_copy(update={"passes": whole_of(size)})
    flops, saved = [], []
    for made in (planned, whole):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            saved.append(next(iter(engine.paint(made, [picture(size=size), mask.image]))).compute_saved)
        flops.append(sum(counter.get_flop_counts()["QwenImageTransformer2DModel"].values()))
    assert saved[0] == pytest.approx(1 - flops[0] / flops[1], abs=0.01)
    assert saved[0] is not None
    assert saved[0] > 0.7
    assert saved[1] is None


def test_a_strength_below_one_saves_its_steps(engine: QwenEngine) -> None:
    (painted,) = engine.paint(a_plan(strength=0.5, steps=4), [picture()])
    assert painted.compute_saved == pytest.approx(0.5)
    assert next(iter(engine.paint(a_plan(), []))).compute_saved is None


def test_previews_show_the_part_in_its_place(studio: QwenImageGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_image_studio.painting.preview.PACE_S", 0.0)
    shown: list[Image.Image] = []
    passes = (Pass(window=(64, 0, 128, 64), width=64, height=64),)
    mask = Image.new("RGB", (256, 128))
    mask.paste("white", (80, 16, 112, 48))
    plan = a_plan(**DESCRIPTION, passes=passes, width=256, height=128, mask=True, steps=4)
    source = picture("green", (256, 128))
    list(studio._studio.engine.paint(plan, [source, mask], show=shown.append))
    assert shown
    assert {one.size for one in shown} == {(256, 128)}
    assert outside(shown[-1], (64, 0, 128, 64)) == outside(source, (64, 0, 128, 64))


def test_passes_and_images_have_noise_of_their_own() -> None:
    drawn = {
        torch.randn(4, generator=torch.Generator("cpu").manual_seed(seed_of(seed, number))).numpy().tobytes()
        for seed in range(40)
        for number in range(4)
    }
    assert len(drawn) == 160
    assert seed_of(7, 0) == 7


@pytest.mark.parametrize(("steps", "strength", "run"), [(2, 0.1, 2), (3, 0.6, 2), (20, 0.04, 2), (100, 0.29, 29)])
def test_few_steps_start_as_far_from_the_image_as_asked(
    engine: QwenEngine, steps: int, strength: float, run: int
) -> None:
    plan = a_plan(steps=steps, strength=strength)
    assert plan.run_steps == plan.steps_of_one == run
    source = picture("green", (64, 64))
    if steps <= 20:
        far = float(np.abs(np.asarray(next(iter(engine.paint(plan, [source]))).image, float) - source).mean())
        assert (far > 20) is (strength > 0.5)


def test_other_images_keep_their_own_size_beside_a_small_region(miniature: Model) -> None:
    engine = QwenEngine({miniature.name: miniature}, "cpu")
    engine.load(miniature.name)
    shapes: list[Any] = []
    transformer = engine._weights.parts(miniature, miniature.precision()[0])["transformer"]
    hook = transformer.register_forward_pre_hook(
        lambda _, args, named: shapes.append(named["img_shapes"]), with_kwargs=True
    )
    mask = Image.new("RGB", (96, 96), "white")
    plan = a_plan(**INSTRUCTION, passes=whole_of((96, 96)), width=96, height=96, mask=True)
    try:
        list(engine.paint(plan, [picture(size=(96, 96)), picture(size=(300, 300)), mask]))
    finally:
        hook.remove()
    assert shapes[0] == [[(1, 6, 6), (1, 6, 6), (1, 8, 8)]]
