"""The step cache: at steps that change little, what the blocks would add is forecast instead of computed.

The first block runs at every step. How much its answer has changed since the last step that was computed tells whether
the others have to run (first-block cache, after TeaCache, Liu et al. 2024, arXiv 2411.19108); here the pass with the
prompt decides for both passes of guidance. A skipped pass gets a forecast: what was added at the last two computed
steps, continued in a straight line over the noise levels (TaylorSeer, Liu et al. 2025, arXiv 2503.06923), though never
farther than those two are apart. Nothing outlives the call.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from qwen_image_studio.models.tiers import StepCache
from qwen_image_studio.painting.hooks import Call, Hook


class Skipping(Hook):
    """A hook that skips blocks of the transformer by a tier's rule; without one, it does nothing.

    Any transformer will do that calls ``transformer_blocks`` one after the other with the tokens as ``hidden_states``.
    """

    def __init__(self, rule: StepCache | None) -> None:
        self._rule = rule
        self._transformer: Any = None
        self._blocks: Any = None
        self._steps: _Steps | None = None

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Put the blocks under watch, with nothing remembered."""
        found = call.pipeline.transformer.transformer_blocks
        # A call may be made within a step of another one, whose watch is not this one's.
        blocks = [each.block if isinstance(each, _Watched) else each for each in found]
        if self._rule is not None:
            self._steps = steps = _Steps(self._rule, call.pipeline.scheduler, call.plan.run_steps, len(blocks))
            blocks = [_Watched(block, steps, index) for index, block in enumerate(blocks)]
        if blocks != [*found]:
            self._transformer, self._blocks = call.pipeline.transformer, found
            self._transformer.transformer_blocks = nn.ModuleList(blocks)
        return {}

    def step(self, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Note that the step's passes are over."""
        if self._steps is not None:
            self._steps.go_on()
        return latents

    def end(self) -> None:
        """Put the list of blocks back that was there, and forget the call."""
        if self._transformer is not None:
            self._transformer.transformer_blocks = self._blocks
        self._transformer = self._blocks = self._steps = None

    @property
    def ran(self) -> int | None:
        """Return the number of blocks that ran in the last forward pass; None where none is watched."""
        return None if self._steps is None else self._steps.ran


class _Steps:
    """What one call has computed, and what is to be done at the step at hand."""

    def __init__(self, rule: StepCache, scheduler: Any, steps: int, blocks: int) -> None:
        self._rule, self._scheduler, self._steps, self._last = rule, scheduler, steps, blocks - 1
        self._levels: list[float] = []
        self._step, self._pass = 0, -1
        self._skips = False
        self._first: torch.Tensor | None = None
        self._start: Any = None
        self._added: dict[int, list[tuple[float, torch.Tensor]]] = {}
        self.ran = 0

    def go_on(self) -> None:
        """Go to the next step."""
        self._step += 1
        self._pass = -1

    def runs(self, index: int) -> bool:
        """Return whether block `index` runs in the pass at hand, which its first block begins."""
        if index == 0:
            self._pass += 1
            self.ran = 0
        decides = index == self._pass == 0  # the pass with the prompt comes first, and decides for the others
        return decides or not self._skips

    def note(self, index: int, before: torch.Tensor, after: torch.Tensor) -> None:
        """Note the tokens that came to block `index` and those that it made of them."""
        self.ran += 1
        if index == 0:
            # Only where the first block always runs is what it adds left out of the forecasts.
            self._start = before if self._pass else after
            if self._pass == 0:
                self._decide(after - before)
        if index == self._last and not self._skips:
            added = after - self._start
            known = [each for each in self._added.get(self._pass, []) if each[1].shape == added.shape]
            self._added[self._pass] = [*known, (self._level, added)][-2:]

    def made_up(self, index: int, tokens: torch.Tensor) -> torch.Tensor:
        """Return the tokens that go on from block `index`, which does not run."""
        return tokens + self._forecast() if index == self._last else tokens

    def _decide(self, first: torch.Tensor) -> None:
        """Decide by what the first block has added to the tokens whether the step is skipped."""
        may_skip = self._rule.first <= self._step < self._steps - self._rule.last
        self._skips = may_skip and _change(first, self._first) <= self._rule.threshold
        if not self._skips:
            self._first = first

    def _forecast(self) -> torch.Tensor:
        """Return what the blocks would add in this pass."""
        (level, added), *newer = self._added[self._pass]
        if not newer:
            return added
        ((last_level, last),) = newer
        far = (self._level - last_level) / (last_level - level)
        return last + min(1.0, far) * (last - added)

    @property
    def _level(self) -> float:
        """Return the noise level of the step, 0 to 1."""
        if not self._levels:  # the pipeline has set them by the first pass; on a card, this waits for them once
            self._levels = self._scheduler.sigmas.tolist()
        return self._levels[self._step]


class _Watched(nn.Module):
    """A block that runs only where it has to, in the place of the block."""

    def __init__(self, block: nn.Module, steps: _Steps, index: int) -> None:
        super().__init__()
        self.block, self._steps, self._index = block, steps, index

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # what a transformer or a hook asks its block for
            return getattr(super().__getattr__("block"), name)

    def forward(self, **named: Any) -> Any:
        """Return the block's answer, or what goes on in its place."""
        before = named["hidden_states"]
        if self._steps.runs(self._index):
            answer = self.block(**named)
            self._steps.note(self._index, before, answer[-1] if isinstance(answer, tuple) else answer)
            return answer
        tokens = self._steps.made_up(self._index, before)
        # Blocks of two streams answer with the text's tokens first; nothing reads those after the last block.
        return (named["encoder_hidden_states"], tokens) if "encoder_hidden_states" in named else tokens


def _change(first: torch.Tensor, known: torch.Tensor | None) -> float:
    """Return the mean absolute difference, relative to what is known; on a card, this waits for it."""
    if known is None or known.shape != first.shape:
        return math.inf
    return ((first - known).abs().mean() / known.abs().mean()).item()
