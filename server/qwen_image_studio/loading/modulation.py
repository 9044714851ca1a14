"""The modulation of a transformer's blocks, computed once for every timestep of a schedule and looked up after that.

A third of the numbers of a 20B transformer stand in the layers ``img_mod`` and ``txt_mod`` of its blocks (adaptive
layer norm, Peebles and Xie 2023), and what these answer depends on the timestep alone. So their weights are read once
for a schedule instead of in every forward pass, and may stay in the machine's memory (`settle`). An answer is computed
by the same layers from the same embedding of one timestep at a time, so it is equal to the bit.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast
from weakref import ref

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from qwen_image_studio.loading.adapters import active_loras

NAMES = ("img_mod", "txt_mod")
"""Names of a block's layers that modulate its pictures and its texts."""
ROOM = 2**29
"""Memory of the device for tables by default, in bytes: two schedules of 50 steps of a 20B model in bf16."""
_KNOWN = 3  # arguments of the embedding of a timestep; with guidance, which no model here embeds, there is one more
_PARTS = 6  # of an answer: shift, scale and gate, before attention and before the feed-forward

_Key = tuple[Hashable, ...]


class Looked(nn.Sequential):
    """A layer that modulates, in the place and with the names of the block's own; a block finds its answer here."""

    answer: torch.Tensor | None

    def __init__(self, layer: nn.Sequential) -> None:
        super().__init__(*layer)
        self.answer = None

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        """Return the answer for the timestep at hand, (copies of it, 6 x width)."""
        return self.computed(embedded) if self.answer is None else self.answer

    def computed(self, embedded: torch.Tensor) -> torch.Tensor:
        """Return what the layer itself answers to an embedded timestep."""
        return cast(torch.Tensor, super().forward(embedded))  # type: ignore[no-untyped-call]


