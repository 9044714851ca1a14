"""References: how a text speaks of pictures, what their roles say to the model, and the maps that are made of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from qwen_image_studio.contract.references import Derive, ReferenceRole, Role
from qwen_image_studio.contract.words import Language, Way
from qwen_image_studio.imaging.edges import edges
from qwen_image_studio.models.families import FAMILIES
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.painting.inputs import fit_texts, shown
from qwen_image_studio.planning.plan import PaintPlan
from qwen_image_studio.prompts.references import mentions, renamed, unknown_image
from tests.support.plans import a_plan

EDITS, UNIFIED = FAMILIES["qwen-image-edit"], FAMILIES["qwen-image-2.1"]
SUBJECT, STYLE, NONE = ReferenceRole(role=Role.SUBJECT), ReferenceRole(role=Role.STYLE), ReferenceRole()
EDGES = ReferenceRole(role=Role.CONTROL, derive=Derive.EDGES)


class Words:
    """A tokenizer with a token for each character."""

    def __call__(self, text: str, **_: Any) -> Any:
        spans = [(place, place + 1) for place in range(len(text))]
        return type("Found", (), {"input_ids": list(text), "offset_mapping": spans})


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("put the cat of image 2 on <image1>", [2, 1]),
        ("image1, IMAGE 10, <image 3>, picture 2's frame and photo #4", [1, 10, 3, 2, 4]),
        ("把图1的猫放到图片2里，图十不动", [1, 2, 10]),
        ("把第一张图和第二张参考图合并到第十张图片", [1, 2, 10]),
        ("image1和image2合并，参考附图3", [1, 2, 3]),
        ("the second image, and the tenth reference image", [2, 10]),
        ("图一乐，画图一张，地图1，截图2，第十一张图", []),
        ("a picture 3:4, photo 2x5, image 1.5 times, image 12, the second picture on the wall", []),
        ('write "image 3" and “图2” on the sign', []),
    ],
)
def test_pictures_are_known_by_their_numbers(text: str, numbers: list[int]) -> None:
    assert [each.number for each in mentions(text)] == numbers


@pytest.mark.parametrize(("text", "unknown"), [("<image11> and image 1", 11), ("image 10", None), ("第三张图", None)])
def test_a_number_beyond_those_that_were_sent_is_found(text: str, unknown: int | None) -> None:
    assert unknown_image(text, 10) == unknown


def test_each_family_reads_its_own_names() -> None:
    text = "put <image2> beside image 1, like 图3 and <image4>"

    def told(family: Any, language: Language) -> str:
        return renamed(
            text, 3, lambda number: family.reference_name(number, language), only_marks=not family.marks_references
        )

    assert told(EDITS, Language.EN) == "put Picture 2 beside image 1, like 图3 and <image4>", "its makers write image 1"
    assert told(EDITS, Language.ZH).startswith("put 图2 beside image 1")
    assert told(UNIFIED, Language.EN) == "put <image2> beside <image1>, like <image3> and <image4>"


@pytest.mark.parametrize(
    ("prompt", "name", "read"),
    [
        ("a cat in <image3>", "Qwen-Image-Edit-2509", "The subject is the one in Picture 1. Picture 3 is an edge map: "
         "follow its lines. a cat in Picture 3"),
        ("图3里的猫", "Qwen-Image-Edit-2509", "主体取自图1。图3是边缘图，请遵循其线条。图3里的猫"),
        ("图3里的猫", "Qwen-Image-2.1", "主体取自<image1>。<image3>是边缘图，请遵循其线条。<image3>里的猫"),
    ],
)  # fmt: skip
def test_roles_are_sentences_before_the_prompt_in_its_language(prompt: str, name: str, read: str) -> None:
    plan = an_edit(model=name, prompt=prompt, roles=(SUBJECT, NONE, EDGES))
    texts, warnings = fit_texts(plan, MODELS[name], Words(), 3)
    assert (texts["prompt"], warnings) == (read, ())
    assert plan.prompt == prompt


def test_a_prompt_that_is_too_long_is_cut_and_not_its_roles() -> None:
    plan = an_edit(prompt="a" * 3000, roles=(STYLE,))
    texts, warnings = fit_texts(plan, MODELS[plan.model], Words(), 1)
    prompt = texts["prompt"] or ""
    assert prompt.startswith("The style is that of Picture 1, not its content. aaa")
    assert len(prompt) == 2048 - 5
    assert len(warnings) == 1


def test_a_description_is_read_as_it_is() -> None:
    plan = an_edit(model="Qwen-Image", way=Way.GENERATE, prompt="<image1> on a sign")
    assert fit_texts(plan, MODELS["Qwen-Image"], Words(), 1)[0]["prompt"] == "<image1> on a sign"


# maps


def disc(size: tuple[int, int] = (96, 64), radius: int = 20) -> Image.Image:
    picture = Image.new("RGB", size, "navy")
    middle = (size[0] // 2, size[1] // 2)
    ImageDraw.Draw(picture).circle(middle, radius, fill="yellow")
    return picture


def test_edges_are_white_lines_on_black_where_the_picture_changes() -> None:
    found = edges(disc(), 1024 * 1024)
    assert (found.mode, found.size) == ("RGB", (96, 64))
    lines = np.asarray(found)[..., 0]
    assert set(np.unique(lines)) == {0, 255}
    down, across = np.nonzero(lines)
    distance = np.hypot(down - 32, across - 48)
    assert np.abs(distance - 20).max() < 2.5, "only on the circle"
    assert 100 < len(down) < 180, "a line of about a pixel, all around"
    angles = np.sort(np.arctan2(down - 32, across - 48))
    assert np.diff(angles).max() < 0.2, "without a gap"
    assert edges(disc(), 1024 * 1024).tobytes() == found.tobytes()


def test_what_hardly_changes_has_no_edges() -> None:
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 256).astype(np.uint8), (64, 1))).convert("RGB")
    assert edges(ramp, 10**6).getextrema() == ((0, 0),) * 3
    assert edges(Image.new("RGBA", (32, 32), (0, 0, 0, 0)), 10**6).getextrema() == ((0, 0),) * 3


def test_edges_of_a_large_picture_are_found_at_the_size_that_is_shown() -> None:
    found = edges(disc((960, 640), 200), 96 * 64)
    assert found.size == (96, 64)
    assert (np.asarray(found)[..., 0] > 0).sum() > 100


def test_edges_on_a_transparent_ground_are_those_on_white() -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (16, 16, 48, 48))
    lines = np.asarray(edges(clear, 10**6))[..., 0]
    assert lines[8:56, 8:56].any()
    assert not lines[24:40, 24:40].any()


@pytest.mark.parametrize("pixels", [(1, 1), (1, 40), (3000, 1)])
def test_the_smallest_pictures_have_maps_too(pixels: tuple[int, int]) -> None:
    assert edges(Image.new("RGB", pixels, "red"), 10**6).size == pixels


def test_the_model_is_shown_the_map_in_the_pictures_place() -> None:
    model = replace(MODELS["Qwen-Image-Edit-2509"], input_pixels=96 * 64)
    pictures = [disc(), disc((960, 640), 200), Image.new("L", (96, 64), 255)]
    plan = an_edit(mask=True, roles=(SUBJECT, EDGES))
    seen = shown(plan, model, pictures)
    assert seen[0] is pictures[0]
    assert seen[2] is pictures[2]
    assert seen[1].size == (96, 64)
    assert seen[1].getcolors() is not None
    assert shown(an_edit(), model, pictures) == pictures


def an_edit(**changed: Any) -> PaintPlan:
    return a_plan(**{"model": "Qwen-Image-Edit-2509", "way": Way.EDIT, "guidance_scale": 1.0, **changed})
