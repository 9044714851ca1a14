"""Memory plans: which card holds which models how, from what is counted of their networks."""

import pytest

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.contract.words import Precision
from qwen_image_studio.host import checks
from qwen_image_studio.loading.memory import (
    TILED_PIXELS,
    Machine,
    MemoryPlan,
    plan_memory,
)
from qwen_image_studio.models.architectures import GIB, QWEN_IMAGE, WIDE
from qwen_image_studio.models.folders import WEIGHED, inspect, place_of
from qwen_image_studio.models.footprints import Place, Stored, encoder_bytes, transformer_bytes
from qwen_image_studio.models.needs import least_gib
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import Device

ONE, TWO = ("Qwen-Image",), ("Qwen-Image", "Qwen-Image-Edit-2509")
THREE = (*TWO, "Qwen-Image-2512")
NATIVE = 1328 * 1328
A10G, RTX_4090, RTX_5090, A100_40 = 22.49, 23.99, 31.84, 40.0
L40S, RTX_6000, H100, H200 = 44.99, 47.99, 79.65, 140.4
"""GiB that drivers report, less than a card is sold with."""


def plan(names: tuple[str, ...], card_gib: float, ram_gib: float = 200, fp8: bool = True) -> MemoryPlan:
    """The plan of a card for these models."""
    machine = Machine(card_gib, ram_gib, (8, 9) if fp8 else (8, 0))
    found = plan_memory({name: MODELS[name] for name in names}, machine)
    assert found is not None
    assert found.peak_gib <= found.machine.usable_gib
    return found


def test_sizes_of_a_large_transformer_by_how_it_is_stored() -> None:
    sizes = {
        (precision, tables): transformer_bytes(QWEN_IMAGE.transformer, Stored(precision, tables)) / GIB
        for precision in (Precision.BF16, Precision.FP8)
        for tables in (False, True)
    }
    assert sizes == {
        (Precision.BF16, False): pytest.approx(38.1, abs=0.1),
        (Precision.BF16, True): pytest.approx(25.4, abs=0.1),
        # Above 25.4 and 12.7 by the layers that stay wide, for what is lost in them.
        (Precision.FP8, False): pytest.approx(26.1, abs=0.1),
        (Precision.FP8, True): pytest.approx(13.4, abs=0.1),
    }
    assert WIDE * QWEN_IMAGE.encoder.parameters / GIB == pytest.approx(15.4, abs=0.1)
    assert encoder_bytes(QWEN_IMAGE, Place.CARD_FP8) / GIB == pytest.approx(7.7, abs=0.1)


def test_the_miniature_is_counted_as_its_files_are() -> None:
    model = MODELS["miniature"]
    place = place_of(model)
    assert place is not None
    classes = {
        "text_encoder": "Qwen2_5_VLForConditionalGeneration",
        "vae": "AutoencoderKLQwenImage",
        "transformer": "QwenImageTransformer2DModel",
    }
    assert tuple(classes) == WEIGHED
    assert inspect(place.folder, model, classes) == model.network.parameters


@pytest.mark.parametrize("card_gib", [A10G, RTX_4090])
def test_24_gb_hold_one_model_in_fp8_with_tables_and_an_encoder_that_is_streamed(card_gib: float) -> None:
    found = plan(ONE, card_gib, ram_gib=60)
    assert (found.base, found.encoder) == (Stored(Precision.FP8, tables=True), Place.STREAMED)
    assert found.tile_pixels >= 1.5 * 2**20
    assert not plan(TWO, card_gib, ram_gib=60).together


def test_32_gb_hold_one_model_in_bf16_with_an_encoder_that_is_streamed() -> None:
    found = plan(ONE, RTX_5090)
    assert (found.base, found.encoder) == (Stored(Precision.BF16, tables=True), Place.STREAMED)


def test_48_gb_hold_one_model_in_bf16_with_tables() -> None:
    for card_gib, encoder in ((RTX_6000, Place.CARD), (L40S, Place.STREAMED)):
        found = plan(ONE, card_gib)
        assert (found.base, found.encoder) == (Stored(Precision.BF16, tables=True), encoder)
        assert found.tile_pixels >= 1.5 * 2**20


