"""Getting a transformer ready once it is loaded: rotary embedding, attention kernel, modulation, compiled blocks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel
from diffusers.models.attention_dispatch import AttentionBackendName

from qwen_image_studio.contract.words import Compile
from qwen_image_studio.loading.attention import fastest
from qwen_image_studio.loading.compiling import INDUCTOR, Backend, Compiled, keep_compiled
from qwen_image_studio.loading.modulation import ROOM, Modulation
from qwen_image_studio.loading.placing import is_streamed
from qwen_image_studio.loading.rope import use_real_rope
from qwen_image_studio.settings import Settings


@dataclass(frozen=True)
class Preparation:
    """How transformers are made ready on a device."""

    compiles: bool = False
    """Whether the blocks are compiled."""
    backend: Backend = INDUCTOR
    """What compiles."""
    tables: int = ROOM
    """Memory of the device for each transformer's tables of modulation, in bytes."""


UNCOMPILED = Preparation()
"""Ready for any device, without a compiler."""


class Prepared:
    """What has been made ready of one transformer, and goes with it."""

    def __init__(self, transformer: Any, dtype: torch.dtype, preparation: Preparation) -> None:
        """Change the transformer, which paints the same as before, and compile its blocks."""
        self._transformer, self._dtype = transformer, dtype
        self._attention = use_real_rope(transformer)
        config = transformer.config
        self._usual = fastest(transformer.device, dtype, config.num_attention_heads, config.attention_head_dim)
        self._attention.kernel = self._usual
        self.modulation = Modulation(transformer, preparation.tables)
        # Weights that stream are brought by hooks around the blocks, which no graph can hold.
        compiles = preparation.compiles and not is_streamed(transformer)
        self.compiled = Compiled(transformer, preparation.backend) if compiles else None
        self.warm_up()

    def warm_up(self) -> None:
        """Compile now what the next call would have to: to be called after a LoRA has come or gone."""
        if self.compiled is not None:
            with self.modulation.following(None):
                self.compiled.warm_up(self._dtype)

    @contextmanager
    def calling(self, scheduler: Any, kernel: str = "") -> Iterator[None]:
        """Be ready for a call of a pipeline with this scheduler while the context is open.

        `kernel` is an attention kernel by diffusers' name; empty for the one that is fastest here.
        """
        outer = self._attention.kernel
        self._use(AttentionBackendName(kernel) if kernel else self._usual)
        try:
            with self.modulation.following(scheduler):
                yield
        finally:
            self._attention.kernel = outer

    def _use(self, kernel: AttentionBackendName) -> None:
        if kernel is not self._attention.kernel:
            self._attention.kernel = kernel
            self.warm_up()


def preparation_for(settings: Settings, device: str) -> Preparation:
    """Return how the operator wants it on a device, and have what is compiled kept in the data folder."""
    compiles = settings.compile is Compile.ON or (settings.compile is Compile.AUTO and device.startswith("cuda"))
    if compiles:
        keep_compiled(settings.data_dir / "compiled")
    return Preparation(compiles)


def prepare(transformer: Any, dtype: torch.dtype, preparation: Preparation) -> None:
    """Make a loaded transformer ready, once, to be called in that number format where it is; leave one of another
    architecture than Qwen-Image's as it is.
    """
    if isinstance(transformer, QwenImageTransformer2DModel) and prepared(transformer) is None:
        transformer.prepared = Prepared(transformer, dtype, preparation)


def prepared(transformer: Any) -> Prepared | None:
    """Return what has been made ready of a transformer; None where there is nothing."""
    found: Prepared | None = getattr(transformer, "prepared", None)
    return found


def spare(transformer: Any) -> None:
    """Free memory of the device that holds what a transformer could compute again."""
    if (ready := prepared(transformer)) is not None:
        ready.modulation.forget()
