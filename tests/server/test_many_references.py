"""Many references at once: they are all seen, each in its place, by either family that edits."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qwen_image_studio.contract.references import Derive, ReferenceRole, Role
from qwen_image_studio.contract.words import MAX_INPUTS
from qwen_image_studio.imaging.edges import edges
from qwen_image_studio.loading.weights import DTYPES
from qwen_image_studio.models.architectures import MINIATURE
from qwen_image_studio.models.families import Sources
from qwen_image_studio.models.families.qwen_image_21 import QwenImage21
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.painting.qwen import QwenEngine
from tests.server.test_engine import write_unified
from tests.support.pictures import digest, picture
from tests.support.plans import painted

pytestmark = pytest.mark.usefixtures("one_thread")

UNIFIED = "Qwen-Image-2.1"
COLOURS = ("red", "blue", "green", "yellow", "black", "orange", "purple", "cyan", "brown", "pink")
PICTURES = [picture(colour) for colour in COLOURS]
EDGES = ReferenceRole(role=Role.CONTROL, derive=Derive.EDGES)


@pytest.fixture(scope="module")
def engine(miniature: Model, tmp_path_factory: pytest.TempPathFactory) -> QwenEngine:
    """The miniature, a row of it that takes ten pictures, and a tiny Qwen-Image-2.1 of random weights."""
    folder = tmp_path_factory.mktemp("unified")
    write_unified(folder, Path(miniature.repository) / "tokenizer")
    small = replace(miniature, input_pixels=64 * 64)
    rows = [
        small,
        replace(small, name="ten", max_images=10),
        replace(MODELS[UNIFIED], repository=str(folder), network=MINIATURE, input_pixels=64 * 64),
    ]
    return QwenEngine({row.name: row for row in rows}, "cpu", DTYPES)


def swapped(images: Sequence[Image.Image], one: int, other: int) -> list[Image.Image]:
    changed = list(images)
    changed[one], changed[other] = changed[other], changed[one]
    return changed


@pytest.mark.parametrize(
    ("model", "count"), [("miniature", 1), ("miniature", 2), ("miniature", 3), ("ten", 10), (UNIFIED, 10)]
)
def test_all_pictures_are_seen_and_each_in_its_place(engine: QwenEngine, model: str, count: int) -> None:
    shown, plan = PICTURES[:count], {"model": model, "guidance_scale": 1.0}
    first = painted(engine, shown, **plan)
    assert painted(engine, shown, **plan) == first
    last = [*shown[:-1], picture("white")]
    assert painted(engine, last, **plan) != first, "the last is seen"
    if count > 1:
        assert painted(engine, swapped(shown, 0, count - 1), **plan) != first
    if count > 2:
        assert painted(engine, swapped(shown, 1, 2), **plan) != first


def test_as_many_as_any_model_takes_are_tried_here() -> None:
    assert len(PICTURES) == MAX_INPUTS == max(model.max_images for model in MODELS.values())


def test_the_pipeline_is_handed_a_map_in_the_place_of_its_picture(
    engine: QwenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[Sequence[Image.Image]] = []
    keywords = QwenImage21.keywords

    def noted(self: QwenImage21, sources: Sources) -> dict[str, Any]:
        handed.append(sources.images)
        return keywords(self, sources)

    monkeypatch.setattr(QwenImage21, "keywords", noted)
    shown = PICTURES[:3]
    roles = (ReferenceRole(role=Role.SUBJECT), EDGES)
    plan: dict[str, Any] = {"model": UNIFIED, "guidance_scale": 1.0}
    made = painted(engine, shown, **plan, roles=roles)
    [images] = handed
    expected = [shown[0], edges(shown[1], 64 * 64), shown[2]]
    assert [digest(each) for each in images] == [digest(each) for each in expected]
    assert made != painted(engine, shown, **plan), "and what is said of them"


def test_roles_and_numbers_reach_the_text_that_is_encoded(engine: QwenEngine) -> None:
    plan: dict[str, Any] = {"model": UNIFIED, "guidance_scale": 1.0}
    of_mark = painted(engine, PICTURES[:2], **plan, prompt="put <image2> on <image1>")
    assert painted(engine, PICTURES[:2], **plan, prompt="put image 2 on 图1") == of_mark
    assert painted(engine, PICTURES[:2], **plan, prompt="put image 1 on 图2") != of_mark
    roles = (ReferenceRole(role=Role.BACKGROUND), ReferenceRole(role=Role.SUBJECT))
    assert painted(engine, PICTURES[:2], **plan, prompt="put <image2> on <image1>", roles=roles) != of_mark