class Modulation:
    """What the blocks of one transformer answer to timesteps, in tables by schedule, LoRA and what the transformer is
    told to paint; used by one thread.

    A table is (steps, all layers' answers): before the blocks run, the row of the step is copied to where they look.
    The step is counted by the pipeline's scheduler, so the device is asked for nothing but the timesteps, once a call.
    """

    def __init__(self, transformer: Any, room: int = ROOM) -> None:
        """Take over the blocks' layers; tables may use `room` bytes, and the one in use more where it is larger."""
        self._room = room
        self._transformer = ref(transformer)
        self._copies = 2 if transformer.zero_cond_t else 1  # then each timestep comes with t = 0, for the sources
        self._embed = transformer.time_text_embed
        self._layers = [_taken_over(block, name) for block in transformer.transformer_blocks for name in NAMES]
        self._tables: OrderedDict[_Key, torch.Tensor] = OrderedDict()
        self._shown: torch.Tensor | None = None
        self._forget_call()
        self._scheduler: Any = None
        self.hits = 0
        """Forward passes whose answers were looked up."""
        self.misses = 0
        """Forward passes whose answers had to be computed."""
        self.filled = 0
        """Tables that were filled."""
        self._embed.register_forward_hook(self._answer)

    @property
    def bytes(self) -> int:
        """Return the memory of all tables in bytes."""
        return sum(table.nbytes for table in self._tables.values())

    @contextmanager
    def following(self, scheduler: Any) -> Iterator[None]:
        """Look answers up for the steps of this scheduler (FlowMatchEulerDiscreteScheduler) while the context is open.

        A call may be made within a step of another one, which then goes on where it was.
        """
        outer = self._scheduler
        self._scheduler = scheduler
        try:
            yield
        finally:
            self._scheduler = outer
            self._forget_call()

    def forget(self) -> None:
        """Drop all tables: to free memory, or because weights were changed in place."""
        self._tables.clear()
        self._forget_call()

    def _forget_call(self) -> None:
        self._timesteps: torch.Tensor | None = None
        self._moments: list[torch.Tensor] = []
        self._table: torch.Tensor | None = None

    @torch.no_grad()
    def _answer(self, _: nn.Module, given: Sequence[Any], embedded: torch.Tensor) -> None:
        """Put the blocks' answers in place, as soon as the timestep of a forward pass is embedded."""
        row = self._look_up(*given) if len(given) <= _KNOWN else None
        if row is None:
            self.misses += 1
            row = self._computed([embedded])[0]
        else:
            self.hits += 1
        self._show(row, embedded)

    def _look_up(
        self, timestep: torch.Tensor, hidden: torch.Tensor, kind: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """Return the answers of the scheduler's step; None where there is none, or this is another timestep. `kind` is
        what some transformers are told to paint, the same for all steps of a call.
        """
        scheduler = self._scheduler
        if scheduler is None or len(timestep) != self._copies:
            return None
        opened = scheduler.timesteps is not self._timesteps
        if opened:
            self._open(scheduler, hidden, kind)
        step = scheduler.step_index if scheduler.step_index is not None else scheduler.begin_index or 0
        if self._table is None or step >= len(self._table):
            return None
        # A comparison waits for the device: there the count is trusted, once it has begun right.
        if (opened or timestep.is_cpu) and not torch.equal(timestep[:1], self._moments[step]):
            self._table = None if opened else self._table
            return None
        return self._table[step]

    def _open(self, scheduler: Any, hidden: torch.Tensor, kind: torch.Tensor | None) -> None:
        """Find the table of the schedule that the pipeline has set, or fill it."""
        self._forget_call()
        self._timesteps = scheduler.timesteps
        # The arithmetic of the pipelines, in their number format.
        self._moments = [each.expand(1).to(hidden.dtype) / 1000 for each in scheduler.timesteps.to(hidden.device)]
        told = () if kind is None else tuple(kind.tolist())
        key = (tuple(scheduler.timesteps.tolist()), told, hidden.dtype, hidden.device, *self._loras())
        if key not in self._tables:
            self._tables[key] = self._fill(hidden, kind)
        self._tables.move_to_end(key)
        self._table = self._tables[key]

    def _fill(self, hidden: torch.Tensor, kind: torch.Tensor | None) -> torch.Tensor:
        """Return the table of the schedule, after dropping those used longest ago until it fits beside the others."""
        copies = [torch.cat([each, each * 0]) if self._copies == 2 else each for each in self._moments]
        told = () if kind is None else (kind,)
        embedded = [self._embed.forward(each, hidden, *told) for each in copies]  # without its hook
        needed = len(embedded) * hidden.element_size() * sum(map(math.prod, self._sizes(embedded[0])))
        while self._tables and self.bytes + needed > self._room:
            self._tables.popitem(last=False)
        self.filled += 1
        return self._computed(embedded)

    def _loras(self) -> Iterator[Hashable]:
        """Yield what LoRAs do to the answers: those of `adapters`, which may change in place, and any other of peft."""
        yield active_loras(self._transformer())
        for module in (part for each in (self._embed, *self._layers) for part in each.modules()):
            if isinstance(module, LoraLayer) and not module.disable_adapters:
                for name in (name for name in module.active_adapters if name in module.scaling):
                    scale = module.scaling[name]  # a tensor in a slot of `adapters`, which says itself what it holds
                    yield ref(module.lora_A[name]), scale if isinstance(scale, float) else None

    def _computed(self, embedded: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the answers of all layers to each embedded timestep, (timesteps, all answers)."""
        sizes = self._sizes(embedded[0])
        answers = embedded[0].new_empty(len(embedded), sum(map(math.prod, sizes)))
        places = torch.split(answers, [*map(math.prod, sizes)], dim=1)
        for layer, (rows, _), place in zip(self._layers, sizes, places, strict=True):
            given = [each[:rows] for each in embedded]
            for row, answer in zip(place, _answers(layer, given), strict=True):
                row.copy_(answer.flatten())
        return answers

    def _sizes(self, embedded: torch.Tensor) -> list[tuple[int, int]]:
        """Return the rows and the width of each layer's answer; texts have no rows for t = 0."""
        rows, width = len(embedded), _PARTS * embedded.shape[1]
        return [(rows, width), (rows // self._copies, width)] * (len(self._layers) // 2)

    def _show(self, row: torch.Tensor, embedded: torch.Tensor) -> None:
        """Copy the answers to where the layers have them, which stays the same place from one pass to the next."""
        shown = self._shown
        if shown is None or (shown.shape, shown.dtype, shown.device) != (row.shape, row.dtype, row.device):
            self._shown = shown = torch.empty_like(row)
            sizes = self._sizes(embedded)
            places = torch.split(shown, [*map(math.prod, sizes)])
            for layer, size, place in zip(self._layers, sizes, places, strict=True):
                layer.answer = place.view(size)
        shown.copy_(row)


class _Each(nn.Module):
    """A layer that is asked many times at once."""

    def __init__(self, layer: Looked) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, embedded: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [self.layer.computed(each) for each in embedded]


def _answers(layer: Looked, embedded: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the layer's answers, by weights that come to the device for this alone where they are elsewhere."""
    each, device = _Each(layer), embedded[0].device
    if all(weight.device == device for weight in layer.parameters()):
        return each(embedded)  # type: ignore[no-any-return]
    brought = {name: weight.to(device, non_blocking=True) for name, weight in each.named_parameters()}
    return cast(list[torch.Tensor], torch.func.functional_call(each, brought, (embedded,)))


def _taken_over(block: Any, name: str) -> Looked:
    layer = Looked(getattr(block, name))
    setattr(block, name, layer)
    return layer


def settle(transformer: Any, device: str, *, pin: bool = True) -> None:
    """Move a transformer to a device, all but what modulates its blocks, which stays in the machine's memory: with
    `pin` locked there, so that it crosses at full speed.

    A 20B model then takes 12.7 GiB less of a card in bf16; filling a table sends these weights over once.
    """
    parts = [part for name, part in transformer.named_children() if name != "transformer_blocks"]
    for block in transformer.transformer_blocks:
        parts += [part for name, part in block.named_children() if name not in NAMES]
        if pin and device.startswith("cuda"):
            _pin(weight for name in NAMES for weight in getattr(block, name).parameters())
    for part in parts:
        part.to(device)


def _pin(weights: Iterable[nn.Parameter]) -> None:
    """Keep weights where they cross to a card at full speed, and without anybody waiting."""
    for weight in weights:
        with suppress(RuntimeError):  # the machine has no more memory to lock: it crosses more slowly then
            weight.data = weight.data.pin_memory()
