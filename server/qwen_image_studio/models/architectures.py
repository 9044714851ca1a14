"""Architectures: the networks of the models as numbers, so that memory and work are counted and not guessed.

Nothing here needs torch. `tests/server/test_architectures.py` builds each network at full size without memory (torch's
``meta`` device) and holds these counts to it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

GIB = 2**30
WIDE = 2
"""Bytes of a number in bf16."""
_TIME_WIDTH = 256
"""Length of the sine and cosine features of a timestep."""
_ACTIVATIONS = 15
"""Tensors of a token's width that one block has in memory at most; counted 14.4."""


def forward_flops(
    tokens: int, width: int, layers: int, *, keys: int | None = None, linear: float = 24.0, pairs: float = 4.0
) -> float:
    """Return the FLOPs of one forward pass over `tokens`: those of the image, of its references and of the text.

    `width` is the length d of a token's vector. A double-stream block (Esser et al. 2024) costs `linear` = 24 d^2 for
    each token (8 d^2 in the four projections of attention, 16 d^2 in the feed-forward net) and `pairs` = 4 d for each
    pair of a token and one of the `keys`, by default the tokens themselves, in attention. Work that does not depend on
    the size, such as the modulation, is left out.
    """
    seen = tokens if keys is None else keys
    return layers * tokens * (linear * width**2 + pairs * width * seen)


@dataclass(frozen=True)
class Transformer(ABC):
    """A transformer that denoises: numbers of its parameters by what they do, and its work."""

    layers: int
    heads: int
    head_dim: int
    text_width: int
    """Length of the vectors that the text encoder gives."""
    channels: int = 64
    """Numbers of a token's latents, coming in and going out."""
    tabled: ClassVar[bool]
    """Whether a third of it is modulation, which is better looked up in tables."""
    linear: ClassVar[float]
    """Work in the projections and the feed-forward net for each token, in FLOPs divided by the width squared."""

    @property
    def width(self) -> int:
        """Return the length of a token's vector."""
        return self.heads * self.head_dim

    @property
    @abstractmethod
    def attention(self) -> int:
        """Return the number of parameters in the attention of all blocks."""

    @property
    @abstractmethod
    def feed_forward(self) -> int:
        """Return the number of parameters in the feed-forward nets of all blocks."""

    @property
    @abstractmethod
    def modulation(self) -> int:
        """Return the number of parameters whose answer depends on the timestep alone."""

    @property
    @abstractmethod
    def rest(self) -> int:
        """Return the number of all other parameters: what brings latents, text and timestep in, and latents out."""

    @property
    @abstractmethod
    def biases(self) -> int:
        """Return how many parameters of attention and feed-forward nets are no matrices, and stay in bf16."""

    @property
    def kept_wide(self) -> int:
        """Return how many parameters of matrices stay in bf16 where the others are in fp8, as `loading.fp8` has it: the
        output projection of each block's attention, and the whole last block.
        """
        last = (self.attention + self.feed_forward - self.biases) // self.layers
        return (self.layers - 1) * self.width**2 + last

    @property
    def parameters(self) -> int:
        """Return the number of all parameters."""
        return self.attention + self.feed_forward + self.modulation + self.rest

    def flops(self, tokens: int, keys: int | None = None) -> float:
        """Return the FLOPs of one forward pass, as `forward_flops` has it."""
        return forward_flops(tokens, self.width, self.layers, keys=keys, linear=self.linear)

    @property
    def kept_bytes(self) -> int:
        """Return the memory of the keys and values that are kept of a token from step to step, in bytes; 0 for none."""
        return 0

    def working_bytes(self, tokens: int) -> int:
        """Return the memory that a forward pass over so many tokens takes besides the weights, in bytes, in bf16."""
        return _ACTIVATIONS * WIDE * self.width * tokens


@dataclass(frozen=True)
class DoubleStream(Transformer):
    """Qwen-Image's: each block has weights for the image and others for the text, and modulates both."""

    kinds: int = 0
    """Number of kinds of pictures of which the transformer is told one: with transparency or without; 0 for none."""
    tabled, linear = True, 24.0

    @property
    def attention(self) -> int:
        """Return eight projections with biases, and the norms of queries and keys of both streams."""
        return self.layers * (8 * _affine(self.width, self.width) + 4 * self.head_dim)

    @property
    def feed_forward(self) -> int:
        """Return two nets, four times as wide inside."""
        inner = 4 * self.width
        return self.layers * 2 * (_affine(self.width, inner) + _affine(inner, self.width))

    @property
    def modulation(self) -> int:
        """Return six vectors for each of the two streams of each block."""
        return self.layers * 2 * _affine(self.width, 6 * self.width)

    @property
    def rest(self) -> int:
        """Return the layers before and after the blocks, with the norm of the text."""
        width = self.width
        time = _affine(_TIME_WIDTH, width) + _affine(width, width)
        into = _affine(self.channels, width) + _affine(self.text_width, width) + self.text_width
        return time + self.kinds * width + into + _affine(width, 2 * width) + _affine(width, self.channels)

    @property
    def biases(self) -> int:
        """Return the biases of all matrices of the blocks, and the norms of queries and keys."""
        return self.layers * (8 * self.width + 4 * self.head_dim + 2 * 5 * self.width)


