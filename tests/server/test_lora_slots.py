"""LoRAs on a compiled transformer: slots whose contents are exchanged, without anything being compiled anew."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.loras import LoraUse
from qwen_image_studio.loading.preparing import Preparation
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting.qwen import QwenEngine
from tests.support.lora_files import matrices, written
from tests.support.loras import a_lora
from tests.support.plans import a_plan

pytestmark = pytest.mark.usefixtures("one_thread")
LARGE = {"paint_width": 96, "width": 96}


@pytest.fixture(scope="module")
def model(miniature: Model, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The miniature with LoRAs of several ranks and layers."""
    folder = tmp_path_factory.mktemp("loras")
    made = {
        "ink": matrices(1),
        "photo": matrices(2, rank=8),
        "oil": matrices(3, rank=2, layers=["attn.to_q"]),
        "big": matrices(4, rank=96),
    }
    loras = {}
    for name, pairs in made.items():
        loras[name] = a_lora(name, file=str(written(folder / f"{name}.safetensors", pairs)))
    return replace(miniature, loras=loras)


@pytest.fixture(scope="module")
def plain(model: Model) -> QwenEngine:
    """An engine that compiles nothing."""
    return QwenEngine({model.name: model}, "cpu")


@pytest.fixture(scope="module")
def compiled(model: Model) -> QwenEngine:
    """An engine that compiles, by a compiler that runs each graph as it is."""
    return QwenEngine({model.name: model}, "cpu", preparation=Preparation(compiles=True, backend="eager"))


def seen(engine: QwenEngine, loras: dict[str, float], **changed: Any) -> np.ndarray[Any, Any]:
    """What it paints with these LoRAs, as numbers."""
    uses = [LoraUse(name=name, scale=scale) for name, scale in loras.items()]
    [one] = engine.paint(a_plan(loras=uses, **changed), ())
    return np.asarray(one.image, int)


def graphs() -> int:
    """How many graphs were compiled in this process."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def test_another_lora_scale_or_size_compiles_nothing(plain: QwenEngine, compiled: QwenEngine) -> None:
    for loras in ({}, {"ink": 1.0}, {}):
        seen(compiled, loras)
    before = graphs()
    assert before > 0
    for loras, changed in (
        ({"ink": 0.5}, {}),
        ({"photo": 1.0}, {}),
        ({"oil": 0.5}, {}),
        ({}, {}),
        ({"photo": 0.5}, LARGE),
        ({"ink": 1.0}, {}),
    ):
        assert np.abs(seen(compiled, loras, **changed) - seen(plain, loras, **changed)).max() <= 1, loras
    assert graphs() == before
    assert np.array_equal(seen(compiled, {}), seen(plain, {})), "of a LoRA that was taken off nothing is left"


def test_slots_grow_for_more_at_once_and_for_a_larger_rank(plain: QwenEngine, compiled: QwenEngine) -> None:
    for several in ({"ink": 1.0, "photo": 0.5}, {"ink": 0.5, "big": 0.5}):
        assert np.abs(seen(compiled, several) - seen(plain, several)).max() <= 1
    before = graphs()
    several = {"photo": 1.0, "oil": 0.5}
    assert np.abs(seen(compiled, several) - seen(plain, several)).max() <= 1
    assert graphs() == before
    assert np.array_equal(seen(compiled, {}), seen(plain, {}))


@pytest.mark.parametrize("is_compiled", [False, True], ids=["plain", "compiled"])
def test_memory_that_runs_out_while_a_lora_is_put_on_leaves_nothing(
    plain: QwenEngine, compiled: QwenEngine, model: Model, monkeypatch: pytest.MonkeyPatch, is_compiled: bool
) -> None:
    engine = compiled if is_compiled else QwenEngine({model.name: model}, "cpu")
    before = seen(engine, {})
    seen(engine, {"ink": 1.0})
    transformer = engine._weights.parts(engine._models["miniature"], model.precision()[0])["transformer"]
    put = type(transformer).load_lora_adapter

    def fail(own: Any, state: Any, **how: Any) -> None:
        put(own, state, **how)
        raise torch.OutOfMemoryError

    monkeypatch.setattr(type(transformer), "load_lora_adapter", fail)
    with pytest.raises(StudioError, match="LoRA photo does not fit beside the model") as caught:
        seen(engine, {"photo": 1.0})
    assert caught.value.code == "out_of_memory"
    monkeypatch.undo()
    assert np.array_equal(seen(engine, {}), before)
    for name in ("photo", "ink"):
        assert np.abs(seen(engine, {name: 1.0}) - seen(plain, {name: 1.0})).max() <= 1