def test_80_gb_hold_two_models_in_bf16_with_tables_and_one_encoder() -> None:
    found = plan(TWO, H100)
    assert (found.base, found.encoder, found.together) == (Stored(Precision.BF16, tables=True), Place.CARD, True)
    assert found.tile_pixels >= NATIVE
    assert found.peak_gib == pytest.approx(2 * 25.4 + 15.4 + 6, abs=4)
    one = plan(ONE, H100)
    assert (one.base, one.narrow) == (Stored(Precision.BF16), Stored(Precision.FP8, tables=True))


def test_141_gb_hold_three_models_in_bf16_with_tables() -> None:
    found = plan(THREE, H200)
    assert (found.base, found.encoder, found.together) == (Stored(Precision.BF16, tables=True), Place.CARD, True)
    assert found.peak_gib == pytest.approx(3 * 25.4 + 15.4 + 12, abs=4)


def test_other_sizes_of_cards() -> None:
    assert plan(TWO, 95.6).together
    assert plan(ONE, A100_40, fp8=False).base == Stored(Precision.BF16, tables=True)
    small = plan(ONE, 15.99, ram_gib=60)
    assert (small.base.place, small.encoder) == (Place.STREAMED, Place.STREAMED)
    assert plan_memory({"Qwen-Image": MODELS["Qwen-Image"]}, Machine(4, 60)) is None


def test_tiers_that_wish_fp8_get_it_where_the_card_multiplies_it_and_memory_holds_both() -> None:
    assert plan(ONE, H100, fp8=False).narrow is None
    assert plan(TWO, H100, ram_gib=64).narrow is None
    swapped = plan(TWO, H100, ram_gib=200)
    assert swapped.stored(Precision.FP8) == Stored(Precision.FP8, tables=True)
    assert swapped.stored(Precision.BF16) == Stored(Precision.BF16, tables=True)
    small = plan(ONE, A10G)
    assert small.stored(Precision.BF16) == small.stored(Precision.FP8) == small.base
    assert small.stored(Precision.FP32) == Stored(Precision.FP32)


def test_models_wait_in_the_machines_memory_where_it_has_room() -> None:
    assert plan(TWO, RTX_4090, ram_gib=100).waiting
    assert not plan(TWO, RTX_4090, ram_gib=50).waiting
    assert not plan(ONE, A10G, ram_gib=10).fits_ram


def test_an_operator_keeps_memory_free() -> None:
    models = {"Qwen-Image": MODELS["Qwen-Image"]}
    found = plan_memory(models, Machine(H100, 200, (9, 0), below_gib=50))
    assert found is not None
    assert found.base == Stored(Precision.BF16, tables=True)
    assert found.peak_gib <= 50


def test_serving_with_less_than_models_need_is_refused_instead_of_taking_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "devices", lambda settings: (Device("cuda:0", "NVIDIA H100", H100, H100, (9, 0)),))
    models = {"Qwen-Image": MODELS["Qwen-Image"]}
    for enough in ("auto", "50"):
        checks.check_memory(Settings(memory=enough), models)
    with pytest.raises(CannotServe, match=r"Qwen-Image cannot run in STUDIO_MEMORY=1 GiB of cuda:0 \(80 GiB\)"):
        checks.check_memory(Settings(memory="1"), models)


def test_more_memory_never_makes_a_plan_worse() -> None:
    def rank(found: MemoryPlan | None) -> tuple[bool, bool, bool]:
        if found is None:
            return False, False, False
        return True, found.base.place is Place.CARD, found.base.precision is Precision.BF16

    plans = [plan_memory({"Qwen-Image": MODELS["Qwen-Image"]}, Machine(gib / 2, 200)) for gib in range(8, 200)]
    assert [rank(each) for each in plans] == sorted(rank(each) for each in plans)
    assert all(each.tile_pixels <= TILED_PIXELS for each in plans if each)


def test_the_least_card_holds_the_transformer_and_one_smaller_does_not() -> None:
    for model in [model for model in MODELS.values() if not model.miniature]:
        above, below = (plan_memory({model.name: model}, Machine(least_gib(model) + by, 200)) for by in (0.01, -0.01))
        assert above is not None
        assert above.base.place is Place.CARD
        assert below is None or below.base.place is Place.STREAMED
