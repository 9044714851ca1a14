"""The modulation table: equal to the bit, another one for whatever changes it, and right whatever becomes of a call."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig

from qwen_image_studio.contract.words import Precision, Way
from qwen_image_studio.loading.modulation import NAMES, Modulation, settle
from qwen_image_studio.loading.preparing import Prepared, prepared
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting.qwen import QwenEngine
from tests.support.pictures import picture
from tests.support.plans import a_plan, painted
from tests.support.transformers import denoised, equal, forward, given, scheduled, tiny

pytestmark = pytest.mark.usefixtures("one_thread")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
KINDS = pytest.mark.parametrize("zero_cond_t", [False, True], ids=["2509", "2511"])


def counted(modulation: Modulation) -> tuple[int, int, int]:
    """Hits, misses and tables that were filled."""
    return modulation.hits, modulation.misses, modulation.filled


@pytest.fixture
def stock() -> Any:
    """A transformer as diffusers has it."""
    return tiny()


@pytest.fixture
def own() -> Any:
    """The same with a table."""
    return tiny()


@pytest.fixture
def table(own: Any) -> Modulation:
    return Modulation(own)


# -- equal to the bit


@DTYPES
@KINDS
def test_answers_that_are_looked_up_are_equal_to_the_bit(dtype: torch.dtype, zero_cond_t: bool) -> None:
    stock, own = tiny(dtype, zero_cond_t=zero_cond_t), tiny(dtype, zero_cond_t=zero_cond_t)
    table = Modulation(own)
    wanted = denoised(stock, scheduled(), dtype, references=1)
    with table.following(scheduler := scheduled()):
        assert equal(denoised(own, scheduler, dtype, references=1), wanted)
    assert counted(table) == (8, 0, 1)


def test_the_layers_are_run_once_for_each_step(own: Any, table: Modulation) -> None:
    runs: list[str] = []
    for name in NAMES:
        layer = getattr(own.transformer_blocks[1], name)[1]
        layer.register_forward_hook(lambda *_, name=name: runs.append(name))
    with table.following(scheduler := scheduled(steps=5)):
        denoised(own, scheduler)
    assert sorted(runs) == ["img_mod"] * 5 + ["txt_mod"] * 5
    with table.following(scheduler := scheduled(steps=5)):
        denoised(own, scheduler)
    assert len(runs) == 10


# -- another table for whatever changes it


def test_every_schedule_has_its_table(stock: Any, own: Any, table: Modulation) -> None:
    kinds = [{"steps": 4}, {"steps": 3}, {"tokens": 900}, {"steps": 4}]
    for kind in kinds:
        with table.following(scheduler := scheduled(**kind)):
            assert equal(denoised(own, scheduler), denoised(stock, scheduled(**kind)))
    assert counted(table) == (30, 0, 3)


def test_every_model_has_its_tables(own: Any, table: Modulation) -> None:
    other = tiny(seed=1)
    others = Modulation(other)
    for transformer, its in ((own, table), (other, others)):
        with its.following(scheduler := scheduled()):
            assert equal(denoised(transformer, scheduler), denoised(tiny(seed=int(transformer is other)), scheduled()))
    assert counted(table) == counted(others) == (8, 0, 1)


def with_lora(transformer: Any, scale: float = 1.0, seed: int = 0) -> None:
    """Put a LoRA into the transformer's modulation and its attention, unless it is there, and set its scale."""
    torch.manual_seed(seed)
    if not getattr(transformer, "peft_config", {}):
        kind = LoraConfig(r=2, target_modules=["img_mod.1", "to_q"], init_lora_weights=False)
        transformer.add_adapter(kind, adapter_name="one")
    transformer.set_adapters("one", scale)


