"""Graphics cards as data: what their makers say they can, and which share of it lasts.

Peaks are those of NVIDIA's data sheets for dense matrices, with sums in float32 where the card is slower so. Shares are
what published measurements of matrix products and attention reach (for an H100: 700 of 989 TFLOP/s in products); those
of cards without such measurements are taken from the nearest card that has them.
"""

import re
from dataclasses import dataclass

Capability = tuple[int, int]
"""CUDA's compute capability, such as (8, 9)."""
FP8_CAPABILITY: Capability = (8, 9)
"""Least capability with matrix products in fp8."""


@dataclass(frozen=True)
class Card:
    """One kind of card. Rates in TFLOP/s, memory bandwidth in GB/s."""

    name: str
    pattern: str
    """Regular expression that is found in the name that the driver gives the card."""
    capability: Capability
    bf16: float
    fp8: float | None
    """None where it has no products in fp8."""
    bandwidth: float
    matmul_share: float = 0.70
    """Share of the bf16 peak that matrix products keep up."""
    attention_share: float = 0.60
    """Share of the bf16 peak that the best attention kernel keeps up."""
    fp8_share: float = 0.58
    """Share of the fp8 peak that matrix products keep up, the rounding of what comes in not counted."""
    eager_attention_share: float | None = None
    """Share of attention without compiling and choosing a kernel; None where it is no other."""

    @property
    def matmul(self) -> float:
        """Return the rate of matrix products in bf16 that lasts, in FLOP/s."""
        return self.bf16 * self.matmul_share * 1e12

    @property
    def matmul_fp8(self) -> float | None:
        """Return the rate of matrix products in fp8 that lasts, in FLOP/s; None where there are none."""
        return None if self.fp8 is None else self.fp8 * self.fp8_share * 1e12

    @property
    def bytes_a_second(self) -> float:
        """Return the rate at which small kernels read and write memory, in bytes per second."""
        return self.bandwidth * 0.9 * 1e9

    def attention(self, *, compiled: bool) -> float:
        """Return the rate of attention that lasts, in FLOP/s."""
        share = self.attention_share if compiled else self.eager_attention_share or self.attention_share
        return self.bf16 * share * 1e12


_HOPPER = {"matmul_share": 0.708, "attention_share": 0.586, "eager_attention_share": 0.374}
_ADA = {"matmul_share": 0.70, "attention_share": 0.60, "fp8_share": 0.75}
_GEFORCE = {"matmul_share": 0.80, "attention_share": 0.65, "fp8_share": 0.75}
_AMPERE = {"matmul_share": 0.72, "attention_share": 0.64}
_A10G = {"matmul_share": 0.74, "attention_share": 0.65}
CARDS: tuple[Card, ...] = (
    Card("B200", r"\bB200\b", (10, 0), 2250, 4500, 8000),
    Card("H200", r"\bH200\b", (9, 0), 989, 1979, 4800, **_HOPPER),
    Card("H100 NVL", r"\bH100 NVL\b", (9, 0), 835, 1671, 3900, **_HOPPER),
    Card("H100 PCIe", r"\bH100 PCIe\b", (9, 0), 756, 1513, 2000, **_HOPPER),
    Card("H100", r"\bH100\b", (9, 0), 989, 1979, 3350, **_HOPPER),
    Card("A100 80 GB", r"\bA100\b.*80GB", (8, 0), 312, None, 2039, **_AMPERE),
    Card("A100 40 GB", r"\bA100\b", (8, 0), 312, None, 1555, **_AMPERE),
    Card("RTX PRO 6000 Blackwell", r"\bRTX PRO 6000\b", (12, 0), 504, 1008, 1792),
    Card("RTX 5090", r"\bRTX 5090\b", (12, 0), 209, 419, 1792, **_GEFORCE),
    Card("L40S", r"\bL40S\b", (8, 9), 362, 733, 864, **_ADA),
    Card("L40", r"\bL40\b", (8, 9), 181, 362, 864, **_ADA),
    Card("L4", r"\bL4\b", (8, 9), 121, 242, 300, **_ADA),
    Card("RTX 6000 Ada", r"\bRTX 6000 Ada\b", (8, 9), 364, 728, 960, **_ADA),
    Card("RTX 4090", r"\bRTX 4090\b", (8, 9), 165, 330, 1008, **_GEFORCE),
    Card("RTX A6000", r"\bRTX A6000\b", (8, 6), 155, None, 768, **_AMPERE),
    Card("A40", r"\bA40\b", (8, 6), 150, None, 696, **_AMPERE),
    Card("A10G", r"\bA10G\b", (8, 6), 70, None, 600, **_A10G),
    Card("A10", r"\bA10\b", (8, 6), 125, None, 600, **_AMPERE),
    Card("RTX 3090", r"\bRTX 3090\b", (8, 6), 71, None, 936, **_A10G),
)
"""The cards that are known, each pattern before those that also fit its names."""


def find_card(name: str) -> Card | None:
    """Return the card that the driver calls so, such as ``NVIDIA H100 80GB HBM3``; None where it is not known."""
    return next((card for card in CARDS if re.search(card.pattern, name)), None)
