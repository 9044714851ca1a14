"""Calculated seconds, against what was published and calculated by hand for real cards."""

from dataclasses import replace

import pytest

from qwen_image_studio.contract.words import Way
from qwen_image_studio.models.architectures import QWEN_IMAGE, QWEN_IMAGE_21
from qwen_image_studio.models.cards import CARDS, find_card
from qwen_image_studio.models.families import FAMILIES
from qwen_image_studio.models.roofline import Execution, expected_seconds, step_seconds, within
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.models.tiers import Recipe, StepCache

MEGAPIXEL, NATIVE = (1024, 1024), (1328, 1328)
PAINTS, EDITS = FAMILIES["qwen-image"], FAMILIES["qwen-image-edit"]
QUALITY, FIFTY, FORTY = Execution(), Recipe(50, 4.0), Recipe(40, 4.0)
PLAIN = Execution(table=False, compiled=False)
COMPILED, FP8 = Execution(table=False), Execution(fp8=True)


def card(name: str):  # type: ignore[no-untyped-def]
    """A card that is known."""
    found = find_card(name)
    assert found is not None
    return found


H100 = card("NVIDIA H100 80GB HBM3")


def test_the_parts_of_a_step_on_an_h100() -> None:
    def milliseconds(execution: Execution, size: tuple[int, int] = MEGAPIXEL) -> list[float]:
        step = step_seconds(QWEN_IMAGE.transformer, PAINTS, FIFTY, size, H100, execution)
        return [1000 * part for part in (step.products, step.attention, step.small, step.modulation, step.total)]

    assert milliseconds(PLAIN) == pytest.approx([161, 69, 76, 9, 315], rel=0.03)
    assert milliseconds(COMPILED) == pytest.approx([161, 44, 29, 9, 242], rel=0.03)
    assert milliseconds(QUALITY) == pytest.approx([161, 44, 29, 0, 233], rel=0.03, abs=0.1)
    assert milliseconds(FP8) == pytest.approx([98, 44, 33, 0, 174], rel=0.03, abs=0.1)
    assert milliseconds(COMPILED, NATIVE) == pytest.approx([270, 122, 48, 9, 449], rel=0.03)


def test_a_step_as_published_for_an_h100() -> None:
    step = step_seconds(QWEN_IMAGE.transformer, PAINTS, FIFTY, MEGAPIXEL, H100, COMPILED)
    assert step.total == pytest.approx(0.248, rel=0.03)  # SGLang's continuous measurements, 2026-10-18
    edit = step_seconds(QWEN_IMAGE.transformer, EDITS, FORTY, MEGAPIXEL, H100, COMPILED, references=1)
    assert edit.total == pytest.approx(0.552, rel=0.05)


TABLE = {  # quality as it comes, compiled, in fp8, with a step cache, 8 and 4 steps, an edit of 40 steps
    "NVIDIA H100 80GB HBM3": (15.8, 12.1, 8.7, 4.6, 0.9, 0.47, 23.0),
    "NVIDIA A100-SXM4-80GB": (44, 34, None, 18, 2.8, 1.4, 66),
    "NVIDIA L40S": (45, 35, 19, 10, 2.8, 1.4, 67),
    "NVIDIA GeForce RTX 4090": (None, 60, 40, 21, 4.8, 2.4, 116),
    "NVIDIA A10G": (None, 141, None, 74, 11, 5.7, 273),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_seconds_of_tiers_by_card(name: str) -> None:
    best = FP8 if card(name).fp8 else QUALITY
    cached = replace(FIFTY, step_cache=StepCache(0.1))
    rows = (
        (PAINTS, FIFTY, PLAIN, 0),
        (PAINTS, FIFTY, COMPILED, 0),
        (PAINTS, FIFTY, FP8, 0),
        (PAINTS, cached, best, 0),
        (PAINTS, Recipe(8, 1.0), QUALITY, 0),
        (PAINTS, Recipe(4, 1.0), QUALITY, 0),
        (EDITS, FORTY, COMPILED, 1),
    )
    for (family, recipe, execution, references), expected in zip(rows, TABLE[name], strict=True):
        if expected is not None:
            found = expected_seconds(
                QWEN_IMAGE.transformer, family, recipe, MEGAPIXEL, card(name), execution, references=references
            )
            assert found == pytest.approx(expected, rel=0.05 if "H100" in name else 0.2), (recipe, execution)


def test_a_card_without_fp8_multiplies_in_bf16() -> None:
    a100 = card("NVIDIA A100-SXM4-40GB")
    wide, narrow = (
        step_seconds(QWEN_IMAGE.transformer, PAINTS, FIFTY, MEGAPIXEL, a100, way).products for way in (QUALITY, FP8)
    )
    assert wide == narrow


def test_keys_that_are_kept_are_seen_and_not_computed_again() -> None:
    model = MODELS["Qwen-Image-2.1"]
    net, family = QWEN_IMAGE_21.transformer, model.family(Way.EDIT)
    alone, shown = (
        step_seconds(net, family, Recipe(40, 1.0), MEGAPIXEL, H100, QUALITY, references=count) for count in (0, 1)
    )
    assert shown.products == alone.products
    assert shown.attention == pytest.approx(2 * alone.attention, rel=0.05)
    assert net.flops(4096, 4096 + 96) == pytest.approx(66e12, rel=0.01)


def test_a_tier_that_paints_small_is_calculated_small() -> None:
    draft = replace(FIFTY, max_pixels=512 * 512)
    assert expected_seconds(QWEN_IMAGE.transformer, PAINTS, draft, MEGAPIXEL, H100, QUALITY) == expected_seconds(
        QWEN_IMAGE.transformer, PAINTS, FIFTY, (512, 512), H100, QUALITY
    )
    assert within((1024, 512), 1024 * 512) == (1024, 512)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 NVL", "H100 NVL"),
        ("NVIDIA A100 80GB PCIe", "A100 80 GB"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA L40", "L40"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_cards_are_known_by_the_names_that_drivers_give(name: str, known: str | None) -> None:
    found = find_card(name)
    assert (found.name if found else None) == known


def test_cards_with_fp8_have_the_capability_for_it() -> None:
    assert all((each.fp8 is not None) is (each.capability >= (8, 9)) for each in CARDS)
