"""What the server says of tiers and LoRAs, as its own code says it, in Chinese as a whole."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Tier
from qwen_image_studio.loading.lora_weights import read_lora
from qwen_image_studio.models import table
from qwen_image_studio.models.lora_files import bring, marked
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.models.tiers import Recipe, TierLora
from qwen_image_studio.painting.qwen import NARROW_WARNING
from qwen_image_studio.painting.sparing import SAID
from tests.support.loras import a_lora
from tests.support.plans import plan_of
from tools.words import translated

NAMES = {
    *(
        "GPU",
        "LoRA",
        "Qwen",
        "Image",
        "Edit",
        "STUDIO",
        "LORAS",
        "LICENCES",
        "loras",
        "tier",
        "guidance",
        "scale",
        "ink",
        "wash",
        "name",
    ),
    *("negative", "prompt", "miniature", "turbo", "draft", "quality", "balanced", "ludicrous", "fog", "grain", "brush"),
}
"""Words that are the same in Chinese: names of things."""
DISTILLED = Recipe(4, 1.0, lora=TierLora("a/b", "c.safetensors"))
SMALL: Model = replace(
    MODELS["miniature"],
    tiers={Tier.QUALITY: Recipe(20, 3.0), Tier.TURBO: DISTILLED, Tier.DRAFT: replace(DISTILLED, max_pixels=96 * 96)},
    loras={"ink-wash": a_lora("ink-wash", max_scale=1.2, words={"en": ["brush"], "zh": ["水墨"]})},
)
LARGE: Model = replace(MODELS["Qwen-Image"], loras={"grain-2.1": a_lora("grain-2.1", models=["Qwen-Image"])})
MODELS_HERE = {model.name: model for model in (SMALL, LARGE)}
PAINT = {"operation": "generate", "prompt": "苹果", "model": "miniature"}


def assert_chinese(said: str) -> None:
    """Nothing of it is left in English but names."""
    chinese = translated(said, "zh")
    assert set(re.findall(r"[A-Za-z]{3,}", chinese)) <= NAMES, chinese
    assert re.search("[一-鿿]", chinese)


def warned(asked: dict[str, Any], inputs: Sequence[tuple[int, int]] = ()) -> list[str]:
    """The warnings about a request."""
    return plan_of({**PAINT, **asked}, MODELS_HERE, inputs)[1]


@pytest.mark.parametrize(
    ("asked", "about"),
    [
        ({"tier": "turbo", "steps": 9}, "turbo is made for 4 steps"),
        ({"tier": "draft", "guidance_scale": 3.5}, "draft is made for guidance_scale 1"),
        ({"tier": "turbo", "negative_prompt": "fog"}, "no effect at tier turbo"),
        ({"guidance_scale": 1, "negative_prompt": "fog"}, "no effect while guidance_scale is 1"),
        ({"tier": "draft", "size": "128x128"}, "at tier draft"),
        ({"tier": "quality", "size": "300x200"}, "Painted at"),
        ({"loras": "ink-wash"}, "LoRA ink-wash answers to brush"),
    ],
)
def test_warnings(asked: dict[str, Any], about: str) -> None:
    warnings = warned(asked)
    assert any(about in warning for warning in warnings), warnings
    for warning in warnings:
        if "true_cfg_scale" not in warning:
            assert_chinese(warning)


@pytest.mark.parametrize("said", [*SAID.values(), NARROW_WARNING])
def test_memory_that_had_run_out(said: str) -> None:
    assert_chinese(said)


@pytest.mark.parametrize(
    ("asked", "about"),
    [
        ({"tier": "balanced"}, "has no tier balanced"),
        ({"tier": "ludicrous"}, "input should be"),
        ({"loras": "fog"}, "there is no 'fog'"),
        ({"loras": "ink-wash", "model": "Qwen-Image"}, "not for Qwen-Image; Qwen-Image has: grain-2.1."),
        ({"loras": "grain-2.1"}, "'grain-2.1' is for Qwen-Image"),
        ({"loras": "ink-wash, Ink-Wash"}, "twice"),
        ({"loras": "ink-wash:1.5"}, "takes -1.2 to 1.2"),
        ({"loras": ":1"}, "takes names, each with a scale"),
    ],
)
def test_refusals(asked: dict[str, Any], about: str) -> None:
    with pytest.raises(StudioError) as error:
        warned(asked)
    assert about in error.value.message
    assert_chinese(error.value.message)


def test_what_waits_for_the_operator_to_accept_a_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model, and a tier by the licence of its LoRA."""
    [model] = [each for each in MODELS.values() if each.licence_id]
    bound = replace(DISTILLED, lora=TierLora("a/b", "c.safetensors", licence="Some Licence 1.0", licence_id="some"))
    offered = {Tier.QUALITY: Recipe(20, 3.0)}
    monkeypatch.setattr(table, "MODELS", {**MODELS, "miniature": replace(SMALL, tiers={**offered, Tier.TURBO: bound})})
    without = {"miniature": replace(SMALL, tiers=offered)}
    for asked, models in (({"tier": "turbo"}, without), ({"model": model.name}, MODELS_HERE)):
        with pytest.raises(StudioError) as error:
            plan_of({**PAINT, **asked}, models)
        said = error.value.message
        assert "STUDIO_LICENCES=" in said
        for name in ("Some Licence", "some", model.licence, model.licence_id):
            said = said.replace(name, "L")
        assert_chinese(said)


def test_loras_of_which_there_are_none() -> None:
    with pytest.raises(StudioError) as error:
        plan_of({**PAINT, "loras": "fog"}, {"miniature": MODELS["miniature"]})
    assert "none for you here" in error.value.message
    assert_chinese(error.value.message)


def test_a_lora_whose_file_is_gone() -> None:
    with pytest.raises(StudioError) as error:
        bring("ink-wash", a_lora("ink-wash"))
    assert_chinese(error.value.message)


def test_a_lora_whose_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StudioError) as error:
        marked("ink-wash", tmp_path / "gone")
    assert_chinese(error.value.message)


def test_a_lora_whose_numbers_are_infinite(tmp_path: Path) -> None:
    save_file({"a.lora_A.weight": torch.full((1, 4), torch.inf), "a.lora_B.weight": torch.ones(4, 1)}, tmp_path / "f")
    with pytest.raises(StudioError, match="infinite") as error:
        read_lora("ink-wash", tmp_path / "f")
    assert_chinese(error.value.message)


@pytest.mark.parametrize(
    "remedy",
    [
        "ask for 64x64 or smaller",
        "no smaller size can be asked for: free memory there, give the server a larger device",
    ],
)
def test_a_size_that_does_not_fit(remedy: str) -> None:
    said = f"128x96 does not fit into the memory of cpu; {remedy}, or send fewer input images."
    assert translated(said, "zh").startswith("cpu 的显存放不下 128x96")
    assert not re.search("[a-z]{4,}", translated(said, "zh"))