def test_a_lora_and_its_scale_have_their_tables(stock: Any, own: Any, table: Modulation) -> None:
    def both_paint_the_same() -> None:
        with table.following(scheduler := scheduled()):
            assert equal(denoised(own, scheduler), denoised(stock, scheduled()))

    both_paint_the_same()
    for scale in (1.0, 0.5):
        with_lora(own, scale)
        with_lora(stock, scale)
        both_paint_the_same()
    own.disable_lora()
    stock.disable_lora()
    both_paint_the_same()
    own.enable_lora()
    stock.enable_lora()
    both_paint_the_same()
    assert table.filled == 3  # without it, and with each of its scales


def test_a_lora_in_anothers_place_has_its_own_table(stock: Any, own: Any, table: Modulation) -> None:
    for seed in range(2):
        with_lora(own, seed=seed)
        with_lora(stock, seed=seed)
        with table.following(scheduler := scheduled()):
            assert equal(denoised(own, scheduler), denoised(stock, scheduled()))
        own.delete_adapters("one")
        stock.delete_adapters("one")
    assert table.filled == 2


def test_a_lora_whose_weights_are_exchanged_in_place_has_its_own_table(stock: Any, own: Any, table: Modulation) -> None:
    for transformer in (own, stock):
        with_lora(transformer)
    for mark in ("red", "blue", "red"):
        for transformer in (own, stock):
            torch.manual_seed(len(mark))
            for layer in (block.img_mod[1] for block in transformer.transformer_blocks):
                layer.lora_A["one"].weight.data.normal_()
        own.active_loras = ((mark, 1.0),)  # as loading.adapters says what is in its slots
        with table.following(scheduler := scheduled()):
            assert equal(denoised(own, scheduler), denoised(stock, scheduled()))
    assert table.filled == 2


def test_weights_that_were_changed_in_place_are_told_by_forgetting(stock: Any, own: Any, table: Modulation) -> None:
    with table.following(scheduler := scheduled()):
        denoised(own, scheduler)
    for transformer in (stock, own):
        transformer.transformer_blocks[0].img_mod[1].weight.data.mul_(2)
    table.forget()
    assert table.bytes == 0
    with table.following(scheduler := scheduled()):
        assert equal(denoised(own, scheduler), denoised(stock, scheduled()))


# -- what is in no table is computed


def test_a_pass_outside_of_a_call_is_computed(stock: Any, own: Any, table: Modulation) -> None:
    assert torch.equal(forward(own), forward(stock))
    assert counted(table) == (0, 1, 0)


def test_another_timestep_than_the_steps_is_computed(stock: Any, own: Any, table: Modulation) -> None:
    with table.following(scheduler := scheduled()):
        first = scheduler.timesteps[0] / 1000
        for timestep in (first, 0.123, first):
            assert torch.equal(forward(own, timestep=timestep), forward(stock, timestep=timestep))
    assert counted(table) == (2, 1, 1)


def test_a_schedule_that_is_followed_wrongly_from_the_first_pass_is_computed(own: Any, table: Modulation) -> None:
    with table.following(scheduler := scheduled()):
        forward(own, timestep=scheduler.timesteps[1] / 1000)
        forward(own, timestep=scheduler.timesteps[0] / 1000)
    assert counted(table) == (0, 2, 1)


def test_a_schedule_that_is_set_anew_within_a_call_is_followed(stock: Any, own: Any, table: Modulation) -> None:
    scheduler = scheduled(steps=3)
    with table.following(scheduler):
        assert equal(denoised(own, scheduler), denoised(stock, scheduled(steps=3)))
        scheduler.set_timesteps(sigmas=[0.6, 0.3], mu=0.7)
        scheduler.set_begin_index(0)
        found = denoised(own, scheduler)
    scheduler.set_timesteps(sigmas=[0.6, 0.3], mu=0.7)
    scheduler.set_begin_index(0)
    assert equal(found, denoised(stock, scheduler))
    assert counted(table) == (10, 0, 2)


# -- memory


