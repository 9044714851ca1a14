"""Licences that forbid some uses: what is under one is offered only where the operator accepts it by a setting.

Each such licence has a name of its own, of letters and hyphens, which STUDIO_LICENCES lists.
"""

from qwen_image_studio.models.tiers import Tiers
from qwen_image_studio.settings import Settings


def accepted(licence_id: str, settings: Settings) -> bool:
    """Return whether what is under a licence of that name may be offered; the empty name is that of all others."""
    return not licence_id or licence_id.casefold() in {each.casefold() for each in settings.licences}


def offered_tiers(tiers: Tiers, settings: Settings) -> Tiers:
    """Return the tiers without those whose LoRA has a licence that is not accepted."""
    return {
        tier: recipe
        for tier, recipe in tiers.items()
        if recipe.lora is None or accepted(recipe.lora.licence_id, settings)
    }


def to_accept(licence: str, licence_id: str) -> str:
    """Return what the operator has to do before what is under that licence is offered, as the end of a sentence."""
    return f"its licence ({licence}) has to be accepted by the operator first, as STUDIO_LICENCES={licence_id}"
