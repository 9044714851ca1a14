"""Transparent pictures as a model with alpha sees and paints them, and what is put around the prompt for them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from qwen_image_studio.__main__ import cli
from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import Operation, Way
from qwen_image_studio.imaging.masks import region_mask
from qwen_image_studio.imaging.pixels import is_see_through, on_white
from qwen_image_studio.local.generator import QwenImageGenerator, one
from qwen_image_studio.models.architectures import MINIATURE
from qwen_image_studio.models.families import FAMILIES
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.painting.canvas import Canvas, blended
from qwen_image_studio.painting.inputs import CLOSING_TOKENS, fit_texts
from qwen_image_studio.painting.qwen import QwenEngine
from tests.server.test_engine import part, write_unified
from tests.server.test_long_and_clear import clear_picture
from tests.support.engine import clear_picture as cut_out
from tests.support.pictures import picture
from tests.support.plans import a_plan, plan_of

pytestmark = pytest.mark.usefixtures("one_thread")
NAME = "Qwen-Image-2.1"
ABLE = {NAME: MODELS[NAME]}
BEFORE, AFTER = (
    "This is an RGBA image with transparency.",
    "The image has alpha channel and the background is transparent.",
)
GLASS = (0, 255, 0, 128)


def finished(canvas: Canvas, passes: int, *painted: Image.Image | tuple[int, ...]) -> Image.Image:
    """The picture of a canvas on which a model paints the same in each pass, or one colour all over."""
    canvas.begin()
    for number in range(max(1, passes)):
        size = canvas.pass_input(number).size
        [each] = painted
        canvas.put(number, each.resize(size) if isinstance(each, Image.Image) else Image.new("RGBA", size, each))
    return canvas.finished


# -- what a picture is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "pixels", "shows"),
    [(0, 10, True), (239, 10, True), (240, 10_000, False), (0, 9, False), (255, 10_000, False)],
)
def test_a_picture_is_transparent_where_something_shows_through(alpha: int, pixels: int, shows: bool) -> None:
    plane = np.full((100, 100), 255, np.uint8)
    plane.ravel()[:pixels] = alpha
    image = Image.new("RGBA", (100, 100), "red")
    image.putalpha(Image.fromarray(plane))
    assert is_see_through(image) is shows
    assert not is_see_through(image.convert("RGB"))


def test_two_pictures_are_mixed_as_they_are_seen() -> None:
    before, after = clear_picture(), cut_out((160, 120), (0, 0, 255))
    share = Image.new("L", before.size)
    share.paste(255, (40, 0, 80, 120))
    share.paste(128, (80, 0, 120, 120))
    mixed = np.asarray(blended(before, after, share)).astype(float)
    assert np.array_equal(mixed[:, :40], np.asarray(before)[:, :40]), "to the bit where nothing is laid over"
    assert np.array_equal(mixed[:, 40:80], np.asarray(after)[:, 40:80])
    for ground in ("white", "black"):  # seen on any ground, it is the mean of both
        laid = [np.asarray(_on(ground, each)).astype(float) for each in (before, after)]
        seen = np.asarray(_on(ground, Image.fromarray(mixed.astype(np.uint8)))).astype(float)
        mean = laid[0] + (laid[1] - laid[0]) * 128 / 255
        assert np.abs(seen - mean)[:, 80:120].max() <= 3


def _on(ground: str, image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert("RGB")


# -- on the canvas ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("background", ["auto", "transparent"])
def test_what_a_model_with_alpha_paints_keeps_its_alpha(background: str) -> None:
    made = a_plan(background=background)
    done = finished(Canvas(made, [], alpha=True), 0, cut_out((64, 64), (200, 0, 0)))
    assert done.tobytes() == cut_out((64, 64), (200, 0, 0)).tobytes()


@pytest.mark.parametrize(
    ("changed", "alpha"),
    [({"background": "opaque"}, True), ({"background": "transparent"}, False), ({}, False)],
    ids=["opaque", "a model that cannot", "as ever"],
)
def test_all_else_is_laid_on_white(changed: dict[str, Any], alpha: bool) -> None:
    painted = cut_out((64, 64), (200, 0, 0))
    done = finished(Canvas(a_plan(**changed), [], alpha=alpha), 0, painted)
    assert (done.mode, done.tobytes()) == ("RGB", on_white(painted).tobytes())


def test_an_alpha_that_falls_a_little_short_is_none() -> None:
    for background in Background:
        done = finished(Canvas(a_plan(background=background), [], alpha=True), 0, (9, 9, 9, 250))
        assert done.mode == "RGB"


def test_no_colour_is_hidden_where_nothing_is_seen() -> None:
    hidden = Image.new("RGBA", (64, 64), (200, 10, 10, 0))
    hidden.paste((0, 0, 9, 255), (0, 0, 32, 64))
    done = np.asarray(finished(Canvas(a_plan(), [], alpha=True), 0, hidden))
    assert (done[:, 32:] == 0).all()
    assert (done[:, :32] == (0, 0, 9, 255)).all()


@pytest.mark.parametrize(("alpha", "mode"), [(True, "RGBA"), (False, "RGB")])
@pytest.mark.parametrize("background", ["auto", "transparent"])
def test_a_model_with_alpha_is_shown_that_of_its_pictures(background: str, alpha: bool, mode: str) -> None:
    made = a_plan(way=Way.EDIT, background=background)
    [source] = Canvas(made, [clear_picture()], alpha=alpha).pass_input(0).sources
    assert source.mode == mode
    if alpha:
        assert source.tobytes() == clear_picture().tobytes()
    [source] = Canvas(a_plan(way=Way.EDIT, background="opaque"), [clear_picture()], alpha=alpha).pass_input(0).sources
    assert source.mode == "RGB"


def part_of(picture: Image.Image, background: str, model: str = NAME) -> tuple[Any, Image.Image]:
    """A plan that inpaints the middle of a picture, and its mask."""
    mask = region_mask(Region(x=40, y=30, width=60, height=50), picture.size)
    asked = {"operation": "inpaint", "prompt": "a cat", "background": background}
    made, _ = plan_of(asked, {model: MODELS[model]}, [picture.size], mask)
    return made, mask.image


@pytest.mark.parametrize("ground", [clear_picture(), on_white(clear_picture())], ids=["RGBA", "RGB"])
def test_a_transparent_inpaint_is_clear_inside_and_untouched_outside(ground: Image.Image) -> None:
    made, mask = part_of(ground, "transparent")
    canvas = Canvas(made, [ground, mask], alpha=True)
    assert canvas.pass_input(0).sources[0].mode == "RGBA"
    done = np.asarray(finished(canvas, len(made.passes), GLASS))
    free = np.asarray(mask) > 0
    assert np.array_equal(done[~free], np.asarray(ground.convert("RGBA"))[~free])
    assert (np.abs(done[45:65, 60:80, 3].astype(int) - 128) <= 1).all()
    assert (np.abs(done[45:65, 60:80, :3].astype(int) - (0, 255, 0)) <= 1).all()


def test_a_picture_that_was_opaque_stays_so_where_a_part_of_it_is_painted_opaque() -> None:
    made, mask = part_of(picture(size=(160, 120)), "auto")
    ground = picture(size=(160, 120))
    done = finished(Canvas(made, [ground, mask], alpha=True), len(made.passes), (0, 255, 0, 252))
    assert done.mode == "RGB"
    free = np.asarray(mask) > 0
    assert np.array_equal(np.asarray(done)[~free], np.asarray(ground)[~free])


def test_an_opaque_inpaint_leaves_no_transparency() -> None:
    made, mask = part_of(clear_picture(), "opaque", "miniature")
    done = finished(Canvas(made, [clear_picture(), mask]), len(made.passes), (0, 255, 0, 255))
    free = np.asarray(mask) > 0
    assert done.mode == "RGB"
    assert np.array_equal(np.asarray(done)[~free], np.asarray(on_white(clear_picture()))[~free])


def test_an_outpaint_of_a_logo_stays_clear_around_it() -> None:
    ground = cut_out((160, 120), (0, 0, 255))
    made, _ = plan_of({"operation": "outpaint", "left": 64, "background": "transparent"}, ABLE, [ground.size])
    canvas = Canvas(made, [ground], alpha=True)
    start = np.asarray(canvas.pass_input(0).start)
    assert (start[:, :8, 3] == 0).all(), "what is beyond a clear edge begins clear"
    done = np.asarray(finished(canvas, len(made.passes), (0, 0, 0, 0)))
    assert np.array_equal(done[:, 64:], np.asarray(ground))
    assert (done[:, :32] == 0).all()


# -- what the model is told ------------------------------------------------------------------------------------------


class Words:
    """A tokenizer with a token for each word."""

    def __call__(self, text: str, **_: object) -> Any:
        starts, at = [], 0
        for word in text.split():
            at = text.index(word, at)
            starts.append((at, at + len(word)))
            at += len(word)
        found: Any = type("Found", (), {"input_ids": starts, "offset_mapping": starts})
        return found


def told(prompt: str, background: str = "transparent", limit: int = 100) -> tuple[str, Sequence[str]]:
    row = replace(MODELS[NAME], max_prompt_tokens={Way.GENERATE: limit + CLOSING_TOKENS})
    texts, warnings = fit_texts(a_plan(model=NAME, prompt=prompt, background=background), row, Words())
    return str(texts["prompt"]), warnings


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a red fox", f"{BEFORE} a red fox. {AFTER}"),
        ("A red fox!", f"{BEFORE} A red fox! {AFTER}"),
        ("一只红狐狸。", f"{BEFORE} 一只红狐狸。 {AFTER}"),
        (f"{BEFORE} A fox. {AFTER}", f"{BEFORE} A fox. {AFTER}"),
    ],
)
def test_the_newest_model_is_asked_in_the_sentences_of_its_card(prompt: str, said: str) -> None:
    assert told(prompt) == (said, ())
    assert told(prompt, "auto")[0] == told(prompt, "opaque")[0] == prompt


def test_a_long_prompt_is_cut_so_that_the_sentences_around_it_fit() -> None:
    said, warnings = told("word " * 99, limit=40)
    assert said.startswith(BEFORE)
    assert said.endswith(AFTER)
    assert len(said.split()) <= 40
    [warning] = warnings
    assert "left out from 'word" in warning


def test_only_families_with_alpha_are_told_so() -> None:
    assert {name for name, family in FAMILIES.items() if family.transparent_prompt("a") != "a"} <= {
        name for name, family in FAMILIES.items() if family.alpha
    }


# -- who paints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("background", "painter"), [("auto", "miniature"), ("transparent", "clear")])
@pytest.mark.parametrize("asked", [{}, {"model": "Qwen/Qwen-Image-2.1"}], ids=["no model", "one that is not here"])
def test_of_several_stand_ins_the_one_that_can_paints(background: str, painter: str, asked: dict[str, str]) -> None:
    clear = replace(MODELS["miniature"], name="clear", families={Way.GENERATE: "qwen-image-2.1"})
    models = {"miniature": MODELS["miniature"], "clear": clear}
    made, _ = plan_of({"operation": "generate", "prompt": "a cup", "background": background, **asked}, models)
    assert made.model == painter


# -- the newest model, with weights that know nothing ----------------------------------------------------------------


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny Qwen-Image-2.1 of random weights, whose pictures have any alpha."""
    folder = tmp_path_factory.mktemp("unified")
    write_unified(folder, Path(MODELS["miniature"].repository) / "tokenizer")
    return replace(MODELS[NAME], repository=str(folder), network=MINIATURE, input_pixels=64 * 64)