def test_the_tables_that_were_used_longest_ago_go_first(own: Any) -> None:
    row = 2 * 2 * 6 * 64 * 4  # bytes of a step: blocks, layers, answers, width, float32
    table = Modulation(own, room=7 * row)
    filled = []
    for steps in (3, 4, 3, 2, 3, 4, 9, 9):
        with table.following(scheduler := scheduled(steps=steps)):
            denoised(own, scheduler)
        filled.append(table.filled)
        assert table.bytes <= max(7, steps) * row
    assert filled == [1, 2, 2, 3, 3, 4, 5, 5]  # 2 drops 4, since 3 was used after it; 9 has no room, and stays alone


@KINDS
def test_modulation_that_stays_in_the_machines_memory_is_sent_over_for_its_answers(zero_cond_t: bool) -> None:
    own = tiny(zero_cond_t=zero_cond_t)
    Modulation(own)
    layers = [getattr(block, name) for block in own.transformer_blocks for name in NAMES]
    there: set[str] = set()
    for layer in layers:
        layer[1].register_forward_pre_hook(lambda linear, _: there.add(str(linear.weight.device)))
    settle(own, "meta")  # a device that computes nothing
    staying = {weight for layer in layers for weight in layer.parameters()}
    assert {weight for weight in own.parameters() if weight.is_cpu} == staying
    with torch.no_grad():
        (answer,) = own(**{name: _on_meta(value) for name, value in given(references=1).items()})
    assert (answer.is_meta, there) == (True, {"meta"})
    assert {weight for weight in own.parameters() if weight.is_cpu} == staying


def _on_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) else value


# -- in the engine


def ready(engine: QwenEngine, model: str = "miniature") -> Prepared:
    """What the engine has made ready of a model."""
    row = engine._models[model]
    found = prepared(engine._weights.parts(row, row.precision()[0])["transformer"])
    assert found is not None
    return found


@pytest.fixture
def fresh(miniature: Model) -> QwenEngine:
    """An engine that has painted nothing yet."""
    engine = QwenEngine({miniature.name: replace(miniature, input_pixels=64 * 64)}, "cpu")
    engine.load(miniature.name, Precision.BF16)
    return engine


def test_all_pictures_of_a_size_share_a_table(fresh: QwenEngine) -> None:
    painted(fresh, seeds=(1, 2), steps=3)
    painted(fresh, [picture()], steps=3, prompt="a blue boat")
    assert counted(ready(fresh).modulation) == (3 * 2 * 3, 0, 1)


def test_a_call_that_starts_later_has_the_table_of_its_schedule(fresh: QwenEngine) -> None:
    plan = a_plan(steps=5, strength=0.5)
    list(fresh.paint(plan, [picture()]))
    modulation = ready(fresh).modulation
    assert counted(modulation) == (2 * plan.run_steps, 0, 1)
    assert plan.run_steps < 5
    painted(fresh, steps=5)
    assert modulation.filled == 2


def test_a_transformer_that_is_spared_has_no_tables(fresh: QwenEngine) -> None:
    before = painted(fresh)
    modulation = ready(fresh).modulation
    assert modulation.bytes > 0
    row = fresh._models["miniature"]
    fresh._weights.stream(row, row.precision()[0])
    assert modulation.bytes == 0
    assert painted(fresh) == before


class Cancelled(Exception):
    """What a worker raises to stop."""


@pytest.mark.parametrize("images", [(), (picture(),)], ids=["generate", "edit"])
def test_a_call_that_is_cancelled_at_any_step_leaves_nothing(
    fresh: QwenEngine, engine: QwenEngine, images: tuple[Any, ...]
) -> None:
    sizes = [{}, {"paint_width": 96, "paint_height": 64, "width": 96, "height": 64}]
    wanted = [painted(engine, images, steps=3, **size) for size in sizes]
    for stop in range(1, 4):

        def report(phase: str, step: int, steps: int, stop: int = stop) -> None:
            if (phase, step) == ("denoising", stop):
                raise Cancelled

        with pytest.raises(Cancelled):
            list(fresh.paint(a_plan(steps=5, way=Way.EDIT if images else Way.GENERATE), images, report))
        assert [painted(fresh, images, steps=3, **size) for size in reversed(sizes)] == wanted[::-1]
    assert ready(fresh).modulation.misses == 0
