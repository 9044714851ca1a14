"""Adapters: LoRAs on transformers that jobs share, set for one call and taken off after it, never merged into weights.

Merging and taking out again would leave the shared weights changed in their last bits; a switched-off adapter leaves
them as they are. A compiled transformer has slots instead, whose contents are exchanged, since with every other adapter
it would be compiled anew.
"""

import hashlib
import logging
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.loading.lora_weights import Layers, Pair, check_fits, padded, rank_of, read_lora
from qwen_image_studio.models.lora_files import unusable

LOG = logging.getLogger(__name__)
MOST = 8
"""Number of LoRAs that stay loaded on one transformer."""
MOST_BYTES = 4 * 2**30
"""Memory of the device that they may take there; those of the call at hand may take more."""
SLOT_RANK = 64
"""Rank that a compiled transformer's slots have at the least: that of Lightning."""
_WIDE = frozenset({torch.float32, torch.bfloat16, torch.float16})
Key = tuple[tuple[str, float], ...]
"""What is on a transformer: for each LoRA what tells its file, and its scale."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA to put on a transformer."""

    name: str
    """Name for people."""
    path: Path
    mark: str
    """What tells the file's content from any other."""
    scale: float = 1.0


class Adapters:
    """The LoRAs that are loaded on transformers; used by one thread."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        """Keep at most so many on each transformer, in at most so many bytes; those used longest ago go first."""
        self._most, self._most_bytes = most, most_bytes
        self._shelves: weakref.WeakKeyDictionary[nn.Module, _Shelf] = weakref.WeakKeyDictionary()

    @contextmanager
    def on(self, transformer: Any, adapters: Sequence[Adapter], *, alone: bool = False) -> Iterator[None]:
        """Have the adapters on the transformer while the context is open; at its end it is as before: without any, or
        with those of the call within whose step this one was made. With `alone`, all others are dropped before.

        Raises StudioError ``model_unavailable`` for a file that does not fit it, or ``out_of_memory``.
        """
        wanted = _together(adapters)
        if (shelf := self._shelves.get(transformer)) is None:
            if not wanted:
                yield
                return
            kind = _Slots if is_compiled(transformer) else _Plain
            shelf = self._shelves[transformer] = kind(transformer, self._most, self._most_bytes)
        outer = shelf.worn
        if alone:
            shelf.keep_only(wanted)
        if not wanted and not outer:  # so it is already, and looking through all layers would be for nothing
            yield
            return
        try:
            shelf.wear(wanted)
            yield
        finally:
            shelf.wear(outer)


def active_loras(transformer: Any) -> Key:
    """Return what is on a transformer now: the key of all that is computed from its weights alone."""
    found: Key = getattr(transformer, "active_loras", ())
    return found


def is_compiled(transformer: Any) -> bool:
    """Return whether the blocks of a transformer are compiled, so that each other adapter would cost a compilation."""
    prepared = getattr(transformer, "prepared", None)
    return getattr(prepared, "compiled", None) is not None


class _Shelf:
    """The LoRAs of one transformer."""

    def __init__(self, transformer: Any, most: int, most_bytes: int) -> None:
        self._ref = weakref.ref(transformer)
        self._most, self._most_bytes = most, most_bytes
        self._bytes: OrderedDict[str, int] = OrderedDict()
        """Bytes of each that is loaded, by its mark, the one used longest ago first."""
        self.worn: Sequence[Adapter] = ()
        """What is on the transformer."""

    @property
    def transformer(self) -> Any:
        """Return the transformer, whose shelf goes with it."""
        return self._ref()

    def wear(self, wanted: Sequence[Adapter]) -> None:
        """Have these on the transformer and no other. Raises StudioError; then there is none on it."""
        transformer = self.transformer
        self.worn, transformer.active_loras = (), ()
        _take_off(transformer)
        if wanted:
            self.put_on(wanted)
            self.worn, transformer.active_loras = wanted, tuple((each.mark, each.scale) for each in wanted)

    def put_on(self, wanted: Sequence[Adapter]) -> None:
        """Load what is missing, and switch these on. Raises StudioError."""
        raise NotImplementedError

    def drop(self, mark: str) -> None:
        """Forget one that is loaded."""
        raise NotImplementedError

    def keep_only(self, wanted: Sequence[Adapter]) -> None:
        """Drop all others, but those of a call within whose step this one was made."""
        for mark in self._bytes.keys() - {each.mark for each in (*wanted, *self.worn)}:
            self.drop(mark)

    def _make_room(self, wanted: Sequence[Adapter], more: int) -> None:
        """Drop those used longest ago, none of the `wanted`, until `more` bytes have room."""
        marks = {each.mark for each in wanted}
        for mark in [mark for mark in self._bytes if mark not in marks]:
            if len(self._bytes) < self._most and sum(self._bytes.values()) + more <= self._most_bytes:
                return
            self.drop(mark)

    def _read(self, adapter: Adapter) -> Layers:
        layers = read_lora(adapter.name, adapter.path)
        check_fits(adapter.name, layers, self.transformer)
        return layers


class _Plain(_Shelf):
    """LoRAs that all stay beside the weights, each under a name of its own."""

    def put_on(self, wanted: Sequence[Adapter]) -> None:
        for adapter in wanted:
            if adapter.mark not in self._bytes:
                layers = self._read(adapter)
                self._make_room(wanted, size := _size(layers, self.transformer))
                _inject(adapter.name, self.transformer, _called(adapter.mark), layers)
                self._bytes[adapter.mark] = size
            self._bytes.move_to_end(adapter.mark)
        _switch_on(self.transformer, {_called(each.mark): each.scale for each in wanted})

    def drop(self, mark: str) -> None:
        del self._bytes[mark]
        self.transformer.delete_adapters(_called(mark))


class _Slots(_Shelf):
    """LoRAs in the machine's memory, from which slots beside the weights are filled: the n-th of a call in the n-th.

    Shapes, names and places of the slots stay, and scales are tensors, so what was compiled with them serves all. A
    slot grows where a LoRA has layers or a rank beyond it, which is compiled once.
    """

    def __init__(self, transformer: Any, most: int, most_bytes: int) -> None:
        super().__init__(transformer, most, most_bytes)
        self._known: dict[str, Layers] = {}
        self._filled: list[str] = []
        """Mark of what is in each slot; empty for nothing."""
        self._layers: list[set[str]] = []
        self._rank = SLOT_RANK

    def put_on(self, wanted: Sequence[Adapter]) -> None:
        for adapter in wanted:
            if adapter.mark not in self._bytes:
                layers = self._read(adapter)
                self._make_room(wanted, size := _size(layers, self.transformer))
                self._known[adapter.mark], self._bytes[adapter.mark] = layers, size
            self._bytes.move_to_end(adapter.mark)
        rank = max(rank_of(self._known[each.mark]) for each in wanted)
        if rank > self._rank:
            self._empty(rank)
        grown = [self._fill(number, adapter) for number, adapter in enumerate(wanted)]
        _switch_on(self.transformer, {_slot(number): each.scale for number, each in enumerate(wanted)})
        if any(grown):
            self.transformer.prepared.warm_up()

    def drop(self, mark: str) -> None:
        del self._bytes[mark], self._known[mark]

    def _fill(self, number: int, adapter: Adapter) -> bool:
        """Bring a LoRA into a slot; return whether the slot had to be made for it."""
        layers = self._known[adapter.mark]
        if number >= len(self._filled):
            self._filled.append("")
            self._layers.append(set())
        if self._filled[number] == adapter.mark:
            return False
        wide = self._layers[number] | layers.keys()
        grows = wide != self._layers[number]
        self._filled[number] = ""
        if grows:
            self._make(number, adapter.name, layers, wide)
        else:
            _load(adapter.name, self.transformer, _slot(number), self._whole(layers, wide), hotswap=True)
        self._filled[number] = adapter.mark
        return grows

    def _make(self, number: int, name: str, layers: Layers, wide: set[str]) -> None:
        """Make a slot for these layers, and for those that it had."""
        if self._layers[number]:
            self.transformer.delete_adapters(_slot(number))
            self._layers[number] = set()
        self.transformer.enable_lora_hotswap(target_rank=self._rank, check_compiled="ignore")
        _inject(name, self.transformer, _slot(number), self._whole(layers, wide))
        self._layers[number] = wide

    def _whole(self, layers: Layers, wide: set[str]) -> Layers:
        """Return the layers at the slots' rank, with zeros for those that a slot has besides."""
        others = {}
        for layer in wide - layers.keys():
            module, rank = self.transformer.get_submodule(layer), self._rank
            others[layer] = Pair(torch.zeros(rank, module.in_features), torch.zeros(module.out_features, rank))
        return {**{layer: padded(pair, self._rank) for layer, pair in layers.items()}, **others}

    def _empty(self, rank: int) -> None:
        """Take all slots away, so that they are made anew with a larger rank."""
        for number, layers in enumerate(self._layers):
            if layers:
                self.transformer.delete_adapters(_slot(number))
        self._filled, self._layers, self._rank = [], [], rank


