"""Sparing memory: where it runs out during a painting, the same numbers are painted with fewer on the device at once.

The rungs of this ladder are gone down one by one within a job, and only those that help what ran out: tiles, the text
encoder, the other models, the model itself. Decoding in tiles is the only rung that changes pixels, by rounding and by
the blending of tiles. Once the job has ended, the next one finds everything as it was.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from types import TracebackType
from typing import Any, Self

import torch

from qwen_image_studio.contract.words import Precision
from qwen_image_studio.loading.placing import is_streamed
from qwen_image_studio.loading.room import Spare
from qwen_image_studio.loading.weights import Weights, memory_of
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting.hooks import Call, Hook

TILED_WARNING = (
    "Memory had run out, so pictures were encoded and decoded in tiles; this one may differ very slightly from one "
    "that was not."
)
_ROOM = 1.1  # free memory of the machine that the text encoder needs, as a multiple of its size


class _Part(Enum):
    """What is at work."""

    ENCODER = "text encoder"
    TRANSFORMER = "transformer"
    VAE = "VAE"
    """And all that is neither of the others."""


class Rung(Enum):
    """What can be done to spare memory, in the order in which it is tried."""

    TILES = "tiles"
    """The VAE works in tiles."""
    ENCODER = "encoder"
    """The text encoder leaves the device once all texts are encoded."""
    ALONE = "alone"
    """All other models leave the device."""
    STREAM = "stream"
    """The model's weights pass through the device block by block."""


SAID: Mapping[Rung, str] = {
    Rung.TILES: TILED_WARNING,
    Rung.ENCODER: "Memory had run out, so the text encoder left the card once the texts were encoded; the picture is "
    "the same, and the next text takes a little longer.",
    Rung.ALONE: "Memory had run out, so the other models left the card; the picture is the same, and the next one by "
    "another model takes longer.",
    Rung.STREAM: "Memory had run out, so the model passed through the card block by block; the picture is the same, "
    "but took longer.",
}
"""What people are told of each rung."""
_HELPS: Mapping[Rung, frozenset[_Part]] = {
    Rung.TILES: frozenset({_Part.VAE}),
    Rung.ENCODER: frozenset({_Part.TRANSFORMER, _Part.VAE}),
    Rung.ALONE: frozenset(_Part),
    Rung.STREAM: frozenset(_Part),
}

_FORESEEN = (Rung.ENCODER, Rung.ALONE, Rung.STREAM)
"""The rungs that can be taken before memory runs out, in the order of `Spare`; none of them changes a picture."""


