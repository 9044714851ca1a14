"""Embeddings: what text encoders have made of texts, remembered in the machine's memory for the calls to come."""

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass

import torch
from PIL import Image

ENTRY_BYTES = 8 * 2**20
"""Memory of an entry on the average: 1024 tokens take 7 MiB where the encoder is that of a 20B model in bf16."""

Encoding = tuple[torch.Tensor, ...]
"""What a pipeline makes of a text: its embedding and masks."""
_Key = tuple["weakref.ref[torch.nn.Module]", Hashable]


class Embeddings:
    """A memory of encodings, used by one thread at a time. What comes out of it is equal to the bit to what went in,
    and the caller's own to change.

    An encoding is found by its encoder, which is another one whenever its weights are loaded anew, and by all that the
    encoder was given. Whoever changes weights in place has to `clear` what they have made.
    """

    def __init__(self, entries: int, pinned: Collection[str] = ()) -> None:
        """Remember so many encodings, those used last. The `pinned` texts, where no pictures are seen with them, are
        remembered besides, for as long as their encoder is loaded.
        """
        self._entries, self._bytes, self._pinned = entries, entries * ENTRY_BYTES, frozenset(pinned)
        self._recent: OrderedDict[_Key, _Entry] = OrderedDict()
        self._kept: dict[_Key, _Entry] = {}

    def of(
        self, encoder: torch.nn.Module, pipeline: type, given: Mapping[str, object], encode: Callable[[], Encoding]
    ) -> Encoding:
        """Return what the encoder makes of what a pipeline of that class gives it: from memory, or else by `encode`.

        What `encode` raises comes through, and nothing is remembered.
        """
        marks = [_mark(value) for value in given.values()]
        if None in marks:
            return encode()
        # On a CPU the number of threads may decide over the order of sums, and so over the last bits.
        key = weakref.ref(encoder), (pipeline, torch.get_num_threads(), tuple(zip(given, marks, strict=True)))
        if (known := self._find(key)) is not None:
            return known.read()
        made = encode()
        self._forget_unloaded()
        if given.get("image") is None and self._pinned.issuperset(_texts(given["prompt"])):
            self._kept[key] = _Entry.of(made)
        else:
            self._add(key, _Entry.of(made))
        return made

    def clear(self) -> None:
        """Forget everything."""
        self._recent.clear()
        self._kept.clear()

    def _find(self, key: _Key) -> "_Entry | None":
        if key in self._recent:
            self._recent.move_to_end(key)
        return self._kept.get(key) or self._recent.get(key)

    def _add(self, key: _Key, entry: "_Entry") -> None:
        if entry.size > self._bytes:
            return
        self._recent[key] = entry
        while len(self._recent) > self._entries or sum(each.size for each in self._recent.values()) > self._bytes:
            self._recent.popitem(last=False)

    def _forget_unloaded(self) -> None:
        """Forget what was made by encoders that are no longer in memory."""
        for shelf in (self._recent, self._kept):
            for key in [key for key in shelf if key[0]() is None]:
                del shelf[key]


@dataclass(frozen=True)
class _Entry:
    """An encoding in the machine's memory, and where its tensors were."""

    tensors: Encoding
    devices: tuple[torch.device, ...]

    @classmethod
    def of(cls, encoding: Encoding) -> "_Entry":
        """Return a copy, which no later step of the caller can change."""
        copies = tuple(each.detach().to("cpu", copy=True) for each in encoding)
        return cls(copies, tuple(each.device for each in encoding))

    def read(self) -> Encoding:
        """Return a copy on the devices of the original."""
        return tuple(each.to(device, copy=True) for each, device in zip(self.tensors, self.devices, strict=True))

    @property
    def size(self) -> int:
        """Return its memory in bytes."""
        return sum(each.nbytes for each in self.tensors)


def _texts(prompt: object) -> Collection[str]:
    return [prompt] if isinstance(prompt, str) else prompt if isinstance(prompt, list) else []


def _mark(value: object) -> Hashable:
    """Return what stands for a value in a key, with its type; None where nothing can."""
    match value:
        case str():  # no prompt is kept that might have to be dropped with its job
            return hashlib.sha256(value.encode(errors="surrogatepass")).digest()
        case None | int() | float() | torch.device() | torch.dtype():
            return type(value), value
        case list() | tuple():
            marks = tuple(_mark(each) for each in value)
            return None if None in marks else marks
        case Image.Image() if value.palette is None:
            return value.mode, value.size, hashlib.sha256(value.tobytes()).digest()
    return None
