"""The smaller plan of an attempt before which memory had run out: the same picture, with less on the device at once."""

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Precision, Tier
from qwen_image_studio.loading.placing import is_streamed
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting import sparing
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.planning.engine import Painted
from qwen_image_studio.planning.plan import Variant
from tests.support.pictures import digest, picture
from tests.support.plans import a_plan, painted

pytestmark = pytest.mark.usefixtures("one_thread")
LARGE = {"paint_width": 320, "paint_height": 256, "width": 320, "height": 256}
"""A size that the VAE decodes in tiles, where it is told to."""
NO_SMALLER = (
    "64x64 does not fit into the memory of cpu; no smaller size can be asked for: free memory there, give the server "
    "a larger device, or send fewer input images."
)


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


# -- the ladder ----------------------------------------------------------------------------------------------------


def failing(module: torch.nn.Module, times: int) -> Any:
    """Have a part run out of memory so many times; the hook to remove."""
    left = [times]

    def fail(*_: object) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return module.register_forward_pre_hook(fail)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The processor takes the part of a card: what leaves it goes to the same memory. The moves of the encoder."""
    moved: list[str] = []
    monkeypatch.setattr(sparing, "has_own_memory", lambda device: True)
    monkeypatch.setattr(sparing, "is_away", lambda encoder: False)
    monkeypatch.setattr(sparing, "put_away", lambda encoder, device: moved.append("put away"))
    return moved


PARTS = ("text_encoder", "transformer")
SAID = sparing.SAID
Rung = sparing.Rung


@pytest.mark.parametrize(
    ("part", "times", "rungs"),
    [
        ("transformer", 1, [Rung.ENCODER]),
        ("transformer", 2, [Rung.ENCODER, Rung.ALONE]),
        ("transformer", 3, [Rung.ENCODER, Rung.ALONE, Rung.STREAM]),
        ("text_encoder", 1, [Rung.ALONE]),
        ("text_encoder", 2, [Rung.ALONE, Rung.STREAM]),
    ],
)
def test_a_part_that_runs_out_goes_down_rung_by_rung(
    miniature: Model, card: list[str], part: str, times: int, rungs: list[sparing.Rung]
) -> None:
    engine = QwenEngine({name: replace(miniature, name=name) for name in ("other", "miniature")}, "cpu")
    engine.load("other")
    before = painted(engine)
    parts = engine._weights.parts(engine._models["miniature"], Precision.FP32)
    handle = failing(parts[part], times)
    [spared] = engine.paint(a_plan(), [])
    handle.remove()
    assert [digest(spared.image)] == before
    assert spared.warnings == tuple(SAID[rung] for rung in rungs)
    assert bool(card) is (Rung.ENCODER in rungs)
    assert engine._weights.holds(engine._models["other"], Precision.FP32) is (Rung.ALONE not in rungs)
    assert not any(is_streamed(parts[each]) for each in PARTS), "the next job finds the model as it was"
    assert painted(engine) == before
    [after] = engine.paint(a_plan(), [])
    assert after.warnings == ()


def test_a_vae_that_runs_out_works_in_tiles_for_this_job_alone(
    engine: QwenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = painted(engine, (), **LARGE)
    vae = engine._weights.parts(engine._models["miniature"], Precision.FP32)["vae"]
    decode = vae.decode

    def fail(*given: Any, **named: Any) -> Any:
        if not vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(*given, **named)

    monkeypatch.setattr(vae, "decode", fail)
    several = list(engine.paint(a_plan(**LARGE, seeds=(1, 2)), []))
    assert [one.warnings for one in several] == [(sparing.TILED_WARNING,)] * 2
    monkeypatch.undo()
    assert painted(engine, (), **LARGE) == before


def test_where_no_rung_is_left_the_error_says_what_to_ask_for(engine: QwenEngine, card: list[str]) -> None:
    before = painted(engine)
    parts = engine._weights.parts(engine._models["miniature"], Precision.FP32)
    handle = failing(parts["transformer"], 99)
    with pytest.raises(StudioError, match=NO_SMALLER) as caught:
        painted(engine)
    handle.remove()
    assert caught.value.code == "out_of_memory"
    assert not any(is_streamed(parts[each]) for each in PARTS)
    assert painted(engine) == before


def test_the_last_attempt_begins_at_the_lowest_rung(engine: QwenEngine, card: list[str]) -> None:
    before = painted(engine)
    parts = engine._weights.parts(engine._models["miniature"], Precision.FP32)
    seen: list[bool] = []
    hook = parts["transformer"].register_forward_pre_hook(lambda *_: seen.append(is_streamed(parts["transformer"])))
    spared = frugal(engine)
    hook.remove()
    assert seen
    assert all(seen)
    assert SAID[Rung.STREAM] in spared.warnings
    assert digest(spared.image) == before[0]
    assert painted(engine) == before


def test_what_is_saved_is_not_counted_twice_where_a_pass_is_painted_again(engine: QwenEngine, card: list[str]) -> None:
    plan = a_plan(strength=0.5, steps=4)
    [before] = engine.paint(plan, [picture()])
    transformer = engine._weights.parts(engine._models["miniature"], Precision.FP32)["transformer"]
    handle = failing(transformer, 1)
    [spared] = engine.paint(plan, [picture()])
    handle.remove()
    assert spared.compute_saved == before.compute_saved


def test_on_a_processor_nothing_leaves_for_the_memory_that_it_is_in(engine: QwenEngine) -> None:
    parts = engine._weights.parts(engine._models["miniature"], Precision.FP32)
    handle = failing(parts["transformer"], 1)
    with pytest.raises(StudioError, match="does not fit"):
        painted(engine)
    handle.remove()
