"""The roofline: seconds that a picture should take, calculated from the work of its steps and what a card keeps up.

Nothing is measured here, and whoever shows these seconds says so. The model has four parts for each forward pass:
matrix products, attention, small kernels (norms, rotations, gates), which are bound by the memory's bandwidth, and the
reading of the modulation's weights for a single row where no table has its answers. On an H100 it gives 242 ms for a
step of 1024 x 1024 with guidance; 248 ms are published (SGLang, October 2026).
"""

import math
from dataclasses import dataclass

from qwen_image_studio.contract.words import Size
from qwen_image_studio.models.architectures import WIDE, Transformer
from qwen_image_studio.models.cards import Card
from qwen_image_studio.models.families import Family
from qwen_image_studio.models.tiers import Recipe

_TEXT, _NEGATIVE = 96, 8
"""Tokens of an ordinary prompt and of a negative prompt that says nothing."""
_SEEN = 188
"""Tokens of a picture that the text encoder sees with an instruction."""
_EAGER, _COMPILED, _COMPILED_FP8 = 75, 28, 32
"""Vectors of a token that the small kernels of a block read and write; for fp8 with those that round to it."""
PCIE = 20e9
"""Bytes per second from the machine's memory to a card; PCIe 4.0 with sixteen lanes keeps up so many."""
SKIPPING = 1.9
"""How many times faster a picture is whose steps are skipped where little changes: the mean of published figures."""


@dataclass(frozen=True)
class Execution:
    """How the transformer is run."""

    fp8: bool = False
    """Whether its matrices are in fp8 and the card multiplies them so."""
    table: bool = True
    """Whether the modulation is looked up in a table."""
    compiled: bool = True
    widened: bool = False
    """Whether its matrices are stored in fp8 and widened to bf16 at each use."""
    fetched: int = 0
    """Bytes that come from the machine's memory in each forward pass, while the pass before them is computed."""


@dataclass(frozen=True)
class Seconds:
    """The parts of a time, in seconds."""

    products: float
    attention: float
    small: float
    modulation: float
    fetching: float = 0.0
    """Time in which weights come from the machine's memory; what is computed meanwhile is not counted twice."""

    @property
    def total(self) -> float:
        """Return what they take together."""
        return max(self.products + self.attention + self.small + self.modulation, self.fetching)


def forward_seconds(net: Transformer, tokens: int, keys: int, card: Card, execution: Execution) -> Seconds:
    """Return the time of one forward pass over `tokens`, each of which attends to `keys`."""
    products = net.flops(tokens, 0)
    rate = card.matmul_fp8 if execution.fp8 and card.matmul_fp8 else card.matmul
    vectors = (_COMPILED_FP8 if execution.fp8 else _COMPILED) if execution.compiled else _EAGER
    moved = vectors * WIDE * net.width * net.layers * tokens
    if execution.widened:  # read narrow, written wide; the product that reads them is counted already
        moved += (1 + WIDE) * (net.attention + net.feed_forward)
    return Seconds(
        products / rate,
        (net.flops(tokens, keys) - products) / card.attention(compiled=execution.compiled),
        moved / card.bytes_a_second,
        0.0 if execution.table else WIDE * net.modulation / card.bytes_a_second,
        execution.fetched / PCIE,
    )


def step_seconds(
    net: Transformer,
    family: Family,
    recipe: Recipe,
    size: Size,
    card: Card,
    execution: Execution,
    *,
    references: int = 0,
    layers: int = 0,
) -> Seconds:
    """Return the time of one denoising step at `size` in pixels, both passes where there is guidance. References are
    of the same size. With `layers` a picture is taken apart into so many, beside which it is painted whole.
    """
    frame = family.tokens_of(size)
    image = frame * (layers + 1)
    seen = references * frame if layers else references * (frame + _SEEN)
    texts = [_TEXT] if recipe.guidance_scale <= 1 or not family.takes_guidance else [_TEXT, _NEGATIVE]
    passes = []
    for text in texts:
        keys = image + seen + text
        # Where keys and values are kept, text and references are seen and not computed again.
        tokens = image if family.key_value_cache else keys
        passes.append(forward_seconds(net, tokens, keys, card, execution))
    return Seconds(*(math.fsum(parts) for parts in zip(*map(_parts, passes), strict=True)))


def expected_seconds(
    net: Transformer,
    family: Family,
    recipe: Recipe,
    size: Size,
    card: Card,
    execution: Execution,
    *,
    references: int = 0,
    layers: int = 0,
) -> float:
    """Return the calculated seconds of the denoising of one picture at a tier; texts, latents and files take a few
    tenths besides.
    """
    painted = within(size, recipe.max_pixels)
    step = step_seconds(net, family, recipe, painted, card, execution, references=references, layers=layers)
    return recipe.steps * step.total / (SKIPPING if recipe.step_cache else 1.0)


def within(size: Size, pixels: int | None) -> Size:
    """Return the size, made smaller where its area is above `pixels`."""
    if pixels is None or math.prod(size) <= pixels:
        return size
    scale = math.sqrt(pixels / math.prod(size))
    width, height = (int(side * scale) for side in size)
    return width, height


def _parts(seconds: Seconds) -> tuple[float, ...]:
    return seconds.products, seconds.attention, seconds.small, seconds.modulation, seconds.fetching