@dataclass(frozen=True)
class SingleStream(Transformer):
    """Qwen-Image-2.1's: image and text share the weights of a block, the net is gated, and all blocks share one
    modulation. Keys and values of the text and of the references are kept from step to step.
    """

    tabled, linear = False, 26.0

    @property
    def kept_bytes(self) -> int:
        """Return two vectors for each layer."""
        return 2 * WIDE * self.layers * self.width

    @property
    def attention(self) -> int:
        """Return four projections without biases, and the norms of queries and keys."""
        return self.layers * (4 * self.width**2 + 2 * self.head_dim)

    @property
    def feed_forward(self) -> int:
        """Return the three matrices of a gated net that is three times as wide inside."""
        return self.layers * 3 * self.width * (3 * self.width)

    @property
    def modulation(self) -> int:
        """Return the four vectors that all blocks share."""
        return 4 * self.width**2

    @property
    def rest(self) -> int:
        """Return the layers before and after the blocks, with the norm of the text."""
        width = self.width
        time = _TIME_WIDTH * width + width**2
        text = self.text_width + self.text_width * width + width**2
        return time + text + width**2 + 2 * self.channels * width

    @property
    def biases(self) -> int:
        """Return the norms of queries and keys; there are no biases."""
        return self.layers * 2 * self.head_dim


@dataclass(frozen=True)
class Encoder:
    """A text encoder that also sees pictures."""

    parameters: int
    head: int
    """Parameters of the layer that names the next token, which no painting needs; 0 where the words share them."""
    words: int
    """Parameters of the vectors of the words."""

    @property
    def needed(self) -> int:
        """Return the number of parameters that painting needs."""
        return self.parameters - self.head


@dataclass(frozen=True)
class Vae:
    """What turns pictures into latents and back. It works in bf16 here."""

    parameters: int
    decoding: int
    """Memory that decoding takes for each pixel, in bytes."""
    encoding: int
    """Memory that encoding takes for each pixel, in bytes."""
    tile: int
    """Memory that a picture of any size takes that is done in tiles, in bytes."""


@dataclass(frozen=True)
class Network:
    """All networks of a model."""

    transformer: Transformer
    encoder: Encoder
    vae: Vae

    @property
    def parameters(self) -> int:
        """Return the number of all parameters."""
        return self.transformer.parameters + self.encoder.parameters + self.vae.parameters


_TILE = 512 * 2**20

_TWENTY_BILLION = DoubleStream(layers=60, heads=24, head_dim=128, text_width=3584)
_SMALL = DoubleStream(layers=6, heads=5, head_dim=32, text_width=192)

QWEN_IMAGE = Network(
    _TWENTY_BILLION,
    Encoder(parameters=8_292_166_656, head=544_997_376, words=544_997_376),  # Qwen2.5-VL-7B
    Vae(parameters=126_892_531, decoding=3460, encoding=1934, tile=_TILE),
)
QWEN_IMAGE_21 = Network(
    SingleStream(layers=32, heads=32, head_dim=128, text_width=4096),
    Encoder(parameters=8_767_123_696, head=622_329_856, words=622_329_856),  # Qwen3-VL-8B
    Vae(parameters=337_740_404, decoding=6432, encoding=2132, tile=_TILE),
)
QWEN_IMAGE_LAYERED = Network(
    replace(_TWENTY_BILLION, kinds=2),
    QWEN_IMAGE.encoder,
    Vae(parameters=126_897_716, decoding=3460, encoding=1934, tile=_TILE),
)
MINIATURE = Network(
    _SMALL,
    Encoder(parameters=1_764_256, head=0, words=393_216),
    Vae(parameters=2_577_987, decoding=462, encoding=269, tile=2**25),
)
MINIATURE_LAYERED = Network(
    replace(_SMALL, kinds=2),
    MINIATURE.encoder,
    Vae(parameters=2_578_852, decoding=462, encoding=269, tile=2**25),
)


def _affine(inputs: int, outputs: int) -> int:
    """Return the number of parameters of a linear layer with biases."""
    return (inputs + 1) * outputs
