"""How parts are loaded to where a memory plan has them: the numbers stay, whatever is where."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImageTransformer2DModel

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Precision
from qwen_image_studio.loading import weights as weights_module
from qwen_image_studio.loading.fp8 import Fp8Linear, to_fp8
from qwen_image_studio.loading.memory import TILED_PIXELS, Machine, MemoryPlan
from qwen_image_studio.loading.placing import is_streamed, room_for
from qwen_image_studio.loading.weights import DTYPES
from qwen_image_studio.models.architectures import GIB, QWEN_IMAGE
from qwen_image_studio.models.footprints import Place, Stored, transformer_bytes
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting.qwen import NARROW_WARNING, QwenEngine
from tests.support.pictures import digest, picture
from tests.support.plans import a_plan, painted

pytestmark = pytest.mark.usefixtures("one_thread")
BF16, TABLES = Stored(Precision.BF16), Stored(Precision.BF16, tables=True)
FP8 = Stored(Precision.FP8, tables=True)
STREAMED = Stored(Precision.BF16, place=Place.STREAMED)


def engine_of(
    models: Mapping[str, Model], base: Stored, encoder: Place = Place.CARD, narrow: Stored | None = None
) -> QwenEngine:
    """An engine that lays its models out so on the processor, in bf16."""
    plan = MemoryPlan(Machine(80, 80), base, narrow, encoder, True, True, TILED_PIXELS, 0.0, 0.0)
    return QwenEngine(models, "cpu", DTYPES, memory=plan)


def out_of_memory(*_: object) -> None:
    """What moves weights where there is no room."""
    raise torch.OutOfMemoryError("no room")


@pytest.fixture(scope="module")
def whole(miniature: Model) -> list[list[str]]:
    """What the miniature paints in bf16 where all of it lies on the device: from a text, and an edit."""
    engine = QwenEngine({"miniature": miniature}, "cpu", DTYPES)
    return [painted(engine), painted(engine, [picture()])]


@pytest.mark.parametrize(
    ("base", "encoder"),
    [(BF16, Place.CARD), (TABLES, Place.CARD), (TABLES, Place.STREAMED), (STREAMED, Place.STREAMED)],
    ids=["whole", "tables", "encoder streamed", "streamed"],
)
def test_pictures_in_bf16_are_equal_to_the_bit_wherever_weights_are(
    miniature: Model, whole: list[list[str]], base: Stored, encoder: Place
) -> None:
    engine = engine_of({"miniature": miniature}, base, encoder)
    assert [painted(engine), painted(engine, [picture()])] == whole
    parts = engine._weights.parts(miniature, Precision.BF16)
    assert is_streamed(parts["transformer"]) is (base.place is Place.STREAMED)
    assert is_streamed(parts["text_encoder"]) is (encoder is Place.STREAMED)


def test_a_card_that_holds_fp8_alone_says_so_where_bf16_was_meant(miniature: Model, whole: list[list[str]]) -> None:
    engine = engine_of({"miniature": miniature}, FP8)
    [made] = engine.paint(a_plan(), [])
    assert made.warnings == (NARROW_WARNING,)
    assert digest(made.image) != whole[0][0]
    [meant] = engine.paint(a_plan(precision=Precision.FP8), [])
    assert (digest(meant.image), meant.warnings) == (digest(made.image), ())


def test_a_tier_that_wishes_fp8_gets_it_beside_bf16(miniature: Model, whole: list[list[str]]) -> None:
    engine = engine_of({"miniature": miniature}, TABLES, narrow=FP8)
    assert painted(engine) == whole[0]
    assert painted(engine, precision=Precision.FP8) != whole[0]
    wide, narrow = (engine._weights.parts(miniature, each) for each in (Precision.BF16, Precision.FP8))
    assert wide["text_encoder"] is narrow["text_encoder"]
    assert any(isinstance(module, Fp8Linear) for module in narrow["transformer"].modules())
    assert painted(engine) == whole[0]


def test_an_encoder_in_fp8_keeps_its_words_wide(miniature: Model) -> None:
    engine = engine_of({"miniature": miniature}, BF16, Place.CARD_FP8)
    encoder = engine._weights.parts(miniature, Precision.BF16)["text_encoder"]
    assert any(isinstance(module, Fp8Linear) for module in encoder.modules())
    assert encoder.get_input_embeddings().weight.dtype is torch.bfloat16
    assert painted(engine)


def test_a_model_that_makes_room_waits_in_the_machines_memory(
    miniature: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of({name: replace(miniature, name=name) for name in ("one", "two")}, TABLES)
    before = painted(engine, model="one")
    transformer = engine._weights.parts(engine._models["one"], Precision.BF16)["transformer"]
    monkeypatch.setattr(weights_module, "memory_of", lambda device: (GIB, 2 * GIB))  # for weights, not for work besides
    assert painted(engine, model="two") == before
    assert not engine._weights.holds(engine._models["one"], Precision.BF16)
    assert painted(engine, model="one") == before
    assert engine._weights.parts(engine._models["one"], Precision.BF16)["transformer"] is transformer, "not read again"


def test_where_the_machine_can_lock_no_memory_weights_wait_in_other_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = torch.empty_like

    def refusing(tensor: torch.Tensor, *, pin_memory: bool = False, **named: Any) -> torch.Tensor:
        if pin_memory:
            raise RuntimeError("CUDA error: out of memory")
        return plain(tensor, **named)

    monkeypatch.setattr(torch, "empty_like", refusing)
    room = room_for(torch.ones(2, 3, dtype=torch.bfloat16))
    assert (room.shape, room.dtype, room.device.type) == ((2, 3), torch.bfloat16, "cpu")


def test_a_model_that_finds_no_room_goes_on_waiting(miniature: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of({name: replace(miniature, name=name) for name in ("one", "two")}, TABLES)
    before = painted(engine, model="one")
    monkeypatch.setattr(weights_module, "memory_of", lambda device: (GIB, 2 * GIB))
    painted(engine, model="two")
    with monkeypatch.context() as crowded:
        crowded.setattr(weights_module, "come", out_of_memory)
        with pytest.raises(StudioError) as caught:
            painted(engine, model="one")
        assert caught.value.code == "out_of_memory"
        assert not engine._weights.holds(engine._models["one"], Precision.BF16)
    assert painted(engine, model="one") == before


def test_a_model_of_which_only_a_part_could_be_read_makes_room(
    miniature: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(miniature.repository, folder)
    [file] = (folder / "transformer").glob("*.safetensors")
    os.truncate(file, file.stat().st_size - 1)
    models = {"cut": replace(miniature, name="cut", repository=str(folder)), "whole": replace(miniature, name="whole")}
    engine = engine_of(models, TABLES)
    with pytest.raises(StudioError, match="cannot be read"):
        painted(engine, model="cut")
    monkeypatch.setattr(weights_module, "memory_of", lambda device: (GIB, 2 * GIB))
    assert painted(engine, model="whole")


def test_a_large_transformer_in_fp8_takes_what_is_counted() -> None:
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            built = QwenImageTransformer2DModel()
    finally:
        torch.set_default_dtype(torch.float32)
    to_fp8(built, rounds=False)
    counted = transformer_bytes(QWEN_IMAGE.transformer, Stored(Precision.FP8))
    held = sum(tensor.nbytes for tensor in (*built.parameters(), *built.buffers()))
    assert held == pytest.approx(counted, rel=0.002)