class Sparing(Hook):
    """The ladder of one job, and the hook that carries it out in the job's calls."""

    def __init__(
        self,
        weights: Weights,
        model: Model,
        precision: Precision,
        *,
        tiled_pixels: int,
        frugal: bool = False,
        foreseen: Spare = Spare.NOTHING,
    ) -> None:
        """Begin at the top, with what was `foreseen` taken, or with `frugal` at the bottom. Pictures above
        `tiled_pixels` are done in tiles anyway.
        """
        self._weights, self._model, self._precision = weights, model, precision
        self._tiled_pixels = tiled_pixels
        self._taken: set[Rung] = set()
        self._at_work = _Part.VAE
        self._handles: list[Any] = []
        self._frugal, self._foreseen = frugal, _FORESEEN[:foreseen]
        self.warnings: tuple[str, ...] = ()
        """A sentence for each rung that was used."""

    def __enter__(self) -> Self:
        if self._frugal:
            self._taken = {Rung.TILES, Rung.ENCODER, Rung.ALONE}  # the others have left when it was loaded
            if self._take(Rung.STREAM):
                self._say(Rung.STREAM)
            return self
        self._taken |= {*self._foreseen} - {Rung.STREAM}  # the others have left when it was loaded
        if Rung.STREAM in self._foreseen:
            self._take(Rung.STREAM)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Have the model on the device again as it was; the text encoder comes back once it is needed."""
        if Rung.STREAM in self._taken:
            self._weights.settle(self._model, self._precision)

    def go_down(self, call: Call) -> bool:
        """Take the next rung that helps the part that ran out in a call; return False where none is left."""
        for rung in Rung:
            if rung in self._taken or self._at_work not in _HELPS[rung] or not self._take(rung, call):
                continue
            if rung is not Rung.TILES:  # which is told where tiles are used
                self._say(rung)
            return True
        return False

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Watch who is at work. The text encoder is waited for, whose turn never comes where all texts are remembered,
        and the transformer, whose first turn comes once all are encoded.
        """
        encoder, transformer, device = call.pipeline.text_encoder, call.pipeline.transformer, self._weights.device
        self._at_work = _Part.VAE
        self._on(encoder, _Part.ENCODER, lambda: bring_back(encoder, device))
        away = Rung.ENCODER in self._taken
        self._on(transformer, _Part.TRANSFORMER, lambda: put_away(encoder, device) if away else None)
        call.pipeline.vae.use_tiling = self._is_large(call) or Rung.TILES in self._taken
        if Rung.TILES in self._taken and self._tiles_help(call):
            self._say(Rung.TILES)
        return {}

    def end(self) -> None:
        """Stop watching; leave the encoder where it is."""
        while self._handles:
            self._handles.pop().remove()

    def _on(self, module: torch.nn.Module, part: _Part, then: Callable[[], None]) -> None:
        def begins(*_: Any) -> None:
            self._at_work = part
            then()

        def ends(*_: Any) -> None:
            self._at_work = _Part.VAE

        self._handles.append(module.register_forward_pre_hook(begins, prepend=True))
        self._handles.append(module.register_forward_hook(ends))

    def _take(self, rung: Rung, call: Call | None = None) -> bool:
        """Go down to a rung; return whether that spares anything."""
        weights, on_card = self._weights, has_own_memory(self._weights.device)
        match rung:
            case Rung.TILES:
                spares = call is not None and self._tiles_help(call)
            case Rung.ENCODER:
                spares = on_card and call is not None and not is_away(call.pipeline.text_encoder)
            case Rung.ALONE:
                spares = weights.keep_only(self._model, self._precision)
            case Rung.STREAM:
                spares = on_card and weights.stream(self._model, self._precision)
        if spares:
            self._taken.add(rung)
        return spares

    def _say(self, rung: Rung) -> None:
        if SAID[rung] not in self.warnings:
            self.warnings = (*self.warnings, SAID[rung])

    def _is_large(self, call: Call) -> bool:
        width, height = call.pass_input.size
        return width * height > self._tiled_pixels

    def _tiles_help(self, call: Call) -> bool:
        """Return whether tiles are used where they may be, for what is not done in tiles anyway."""
        used = tiles(call.pipeline.vae, call.pass_input.size) or bool(call.pass_input.sources)
        return used and not self._is_large(call)


def has_own_memory(device: str) -> bool:
    """Return whether a device has memory of its own, so that the machine's takes what leaves it."""
    return device.startswith("cuda")


def put_away(encoder: torch.nn.Module, device: str) -> None:
    """Move the text encoder out of a card's memory, where the machine has room for it."""
    if not has_own_memory(device) or is_away(encoder):
        return
    size = sum(each.numel() * each.element_size() for each in encoder.parameters())
    if memory_of("cpu")[0] > size * _ROOM:
        encoder.to("cpu")
        torch.cuda.empty_cache()


def bring_back(encoder: torch.nn.Module, device: str) -> None:
    """Move the text encoder to the device, where any of it was put away; one that is streamed stays as it is."""
    if has_own_memory(device) and not is_streamed(encoder) and is_away(encoder):
        encoder.to(device)


def is_away(encoder: torch.nn.Module) -> bool:
    """Return whether any of the text encoder is in the machine's memory."""
    return any(each.device.type == "cpu" for each in encoder.parameters())


def tiles(vae: Any, size: tuple[int, int]) -> bool:
    """Return whether a VAE that may tile does so for a picture of that size in pixels."""
    return bool(size[0] > vae.tile_sample_min_width or size[1] > vae.tile_sample_min_height)