# -- on the transformer's layers -----------------------------------------------------------------------------------


def _together(adapters: Sequence[Adapter]) -> list[Adapter]:
    """Return the adapters with those of one file added up, and without those that change nothing."""
    scales: dict[str, float] = {}
    for each in adapters:
        scales[each.mark] = scales.get(each.mark, 0.0) + each.scale
    first = {each.mark: each for each in reversed(adapters)}
    return [Adapter(first[mark].name, first[mark].path, mark, scale) for mark, scale in scales.items() if scale != 0.0]


def _called(mark: str) -> str:
    """Return the name under which peft knows an adapter, in which it takes no dots."""
    return f"lora_{hashlib.sha256(mark.encode()).hexdigest()[:16]}"


def _slot(number: int) -> str:
    return f"slot{number}"


def _inject(name: str, transformer: Any, adapter: str, layers: Layers) -> None:
    """Put an adapter beside the layers' weights; where that fails, nothing of it stays."""
    try:
        _load(name, transformer, adapter, layers)
    except StudioError:
        _take_off(transformer)  # peft puts another one in the place of one that is deleted while it is on
        transformer.delete_adapters(adapter)
        raise
    finally:
        _take_off(transformer)


def _load(name: str, transformer: Any, adapter: str, layers: Layers, **how: bool) -> None:
    dtype = next(each.dtype for each in transformer.parameters() if each.dtype in _WIDE)
    try:
        state = {}
        for layer, pair in layers.items():
            device = _device(transformer.get_submodule(layer))
            for matrix, weight in zip("AB", pair, strict=True):
                state[f"{layer}.lora_{matrix}.weight"] = weight.to(device, dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # that there are several is meant so
            transformer.load_lora_adapter(state, prefix=None, adapter_name=adapter, low_cpu_mem_usage=True, **how)
        # It deletes none, but has weights that stream through a device take the new ones along.
        transformer.delete_adapters([])
    except torch.OutOfMemoryError as error:
        message = f"LoRA {name} does not fit beside the model; ask for fewer at once, or a smaller one."
        raise StudioError("out_of_memory", message, param="loras") from error
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        LOG.exception("cannot put LoRA %s on the transformer", name)
        raise unusable(name, "it cannot be put on the model; the server's log says more") from error


def _device(layer: Any) -> torch.device:
    base: Any = layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer
    found: torch.device = base.weight.device
    return found


def _size(layers: Layers, transformer: Any) -> int:
    """Return the memory of a LoRA beside a transformer, in bytes."""
    width = next(each.dtype for each in transformer.parameters() if each.dtype in _WIDE).itemsize
    return sum(each.numel() * width for pair in layers.values() for each in pair)


def _switch_on(transformer: Any, scales: Mapping[str, float]) -> None:
    """Switch these adapters on, and no other."""
    for layer in _adapted(transformer):
        layer.enable_adapters(True)
        layer.set_adapter(list(scales), inference_mode=True)
        for adapter in scales.keys() & layer.scaling.keys():
            if isinstance(layer.scaling[adapter], torch.Tensor):
                layer.scaling[adapter].fill_(scales[adapter])
            else:
                layer.scaling[adapter] = scales[adapter]


def _take_off(transformer: Any) -> None:
    """Switch all adapters off, and leave no trace of which were on."""
    for layer in _adapted(transformer):
        layer.set_adapter([], inference_mode=True)
        layer.enable_adapters(False)
        for adapter, scale in layer.scaling.items():
            if isinstance(scale, float):
                layer.scaling[adapter] = 1.0


def _adapted(transformer: Any) -> list[Any]:
    return [module for module in transformer.modules() if isinstance(module, BaseTunerLayer)]
