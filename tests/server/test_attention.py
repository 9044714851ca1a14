"""The attention kernel of a device: the one that is clearly fastest of those that work, and else torch's own choice."""

import logging
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

from qwen_image_studio.loading import attention as attention_module
from qwen_image_studio.loading import rope as rope_module
from qwen_image_studio.loading.attention import KERNELS, attend, choose, fastest
from qwen_image_studio.loading.preparing import UNCOMPILED, prepare, prepared
from qwen_image_studio.models.table import MODELS
from tests.support.transformers import forward, scheduled, tiny

NATIVE, MATH = AttentionBackendName.NATIVE, AttentionBackendName._NATIVE_MATH
CUDNN, FLASH, EFFICIENT = KERNELS
GIVEN = tuple(torch.randn(3, 1, 9, 2, 8, generator=torch.Generator().manual_seed(0)))


def by_clock(times: Mapping[AttentionBackendName, float]) -> AttentionBackendName:
    """What is chosen where kernels take these times, of those that this processor has."""

    def seconds(function: Any) -> float:
        kernel, _ = function.args
        function()
        return times[kernel]

    return choose(GIVEN, [each for each in times if each is not NATIVE], seconds)


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({NATIVE: 1.0, FLASH: 0.5, MATH: 0.8}, FLASH),
        ({NATIVE: 1.0, FLASH: 0.8, MATH: 0.5}, MATH),
        ({NATIVE: 1.0, FLASH: 0.99, MATH: 0.98}, NATIVE),
        ({NATIVE: 1.0, FLASH: 0.5, MATH: 0.49}, FLASH),
        ({NATIVE: 1.0, FLASH: 2.0, MATH: 3.0}, NATIVE),
    ],
    ids=["faster", "fastest", "hardly faster", "hardly faster than another", "slower"],
)
def test_the_clearly_fastest_kernel_is_taken(
    times: Mapping[AttentionBackendName, float], chosen: AttentionBackendName
) -> None:
    assert by_clock(times) is chosen


def test_one_slow_moment_decides_nothing() -> None:
    moments = iter([9.0, 0.5, 1.0, 0.5, 1.0, 9.0, 1.0, 0.5, 1.0, 0.5])
    assert choose(GIVEN, [FLASH], lambda _: next(moments)) is FLASH


@pytest.mark.parametrize("kernel", [CUDNN, EFFICIENT], ids=str)
def test_a_kernel_that_this_device_refuses_is_left_out_and_said_so(
    kernel: AttentionBackendName, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RuntimeError):
        attend(kernel, GIVEN)
    with caplog.at_level(logging.INFO):
        assert by_clock({NATIVE: 1.0, kernel: 0.1, FLASH: 0.5}) is FLASH
    assert f"attention by {kernel.value} is not for cpu" in caplog.text
    assert "attention by _native_flash on cpu (native 1000.00 ms, _native_flash 500.00 ms)" in caplog.text


def test_a_kernel_that_gives_other_results_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(kernel: AttentionBackendName, given: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return attend(kernel, given) * (1.1 if kernel is FLASH else 1.0)

    monkeypatch.setattr(attention_module, "attend", wrong)
    assert by_clock({NATIVE: 1.0, FLASH: 0.1}) is NATIVE


def test_a_processor_is_not_tried() -> None:
    assert fastest(torch.device("cpu"), torch.float32, 24, 128) is NATIVE


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[AttentionBackendName]:
    """The kernels by which blocks attend."""
    kernels: list[AttentionBackendName] = []

    def noted(*given: torch.Tensor, backend: AttentionBackendName, **named: Any) -> Any:
        kernels.append(backend)
        return dispatch_attention_fn(*given, backend=backend, **named)

    monkeypatch.setattr(rope_module, "dispatch_attention_fn", noted)
    return kernels


def test_the_kernel_that_a_tier_names_is_used_in_its_calls_alone(used: list[AttentionBackendName]) -> None:
    own = tiny()
    prepare(own, torch.float32, UNCOMPILED)
    ready = prepared(own)
    assert ready is not None
    with ready.calling(scheduled(), MATH.value):
        forward(own)
        with ready.calling(scheduled()):
            forward(own)
        forward(own)
    forward(own)
    assert used == [MATH] * 2 + [NATIVE] * 2 + [MATH] * 2 + [NATIVE] * 2


def test_every_kernel_that_a_tier_names_is_one_of_diffusers() -> None:
    names = {recipe.attention for model in MODELS.values() for recipe in model.tiers.values()}
    assert names - {""} <= {kernel.value for kernel in AttentionBackendName}
