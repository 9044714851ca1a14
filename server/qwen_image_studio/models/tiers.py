"""Tiers: how each model paints at each speed, as rows.

Whoever changes a row so that the same plan gives another picture counts up `RECIPE` in operations/canonical.py.
Figures and files: the model cards of Qwen-Image and of lightx2v's Lightning LoRAs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qwen_image_studio.contract.words import Precision, Tier


@dataclass(frozen=True)
class TierLora:
    """The LoRA that belongs to a tier: a distilled model, as a difference from the whole one."""

    repository: str
    """Repository id on the Hub, or a local folder."""
    file: str
    """Path of the safetensors file in it."""
    scale: float = 1.0
    revision: str = ""
    """Commit, branch or tag of the repository; empty for the one that is here, else its newest."""
    licence: str = "unknown"
    """Licence of the file, as an SPDX identifier where there is one; ``unknown`` where nobody here has read it."""
    licence_id: str = ""
    """Name under which an operator accepts a licence that forbids some uses (STUDIO_LICENCES); empty for others."""


@dataclass(frozen=True)
class StepCache:
    """Which steps may be skipped: those at which the first block's output has changed little since the last one."""

    threshold: float
    """Largest relative change at which a step is skipped."""
    first: int = 4
    """Number of steps at the beginning that always run."""
    last: int = 1
    """Number of steps at the end that always run."""


@dataclass(frozen=True)
class Recipe:
    """One tier of a model."""

    steps: int
    """Denoising steps of one picture."""
    guidance_scale: float
    """Weight of the prompt (true CFG); at 1 the negative prompt has no effect."""
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    """Entries of the scheduler's config that differ from the model's own."""
    lora: TierLora | None = None
    """What distils the model for this tier; None where its own weights paint."""
    step_cache: StepCache | None = None
    """None where every step runs."""
    precision: Precision | None = None
    """Number format to paint in where the device can; None for the model's own."""
    attention: str = ""
    """Attention kernel, by diffusers' name; empty for the one that is fastest on the device."""
    max_pixels: int | None = None
    """Largest area that is painted, and to which sources are brought, in pixels; None for the model's own."""
    float_latents: bool = False
    """Whether latents stay in float32 from step to step, whatever the weights are in."""

    @property
    def distilled(self) -> bool:
        """Return whether its steps and guidance are those for which the weights were made, and no others."""
        return self.lora is not None


Tiers = Mapping[Tier, Recipe]
"""Recipe of each tier that a model has; every model has ``quality``."""

_DRAFT_PIXELS = 768 * 768
_LIGHTNING_SCHEDULER: Mapping[str, Any] = {
    "base_shift": math.log(3),
    "max_shift": math.log(3),
    "shift": 1.0,
    "shift_terminal": None,
    "use_dynamic_shifting": True,
    "time_shift_type": "exponential",
    "base_image_seq_len": 256,
    "max_image_seq_len": 8192,
}
"""The noise levels for which Lightning was distilled."""


def lightning(repository: str, file: str, steps: int, licence: str = "Apache-2.0") -> Recipe:
    """Return the recipe of a LoRA of lightx2v's Lightning, made for so many steps without guidance."""
    return Recipe(steps, 1.0, _LIGHTNING_SCHEDULER, TierLora(repository, file, licence=licence))


def tiers(quality: Recipe, turbo: Recipe, draft: Recipe, cache: StepCache) -> Tiers:
    """Return the four tiers of a large model: `balanced` is `quality` with less work, `draft` paints small."""
    return {
        Tier.QUALITY: quality,
        Tier.BALANCED: replace(quality, precision=Precision.FP8, step_cache=cache),
        Tier.TURBO: turbo,
        Tier.DRAFT: replace(draft, max_pixels=_DRAFT_PIXELS),
    }


_CACHE = StepCache(0.1)
_IMAGE = "lightx2v/Qwen-Image-Lightning"
_IMAGE_2512 = lightning(
    "lightx2v/Qwen-Image-2512-Lightning", "Qwen-Image-2512-Lightning-4steps-V1.0-bf16.safetensors", 4, licence="unknown"
)
_EDIT_2509 = "Qwen-Image-Edit-2509/Qwen-Image-Edit-2509-Lightning-{}steps-V1.0-bf16.safetensors"
_EDIT_2511 = lightning(
    "lightx2v/Qwen-Image-Edit-2511-Lightning", "Qwen-Image-Edit-2511-Lightning-4steps-V1.0-bf16.safetensors", 4
)
# Its card's noise levels 1, 0.75, 0.5 and 0.25, to be shifted, are those that the pipeline takes for four steps.
_IMAGE_21 = Recipe(
    4,
    1.0,
    {"shift_terminal": None, "use_dynamic_shifting": True, "time_shift_type": "exponential"},
    TierLora("lightx2v/Qwen-Image-2.1-Lightning", "pytorch_lora_weights.safetensors"),
    float_latents=True,
)

QWEN_IMAGE = tiers(
    Recipe(50, 4.0),
    lightning(_IMAGE, "Qwen-Image-Lightning-8steps-V2.0-bf16.safetensors", 8),
    lightning(_IMAGE, "Qwen-Image-Lightning-4steps-V2.0-bf16.safetensors", 4),
    _CACHE,
)
QWEN_IMAGE_2512 = tiers(Recipe(50, 4.0), _IMAGE_2512, _IMAGE_2512, _CACHE)
QWEN_IMAGE_EDIT_2509 = tiers(
    Recipe(40, 4.0), lightning(_IMAGE, _EDIT_2509.format(8), 8), lightning(_IMAGE, _EDIT_2509.format(4), 4), _CACHE
)
QWEN_IMAGE_EDIT_2511 = tiers(Recipe(40, 4.0), _EDIT_2511, _EDIT_2511, _CACHE)
_LAYERED = Recipe(50, 4.0)  # nobody has distilled it, so it has no tiers of fewer steps
QWEN_IMAGE_LAYERED: Tiers = {
    Tier.QUALITY: _LAYERED,
    Tier.BALANCED: replace(_LAYERED, precision=Precision.FP8, step_cache=_CACHE),
}
QWEN_IMAGE_21 = tiers(Recipe(40, 1.0), _IMAGE_21, _IMAGE_21, _CACHE)
_MINIATURE = Recipe(
    4,
    1.0,
    _LIGHTNING_SCHEDULER,
    TierLora(str(Path(__file__).parent.parent / "miniature" / "lora"), "turbo.safetensors", licence="Apache-2.0"),
)
MINIATURE: Tiers = {
    Tier.QUALITY: Recipe(20, 3.0),
    Tier.BALANCED: Recipe(20, 3.0, step_cache=_CACHE),
    Tier.TURBO: _MINIATURE,
    Tier.DRAFT: replace(_MINIATURE, max_pixels=112 * 112),
}
MINIATURE_LAYERED: Tiers = {Tier.QUALITY: Recipe(20, 3.0), Tier.BALANCED: Recipe(20, 3.0, step_cache=_CACHE)}
