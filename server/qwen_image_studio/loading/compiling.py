"""Compiling the block that a transformer repeats, so that one graph serves every size, text and number of sources."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo.config
import torch.fx.experimental._config
from torch import nn
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

LOG = logging.getLogger(__name__)
Backend = str | Callable[..., Any]
"""What compiles, as ``torch.compile`` takes it."""
INDUCTOR: Backend = "inductor"
"""torch's own compiler."""
GRAPHS = 64
"""Graphs that there may be of the block, for all models of the process and all LoRAs; by default a ninth is refused."""


class Compiled:
    """The compiled blocks of one transformer, which can be switched off and on without being compiled again."""

    def __init__(self, transformer: Any, backend: Backend = INDUCTOR) -> None:
        """Compile nothing before the first call."""
        self._transformer = transformer
        self.is_on = True
        for block in transformer.transformer_blocks:
            block.forward = self._guarded(block.forward, backend)
        transformer.register_forward_pre_hook(_allow_every_shape)
        for layer in (transformer.img_in, transformer.txt_in):
            layer.register_forward_hook(self._owned)

    def switch(self, *, on: bool) -> None:
        """Use what is compiled, or the blocks as they are."""
        self.is_on = on

    @torch.no_grad()
    def warm_up(self, dtype: torch.dtype) -> None:
        """Run once in that number format, with a source, so that what the blocks take is compiled now."""
        transformer, made = self._transformer, {"dtype": dtype, "device": self._transformer.device}
        config, shapes = transformer.config, [(1, 4, 4), (1, 2, 6)]
        told = {"additional_t_cond": torch.zeros(1, dtype=torch.long, device=transformer.device)}
        if not self.is_on:
            return
        try:
            transformer(
                hidden_states=torch.zeros(1, 28, config.in_channels, **made),
                timestep=torch.ones(1, **made),
                encoder_hidden_states=torch.zeros(1, 7, config.joint_attention_dim, **made),
                img_shapes=[shapes],
                attention_kwargs={},
                **(told if config.use_additional_t_cond else {}),
            )
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except (RuntimeError, OSError, ImportError) as error:  # a compiled kernel that the device refuses
            self._give_up(error)

    def _guarded(self, plain: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
        """Return a block's call, compiled: where that fails, it runs as it is, and so do all from then on."""
        compiled = torch.compile(plain, backend=backend, fullgraph=True, dynamic=True)

        def call(*given: Any, **named: Any) -> Any:
            if self.is_on:
                try:
                    return compiled(*given, **named)
                except (TorchDynamoException, FailOnRecompileLimitHit) as error:  # raised before anything was computed
                    self._give_up(error)
            return plain(*given, **named)

        return call

    def _give_up(self, error: Exception) -> None:
        said = " ".join(str(error).split("\n")[:2])  # what compiled, and what it said
        LOG.warning("the transformer's blocks run uncompiled from now on: %s", said)
        LOG.debug("compiling failed", exc_info=error)
        self.switch(on=False)

    def _owned(self, _: nn.Module, given: Any, tokens: torch.Tensor) -> torch.Tensor:
        """Return the first block's input as later blocks get theirs, no view of another tensor: else it is one graph
        more.
        """
        return tokens.clone() if self.is_on else tokens


def keep_compiled(folder: Path) -> None:
    """Have what is compiled kept in this folder for later processes, unless the operator has named another one."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder.resolve()))


def _allow_every_shape(*_: Any) -> None:
    """Set what keeps the number of graphs small, in the thread that calls: torch keeps these settings by thread."""
    if torch._dynamo.config.recompile_limit != GRAPHS:
        torch._dynamo.config.recompile_limit = GRAPHS
    # Two sizes that happen to be equal, such as 3072 tokens and a width of 3072, are not one and the same.
    if torch.fx.experimental._config.use_duck_shape:
        torch.fx.experimental._config.use_duck_shape = False
