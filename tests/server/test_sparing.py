"""The smaller plan of an attempt before which memory had run out: the same picture, with less on the device at once."""

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qwen_image_studio.contract.words import Precision, Tier
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting import sparing
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.planning.engine import Painted
from qwen_image_studio.planning.plan import Variant
from tests.support.pictures import digest
from tests.support.plans import a_plan, painted

pytestmark = pytest.mark.usefixtures("one_thread")
LARGE = {"paint_width": 320, "paint_height": 256, "width": 320, "height": 256}
"""A size that the VAE decodes in tiles, where it is told to."""


def frugal(engine: QwenEngine, **changed: Any) -> Painted:
    return next(engine.paint(a_plan(**changed), [], frugal=True))


def test_a_picture_of_one_tile_is_the_same_to_the_bit(engine: QwenEngine) -> None:
    [before] = painted(engine)
    spared = frugal(engine)
    assert digest(spared.image) == before
    assert sparing.TILED_WARNING not in spared.warnings


def test_a_larger_picture_is_decoded_in_tiles_and_says_so(engine: QwenEngine) -> None:
    whole = next(engine.paint(a_plan(**LARGE), []))
    spared = frugal(engine, **LARGE)
    assert sparing.TILED_WARNING not in whole.warnings
    assert sparing.TILED_WARNING in spared.warnings
    difference = np.abs(np.asarray(spared.image, float) - np.asarray(whole.image, float)).mean()
    assert 0 < difference < 6  # of 255: it is the same picture
    assert digest(next(engine.paint(a_plan(**LARGE), [])).image) == digest(whole.image), "later ones are whole again"


def test_all_images_of_a_job_warn_once_each(engine: QwenEngine) -> None:
    several = list(engine.paint(a_plan(**LARGE, seeds=(1, 2)), [], frugal=True))
    assert [one.warnings.count(sparing.TILED_WARNING) for one in several] == [1, 1]


def test_other_models_are_dropped_first(miniature: Model) -> None:
    engine = QwenEngine({name: replace(miniature, name=name) for name in ("old", "new")}, "cpu")
    before = painted(engine, model="old")
    held = engine._weights.parts(engine._models["old"], Precision.FP32)["transformer"]
    other = weakref.ref(held)
    del held
    assert painted(engine, model="new") == before
    assert other() is not None
    assert digest(frugal(engine, model="new").image) == before[0]
    gc.collect()
    assert other() is None
    assert engine.loaded == Variant("new", Tier.QUALITY, miniature.precision()[0])
    assert painted(engine, model="old") == before


def test_the_text_encoder_goes_once_all_texts_are_encoded(engine: QwenEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    parts = engine._weights.parts(engine._models["miniature"], Precision.FP32)
    hook = parts["text_encoder"].register_forward_pre_hook(lambda *_: told.append("encodes"))
    monkeypatch.setattr(sparing, "put_away", lambda encoder, device: told.append("put away"))
    try:
        list(engine.paint(a_plan(seeds=(1, 2)), [], frugal=True))
        assert told.index("put away") == told.count("encodes") > 0
        told.clear()
        list(engine.paint(a_plan(), []))
        assert "put away" not in told
    finally:
        hook.remove()


def moved(monkeypatch: pytest.MonkeyPatch, place: str, free: int) -> tuple[torch.nn.Module, list[str]]:
    """A text encoder of 24 bytes at that place, and a list of the devices that it is moved to."""
    encoder, places = torch.nn.Linear(2, 2, device=place), list[str]()
    monkeypatch.setattr(encoder, "to", places.append)
    monkeypatch.setattr(sparing, "memory_of", lambda device: (free, 10**9))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    return encoder, places


@pytest.mark.parametrize(
    ("place", "free", "device", "to"),
    [
        ("meta", 1000, "cuda:0", ["cpu"]),
        ("meta", 20, "cuda:0", []),  # the machine has no room
        ("cpu", 1000, "cuda:0", []),  # it is there already
        ("meta", 1000, "mps", []),  # which shares the machine's memory
    ],
)
def test_the_text_encoder_leaves_a_card_for_the_machine_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, place: str, free: int, device: str, to: list[str]
) -> None:
    encoder, places = moved(monkeypatch, place, free)
    sparing.put_away(encoder, device)
    assert places == to


@pytest.mark.parametrize(
    ("place", "device", "to"), [("cpu", "cuda:0", ["cuda:0"]), ("meta", "cuda:0", []), ("cpu", "cpu", [])]
)
def test_the_text_encoder_is_brought_back_for_the_next_painting(
    monkeypatch: pytest.MonkeyPatch, place: str, device: str, to: list[str]
) -> None:
    encoder, places = moved(monkeypatch, place, 1000)
    sparing.bring_back(encoder, device)
    assert places == to


def test_an_edit_whose_sources_may_be_encoded_in_tiles_says_so(engine: QwenEngine) -> None:
    plan = a_plan(way="edit")
    spared = next(engine.paint(plan, [Image.new("RGB", (64, 64), "red")], frugal=True))
    assert sparing.TILED_WARNING in spared.warnings