@pytest.fixture(scope="module")
def engine(row: Model) -> QwenEngine:
    """An engine with it."""
    return QwenEngine({row.name: row}, "cpu")


@pytest.mark.parametrize("images", [(), (clear_picture(64, 64),)], ids=["generate", "edit"])
def test_the_newest_model_paints_alpha_unless_an_opaque_picture_is_wanted(
    engine: QwenEngine, images: tuple[Image.Image, ...]
) -> None:
    way = Way.EDIT if images else Way.GENERATE
    plan: dict[str, Any] = {"model": NAME, "way": way, "guidance_scale": 1.0}
    made = {each: next(engine.paint(a_plan(**plan, background=each), images)).image for each in Background}
    assert [made[each].mode for each in (Background.AUTO, Background.TRANSPARENT, Background.OPAQUE)] == [
        "RGBA",
        "RGBA",
        "RGB",
    ]
    assert made[Background.AUTO].tobytes() != made[Background.TRANSPARENT].tobytes(), "by another prompt"
    if not images:
        assert on_white(made[Background.AUTO]).tobytes() == made[Background.OPAQUE].tobytes()


def test_the_newest_model_sees_the_alpha_of_its_pictures(engine: QwenEngine) -> None:
    """Two pictures that are the same on white, and not in their alpha."""
    plan = a_plan(model=NAME, operation=Operation.EDIT, way=Way.EDIT, guidance_scale=1.0, background="transparent")
    clear = cut_out((64, 64), (0, 0, 255))
    one_, other = (next(engine.paint(plan, [each])).image for each in (clear, on_white(clear)))
    assert one_.tobytes() != other.tobytes()


