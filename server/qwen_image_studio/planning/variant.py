"""What has to be loaded to paint a plan: the key of affinity, caches and routing."""

from dataclasses import dataclass

from qwen_image_studio.contract.words import Precision, Tier


@dataclass(frozen=True)
class Variant:
    """A model at a tier, in a precision, with a LoRA or without."""

    model: str
    tier: Tier
    precision: Precision
    lora: str = ""
    """Name of the LoRA; empty for none."""

    @property
    def weights(self) -> str:
        """Key of the weights alone, which several variants share: ``Qwen-Image/bf16``."""
        return f"{self.model}/{self.precision}"

    def __str__(self) -> str:
        """Key of the variant: ``Qwen-Image/bf16/quality``, and after it the LoRA where there is one."""
        return "/".join(part for part in (self.weights, self.tier.value, self.lora) if part)
