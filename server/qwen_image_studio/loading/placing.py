"""Placing: bringing loaded parts to a device as its memory plan has it, and moving them out of the way and back."""

from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import torch
from diffusers.hooks import HookRegistry, apply_group_offloading

_STREAMING = ("lazy_prefetch_group_offloading", "layer_execution_tracker", "group_offloading")
"""Names of the hooks that diffusers streams weights by, those first that were added last."""
_streamed: "WeakSet[torch.nn.Module]" = WeakSet()
"""Parts whose weights pass through a device."""


def is_streamed(part: torch.nn.Module) -> bool:
    """Return whether the weights of a part pass through the device, and are in the machine's memory otherwise."""
    return part in _streamed


def stream(part: torch.nn.Module, device: str, *, blocks: bool, keep: bool) -> None:
    """Keep the weights of a part in the machine's memory, from where they pass through the device at their turn: block
    by block, or else layer by layer. What it computes is equal to the bit.

    With `keep` the machine's memory has room for a copy that crosses at full speed, the next block while one works.
    """
    on_card = device.startswith("cuda")
    part.to("cpu")
    apply_group_offloading(
        part,
        onload_device=torch.device(device),
        offload_type="block_level" if blocks else "leaf_level",
        num_blocks_per_group=1 if blocks else None,
        use_stream=on_card,
        low_cpu_mem_usage=on_card and not keep,
    )
    _streamed.add(part)


def stop_streaming(part: torch.nn.Module) -> None:
    """Stop streaming the weights of a part; they are in the machine's memory then."""
    registry = HookRegistry.check_if_exists_or_initialize(part)
    for name in _STREAMING:
        registry.remove_hook(name, recurse=True)
    part.to("cpu")
    _streamed.discard(part)


def leave(part: torch.nn.Module) -> list[torch.Tensor]:
    """Move a part's weights into the machine's memory, and return those that were moved; whatever they shared is
    shared again once they `come` back.
    """
    moved = [tensor for tensor in _tensors(part) if tensor.device.type == "cuda"]
    for tensor in moved:
        tensor.data = room_for(tensor).copy_(tensor.data)
    return moved


def room_for(tensor: torch.Tensor) -> torch.Tensor:
    """Return memory of the machine for a copy of a tensor: locked, as far as the machine has such memory to give."""
    try:
        # It crosses at full speed; torch keeps what is given back for the next time.
        return torch.empty_like(tensor, device="cpu", pin_memory=True)
    except RuntimeError:  # which must not leave a model half where it was
        return torch.empty_like(tensor, device="cpu")


def come(moved: list[torch.Tensor], device: str) -> None:
    """Bring weights that have left back to the device."""
    for tensor in moved:
        tensor.data = tensor.data.to(device, non_blocking=True)


def without_head(encoder: Any) -> Any:
    """Return the text encoder without the layer that names the next token: a painting never asks for it, and it takes
    a GiB.
    """
    if hasattr(encoder, "lm_head"):
        encoder.lm_head = torch.nn.Identity()
    return encoder


def _tensors(part: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from part.parameters()
    yield from part.buffers()