def test_the_encoder_reads_the_sentences_and_the_plan_keeps_the_callers_own_words(engine: QwenEngine) -> None:
    engine.load(NAME)
    read: list[str] = []
    tokenizer = part(engine, "processor", NAME).tokenizer
    plan = a_plan(model=NAME, prompt="a teapot", background="transparent", guidance_scale=1.0)
    encoder = part(engine, "text_encoder", NAME)
    hook = encoder.register_forward_pre_hook(
        lambda _, __, named: read.append(tokenizer.decode(named["input_ids"][0])), with_kwargs=True
    )
    try:
        list(engine.paint(plan, []))
    finally:
        hook.remove()
    assert plan.prompt == "a teapot"
    assert [each.count("alpha channel") for each in read] == [1], read


# -- without a server ------------------------------------------------------------------------------------------------


def test_the_notebook_paints_transparency(row: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_LICENCES", "qwen-research")
    monkeypatch.setitem(MODELS, NAME, row)
    studio = QwenImageGenerator(NAME, device="cpu")
    image = one(studio.generate(prompt="a cup", background="transparent", width=256, height=256, num_inference_steps=2))
    assert image.mode == "RGBA"
    assert image.info["prompt"] == "a cup"


def test_the_shell_refuses_a_transparent_jpeg_and_a_model_that_cannot(tmp_path: Path) -> None:
    asked = ["generate", "a cup", "--model", "miniature", "--background", "transparent", "-o"]
    for name, remedy in (("cup.jpg", "png or webp"), ("cup.png", "miniature-layered")):
        ran = CliRunner().invoke(cli, [*asked, str(tmp_path / name)])
        assert ran.exit_code != 0
        assert remedy in str(ran.exception)
    assert list(tmp_path.iterdir()) == []
