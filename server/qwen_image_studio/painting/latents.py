"""Latents in float32 from step to step, for weights that were distilled so, whatever these are in.

The steps of a distilled model are few and long, so what rounding loses in one of them is seen in the picture.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch

from qwen_image_studio.painting.hooks import Call, Hook


class FloatLatents(Hook):
    """A hook that lets the transformer take float32 latents and give a float32 answer, where the tier is made so."""

    def __init__(self) -> None:
        self._undo = ExitStack()

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Have the pipeline make its latents in float32; the transformer works in its own number format."""
        if call.recipe.float_latents and call.family.float_latents:
            transformer = call.pipeline.transformer
            call.pipeline.float_latents = True
            self._undo.callback(transformer.register_forward_pre_hook(_narrowed, with_kwargs=True).remove)
            self._undo.callback(transformer.register_forward_hook(_widened).remove)
        return {}

    def end(self) -> None:
        """Leave the transformer, which others use, as it was."""
        self._undo.close()


def _narrowed(module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {**named, "hidden_states": named["hidden_states"].to(named["encoder_hidden_states"].dtype)}


def _widened(module: Any, args: tuple[Any, ...], answer: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return answer[0].float(), *answer[1:]
