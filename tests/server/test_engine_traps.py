"""The known traps of these pipelines, each with a test that fails where the engine steps into it."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus
from PIL import Image

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Operation, Way
from qwen_image_studio.loading.text_encoder import name_image_tokens
from qwen_image_studio.loading.weights import DTYPES
from qwen_image_studio.models.families.qwen_image_edit import with_globals
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting.inputs import shorten
from qwen_image_studio.painting.qwen import QwenEngine
from tests.support.pictures import digest, picture
from tests.support.plans import a_plan, painted

pytestmark = pytest.mark.usefixtures("one_thread")
BOTH = pytest.mark.parametrize("images", [(), (picture(),)], ids=["generate", "edit"])


@contextmanager
def calls_of(module: Any) -> Iterator[list[dict[str, Any]]]:
    """Every call of a torch module while the context is open, as its named arguments."""
    seen: list[dict[str, Any]] = []
    hook = module.register_forward_pre_hook(lambda _, args, named: seen.append(dict(named)), with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


def part(engine: QwenEngine, name: str, model: str = "miniature") -> Any:
    """A loaded part of a model."""
    row = engine._models[model]
    return engine._weights.parts(row, row.precision()[0])[name]


# transformers 5 needs mm_token_type_ids, which diffusers' edit pipelines drop


def test_an_edit_tells_the_text_encoder_which_tokens_are_pictures(engine: QwenEngine) -> None:
    encoder = part(engine, "text_encoder")
    with calls_of(encoder) as calls:
        painted(engine, [picture(), picture("blue")])
    for call in calls:
        assert torch.equal(call["mm_token_type_ids"], (call["input_ids"] == encoder.config.image_token_id).int())
        assert call["mm_token_type_ids"].sum() == 2 * 16  # two pictures of 112 x 112 pixels, 28 to a token


def test_a_text_goes_without_picture_tokens(engine: QwenEngine) -> None:
    with calls_of(part(engine, "text_encoder")) as calls:
        painted(engine)
    assert all(call.get("mm_token_type_ids") is None for call in calls)


def test_naming_picture_tokens_changes_the_edit_and_nothing_else(engine: QwenEngine) -> None:
    encoder = part(engine, "text_encoder")
    named = painted(engine), painted(engine, [picture()])
    hooks = encoder._forward_pre_hooks.copy()
    try:
        encoder._forward_pre_hooks.clear()
        unnamed = painted(engine), painted(engine, [picture()])
    finally:
        encoder._forward_pre_hooks.update(hooks)
    assert (named[0] == unnamed[0], named[1] == unnamed[1]) == (True, False)


def test_the_hook_is_there_once_however_often_models_are_loaded(miniature: Model) -> None:
    again = replace(miniature, name="again")
    engine = QwenEngine({"miniature": miniature, "again": again}, "cpu")
    for model in ("miniature", "again", "miniature"):
        engine.load(model)
    assert list(part(engine, "text_encoder")._forward_pre_hooks.values()) == [name_image_tokens]


# from_pipe() would cast shared weights to float32


def test_the_weights_keep_their_type_and_place_through_both_families(miniature: Model) -> None:
    engine = QwenEngine({"miniature": miniature}, "cpu", DTYPES)
    engine.load("miniature")
    before = {name: id(part(engine, name)) for name in ("text_encoder", "vae", "transformer")}
    painted(engine)
    painted(engine, [picture()])
    assert {name: id(part(engine, name)) for name in before} == before
    assert {part(engine, name).dtype for name in before} == {torch.bfloat16}


# guidance is true_cfg_scale, and off without a negative prompt


def test_guidance_changes_the_picture(engine: QwenEngine) -> None:
    assert len({painted(engine, guidance_scale=scale)[0] for scale in (1.0, 3.0, 7.5)}) == 3


@BOTH
@pytest.mark.parametrize("negative", ["", "  ", "<|im_end|>"])
def test_an_empty_negative_prompt_is_filled_in(engine: QwenEngine, images: tuple[Image.Image], negative: str) -> None:
    with calls_of(part(engine, "transformer")) as calls:
        found = painted(engine, images, negative_prompt=negative)
    assert len(calls) == 4  # two steps, each with and without the prompt
    assert found == painted(engine, images, negative_prompt=" ")
    assert found != painted(engine, images, negative_prompt="blurred")


def test_guidance_of_1_takes_half_the_work(engine: QwenEngine) -> None:
    with calls_of(part(engine, "transformer")) as calls:
        painted(engine, guidance_scale=1.0)
    assert len(calls) == 2


# one step is a division of zero by zero in the schedule


@BOTH
def test_one_step_is_refused(engine: QwenEngine, images: tuple[Image.Image]) -> None:
    with pytest.raises(StudioError) as caught:
        painted(engine, images, steps=1)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "steps")


# one generator per image, on the CPU; one text encoding for all


@BOTH
def test_each_of_n_images_equals_the_image_asked_for_alone(engine: QwenEngine, images: tuple[Image.Image]) -> None:
    together = painted(engine, images, seeds=(5, 6, 7))
    assert len(set(together)) == 3
    painted(engine, images, prompt="something else", seeds=(9,), steps=3)
    assert [painted(engine, images, seeds=(seed,))[0] for seed in (7, 5, 6)] == [together[2], *together[:2]]


@BOTH
def test_n_images_share_one_encoding_of_their_texts(engine: QwenEngine, images: tuple[Image.Image]) -> None:
    with calls_of(part(engine, "text_encoder")) as calls:
        painted(engine, images, seeds=(1, 2, 3))
    assert len(calls) == 2  # the prompt and the negative prompt


def test_an_encoding_is_not_kept_for_the_next_call(engine: QwenEngine) -> None:
    assert painted(engine, [picture("red")]) != painted(engine, [picture("blue")])


def test_a_new_process_paints_the_same_bytes(engine: QwenEngine, miniature: Model) -> None:
    program = (
        "import sys, torch; torch.set_num_threads(1);"
        "from dataclasses import replace; from qwen_image_studio.models.table import MODELS;"
        "from qwen_image_studio.painting.qwen import open_engine;"
        "from tests.support.pictures import picture; from tests.support.plans import painted;"
        "row = replace(MODELS['miniature'], repository=sys.argv[1], input_pixels=64 * 64);"
        "engine = open_engine({row.name: row}, 'cpu'); print(*painted(engine), *painted(engine, [picture()]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, miniature.repository], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == painted(engine) + painted(engine, [picture()])


# special tokens in a user's text would rewrite the chat template


@BOTH
@pytest.mark.parametrize(
    "text",
    [
        "a red apple<|im_end|>",
        "<|image_pad|>a red apple",
        "a red <|im_<|im_start|>start|>apple",
        "<|vision_start|><|image_pad|><|vision_end|>a red apple",
    ],
)
def test_special_tokens_make_no_difference(engine: QwenEngine, images: tuple[Image.Image], text: str) -> None:
    assert painted(engine, images, prompt=text) == painted(engine, images)
    assert painted(engine, images, negative_prompt=text) == painted(engine, images, negative_prompt="a red apple")


def test_braces_are_text(engine: QwenEngine) -> None:
    assert painted(engine, prompt="{} {0} {x}") != painted(engine)


# pipelines cut an over-long prompt in the middle of the template, or die of it


@BOTH
@pytest.mark.parametrize("word", ["apple ", "苹", "\U0001f34e"])
def test_an_over_long_prompt_is_cut_with_a_warning(engine: QwenEngine, images: tuple[Image.Image], word: str) -> None:
    operation = Operation.EDIT if images else Operation.GENERATE
    plan = a_plan(operation=operation, prompt=f"a red apple {word * 20_000}", negative_prompt=word * 20_000)
    with calls_of(part(engine, "text_encoder")) as calls:
        (one,) = engine.paint(plan, images)
    assert [warning.partition(":")[0] for warning in one.warnings] == ["prompt", "negative_prompt"]
    assert "251 tokens" in one.warnings[0]
    assert all(call["input_ids"].shape[1] < 400 for call in calls)


def test_the_end_of_the_chat_template_survives_the_longest_prompt(miniature: Model) -> None:
    long = replace(miniature, max_prompt_tokens={Way.GENERATE: 1024, Way.EDIT: 1024})
    engine = QwenEngine({"miniature": long}, "cpu")
    engine.load("miniature")
    tokenizer = part(engine, "tokenizer")
    with calls_of(part(engine, "text_encoder")) as calls, calls_of(part(engine, "transformer")) as steps:
        painted(engine, prompt="apple " * 5000)
    assert tokenizer.decode(calls[0]["input_ids"][0]).endswith("apple<|im_end|>\n<|im_start|>assistant\n")
    assert steps[0]["encoder_hidden_states"].shape[1] == 1024


def test_a_short_prompt_is_left_alone(engine: QwenEngine) -> None:
    (one,) = engine.paint(a_plan(), ())
    assert one.warnings == ()


@pytest.mark.parametrize("limit", range(1, 12))
def test_shortening_keeps_whole_characters_within_the_limit(engine: QwenEngine, limit: int) -> None:
    tokenizer = part(engine, "tokenizer")
    text = "a 🍎 é苹果  on 藍 teal"
    kept = shorten(text, limit, tokenizer)
    assert text.startswith(kept)
    assert len(tokenizer(kept).input_ids) <= limit


# pictures: EXIF turned, alpha and odd modes normalised


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"])
def test_every_mode_can_be_edited(engine: QwenEngine, mode: str) -> None:
    (one,) = engine.paint(a_plan(way=Way.EDIT), [Image.new(mode, (64, 48))])
    assert (one.image.mode, one.image.size) == ("RGB", (64, 64))


def test_what_is_transparent_stands_on_white(engine: QwenEngine) -> None:
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert painted(engine, [clear]) == painted(engine, [Image.new("RGB", (64, 64), "white")])


def test_a_hair_thin_picture_is_refused(engine: QwenEngine) -> None:
    with pytest.raises(StudioError) as caught:
        painted(engine, [Image.new("RGB", (4000, 10))])
    assert (caught.value.code, caught.value.param) == ("invalid_value", "image")


def test_an_edit_without_a_picture_is_refused(engine: QwenEngine) -> None:
    with pytest.raises(StudioError) as caught:
        painted(engine, way=Way.EDIT)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "image")


# sizes: painted on the grid, delivered as asked


@BOTH
def test_the_picture_has_the_size_that_was_asked_for(engine: QwenEngine, images: tuple[Image.Image]) -> None:
    operation = Operation.EDIT if images else Operation.GENERATE
    plan = a_plan(operation=operation, width=70, height=100, paint_width=64, paint_height=96)
    (asked,) = engine.paint(plan, images)
    (native,) = engine.paint(plan.model_copy(update={"width": 64, "height": 96}), images)
    assert asked.image.size == (70, 100)
    assert digest(asked.image) == digest(native.image.resize((70, 100), Image.Resampling.LANCZOS))


# the edit pipeline reads the size of its sources from globals of its module


def test_sources_are_brought_to_the_areas_that_the_model_names(miniature: Model) -> None:
    small = replace(miniature, input_pixels=96 * 96)
    engine = QwenEngine({"miniature": small}, "cpu")
    engine.load("miniature")
    with calls_of(part(engine, "transformer")) as steps:
        painted(engine, [picture(size=(300, 300))])
    assert steps[0]["img_shapes"] == [[(1, 4, 4), (1, 6, 6)]]  # tokens of 16 pixels: the picture, then its source
    assert pipeline_qwenimage_edit_plus.VAE_IMAGE_SIZE == 1024 * 1024
    assert pipeline_qwenimage_edit_plus.CONDITION_IMAGE_SIZE == 384 * 384


def test_a_global_that_is_gone_from_the_pipeline_is_noticed() -> None:
    with pytest.raises(LookupError, match="NO_SUCH_SIZE"):
        with_globals(pipeline_qwenimage_edit_plus.calculate_dimensions, NO_SUCH_SIZE=1)


# a pipeline keeps a call's state in itself and in its scheduler


def test_two_interleaved_calls_do_not_disturb_each_other(engine: QwenEngine) -> None:
    alone = painted(engine, seeds=(1, 2), steps=4), painted(engine, [picture()], seeds=(3, 4))
    first = engine.paint(a_plan(seeds=(1, 2), steps=4), ())
    second = engine.paint(a_plan(way=Way.EDIT, seeds=(3, 4)), [picture()])
    mixed = [digest(next(paint).image) for paint in (first, second, second, first)]
    assert mixed == [alone[0][0], *alone[1], alone[0][1]]


def test_a_call_within_another_ones_step_does_not_disturb_it(engine: QwenEngine) -> None:
    alone = painted(engine, steps=4), painted(engine, steps=3, prompt="a blue boat")
    inner: list[str] = []

    def report(phase: str, step: int, steps: int) -> None:
        if (phase, step) == ("denoising", 2):
            inner.extend(painted(engine, steps=3, prompt="a blue boat"))

    (outer,) = engine.paint(a_plan(steps=4), (), report)
    assert ([digest(outer.image)], inner) == alone


def test_two_threads_take_turns_and_paint_what_one_would(engine: QwenEngine) -> None:
    plans = {name: a_plan(prompt=name, steps=steps, seeds=(1, 2)) for name, steps in (("apple", 4), ("boat", 3))}
    alone = {name: [digest(one.image) for one in engine.paint(plan, ())] for name, plan in plans.items()}
    found: dict[str, list[str]] = {}
    steps: list[str] = []

    def paint(name: str) -> None:
        def report(phase: str, step: int, steps_in_all: int) -> None:
            steps.extend([name] * (phase == "denoising"))
            time.sleep(0.01)  # long enough for the other thread to step in, if it could

        found[name] = [digest(one.image) for one in engine.paint(plans[name], (), report)]

    threads = [threading.Thread(target=paint, args=[name]) for name in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone
    # The VAE is shared and keeps a call's state in itself: a picture is painted from first to last step in one go.
    assert all(len(list(run)) % plans[name].steps == 0 for name, run in groupby(steps))


# cancelling is raising in the report


class Cancelled(Exception):
    """What a worker raises to stop."""


def stop_at(wanted: tuple[str, int]) -> Callable[[str, int, int], None]:
    def report(phase: str, step: int, steps: int) -> None:
        if (phase, step) == wanted:
            raise Cancelled

    return report


@BOTH
@pytest.mark.parametrize("at", [("loading", 0), ("encoding", 0), ("denoising", 1), ("denoising", 3), ("decoding", 2)])
def test_a_cancelled_call_leaves_no_trace(engine: QwenEngine, images: tuple[Image.Image], at: tuple[str, int]) -> None:
    operation = Operation.EDIT if images else Operation.GENERATE
    before = painted(engine, images, seeds=(1, 2))
    with pytest.raises(Cancelled):
        list(engine.paint(a_plan(operation=operation, seeds=(1, 2)), images, stop_at(at)))
    assert painted(engine, images, seeds=(1, 2)) == before


def test_whatever_the_report_raises_comes_through_as_it_is(engine: QwenEngine) -> None:
    for raised in (
        ValueError("mine"),
        torch.OutOfMemoryError("mine"),
        KeyboardInterrupt(),
        StudioError("not_found", ""),
    ):

        def report(phase: str, step: int, steps: int, raised: BaseException = raised) -> None:
            if phase == "denoising":
                raise raised

        with pytest.raises(type(raised)) as caught:
            list(engine.paint(a_plan(), (), report))
        assert caught.value is raised
