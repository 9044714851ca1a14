"""OpenAI's `quality` as a tier of the model that paints, and that tier told as a quality."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from qwen_image_studio.contract.words import Tier, Way
from qwen_image_studio.models.lora_files import place_of
from qwen_image_studio.models.table import Model
from qwen_image_studio.models.tiers import Recipe

Quality = Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"]
Told = Literal["low", "medium", "high"]

_TIERS: Mapping[Quality, Sequence[Tier]] = {
    "low": (Tier.DRAFT, Tier.TURBO),
    "medium": (Tier.BALANCED, Tier.TURBO),
    "standard": (Tier.BALANCED,),
}
"""Tiers for each value that asks for less than the best, the one to prefer first."""
TOLD: Mapping[Tier, Told] = {
    Tier.QUALITY: "high",
    Tier.BALANCED: "medium",
    Tier.TURBO: "low",
    Tier.DRAFT: "low",
}
"""The quality that answers tell of each tier."""


def tier_for(quality: Quality, models: Iterable[Model], ways: Sequence[Way]) -> tuple[Tier | None, str | None]:
    """Return the tier of that quality for the first of the models that paints in one of these ways, earlier ways first;
    None for the usual one, and a warning where less was asked for and the model has no such tier, or not its LoRA.
    """
    wanted, offered = _TIERS.get(quality, ()), list(models)
    model = next((each for way in ways for each in offered if way in each.families), None)
    if not wanted or model is None:
        return None, None
    found = next((tier for tier in wanted if tier in model.tiers and _is_here(model.tiers[tier])), None)
    if found is not None:
        return found, None
    names = " or ".join(wanted)
    return None, f"quality {quality} was painted as high, since {model.name} has no tier {names} on this server."


def _is_here(recipe: Recipe) -> bool:
    """Return whether nothing of it would have to be fetched first, which a caller who only asked for less cannot know
    of.
    """
    return recipe.lora is None or place_of(recipe.lora) is not None
