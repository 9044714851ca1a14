"""Which attention kernel a device is fastest with, tried once for each device, number format and shape of heads."""

import logging
import statistics
from collections.abc import Callable, Iterable
from functools import cache, partial

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

from qwen_image_studio.loading.rope import NATIVE

LOG = logging.getLogger(__name__)
KERNELS = (
    AttentionBackendName._NATIVE_CUDNN,
    AttentionBackendName._NATIVE_FLASH,
    AttentionBackendName._NATIVE_EFFICIENT,
)
"""What is tried beside `NATIVE`: kernels that come with torch, the likely ones first."""
_WORTH = 0.97
"""Share of the time below which another kernel is taken. A smaller gain may be noise, and kernels differ in last bits,
so that two starts would paint different pictures.
"""
_ROUNDS = 5
_TOKENS = 64 * 64 + 128  # a picture of a megapixel and its text: long enough that starting a kernel is no matter
_TOLERANCE = 0.02  # relative difference of a kernel's results; rounding to bfloat16 makes 0.004

Seconds = Callable[[Callable[[], object]], float]
"""What measures how long a function keeps the device busy."""


@cache
def fastest(device: torch.device, dtype: torch.dtype, heads: int, channels: int) -> AttentionBackendName:
    """Return the kernel to use without masks; on anything but a CUDA device torch's own choice."""
    if device.type != "cuda":
        return NATIVE
    given = _random(device, dtype, heads, channels, _TOKENS)
    return choose(given, KERNELS, partial(_seconds_on, device))


def choose(
    given: tuple[torch.Tensor, ...], kernels: Iterable[AttentionBackendName], seconds: Seconds
) -> AttentionBackendName:
    """Return the kernel to use for such queries, keys and values, (1, tokens, heads, channels) each.

    It is `NATIVE` unless another one gives the same result in clearly less time.
    """
    able = [NATIVE, *(each for each in kernels if _is_able(each, given))]
    times: dict[AttentionBackendName, list[float]] = {kernel: [] for kernel in able}
    for _ in range(_ROUNDS):  # in turns, so that a device that is warming up favours none
        for kernel in able:
            times[kernel].append(seconds(partial(attend, kernel, given)))
    medians = {kernel: statistics.median(measured) for kernel, measured in times.items()}
    best = NATIVE
    for kernel in able[1:]:
        best = kernel if medians[kernel] < _WORTH * medians[best] else best
    shown = ", ".join(f"{kernel.value} {1000 * median:.2f} ms" for kernel, median in medians.items())
    LOG.info("attention by %s on %s (%s)", best.value, given[0].device, shown)
    return best


def attend(kernel: AttentionBackendName, given: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the attention of queries, keys and values by that kernel; one that cannot do it raises an error."""
    mixed: torch.Tensor = dispatch_attention_fn(*given, backend=kernel)
    return mixed


def _is_able(kernel: AttentionBackendName, given: tuple[torch.Tensor, ...]) -> bool:
    """Return whether the kernel runs here, and right."""
    try:
        mixed = attend(kernel, given)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        LOG.info("attention by %s is not for %s: %s", kernel.value, given[0].device, str(error).partition("\n")[0])
        return False
    wanted = attend(NATIVE, given).float()
    return bool((mixed.float() - wanted).norm() <= _TOLERANCE * wanted.norm())


def _random(
    device: torch.device, dtype: torch.dtype, heads: int, channels: int, tokens: int
) -> tuple[torch.Tensor, ...]:
    random = torch.Generator(device).manual_seed(0)
    made = torch.randn(3, 1, tokens, heads, channels, generator=random, device=device, dtype=torch.float32).to(dtype)
    return tuple(made)


def _seconds_on(device: torch.device, function: Callable[[], object]) -> float:
    """Return the seconds for which a function keeps a CUDA device busy."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    with torch.cuda.device(device):
        begin.record()
        function()
        end.record()
        end.synchronize()
    return float(begin.elapsed_time(end)) / 1000
