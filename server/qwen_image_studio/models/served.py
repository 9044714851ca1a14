"""Which models a server offers: those that its settings name, where they lie, with the LoRAs that are for each."""

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from qwen_image_studio.contract.errors import CannotServe, refusal
from qwen_image_studio.models.licences import accepted, offered_tiers
from qwen_image_studio.models.loras import Lora, offered
from qwen_image_studio.models.needs import least_gib
from qwen_image_studio.models.table import MODELS, Model, find_model, is_called, not_offered
from qwen_image_studio.settings import Settings

LOG = logging.getLogger(__name__)
_LARGE, _SMALL = ("Qwen-Image", "Qwen-Image-Edit-2509"), ("miniature", "miniature-layered")
_SINGLE_FILE = re.compile(r"(?P<file>.*?\.(?:gguf|safetensors))(?::(?P<folder>.*))?", re.IGNORECASE)


def configured_models(settings: Settings, *, card_gib: float) -> Mapping[str, Model]:
    """Return the models that this server offers, in the operator's order: those that are named, but for models and
    tiers under licences that the operator has not accepted.

    Raises what `named_models` raises, and CannotServe where none is left.
    """
    named = named_models(settings, card_gib=card_gib)
    kept = {name: model for name, model in named.items() if accepted(model.licence_id, settings)}
    left_out = [not_offered(model) for name, model in named.items() if name not in kept]
    if left_out:
        LOG.warning("%s", " ".join(left_out))
        kept = {name: replace(model, stands_in=False) for name, model in kept.items()}  # nobody answers for them
    if not kept:
        raise CannotServe(" ".join(left_out))
    return {name: replace(model, tiers=offered_tiers(model.tiers, settings)) for name, model in kept.items()}


def named_models(settings: Settings, *, card_gib: float) -> Mapping[str, Model]:
    """Return the models that the settings name, whatever their licences.

    By default these are the large ones where the largest card, of `card_gib` (0: there is none), can hold one, and the
    miniatures where it cannot. Raises StudioError ``unknown_model`` for a name that is not in the table and
    ``invalid_value`` for a model at two places, and CannotServe for an allow-list of LoRAs that cannot be used.
    """
    large = card_gib >= least_gib(MODELS["Qwen-Image"])
    wanted = settings.models or (_LARGE if large else _SMALL)
    models: dict[str, Model] = {}
    for entry in wanted:
        name, _, place = entry.partition("=")
        model = _placed(find_model(name.strip(), MODELS), place.strip())
        if models.setdefault(model.name, model) != model:
            raise refusal("STUDIO_MODELS", f"{model.name} is named twice, at two places; name it once")
    return offering(models, offered(settings.loras))


def offering(models: Mapping[str, Model], loras: Collection[Lora]) -> Mapping[str, Model]:
    """Return the models with the LoRAs that were made for each. Raises CannotServe for one that is for no model."""
    for lora, name in ((each, name) for each in loras for name in each.models):
        if not any(is_called(row, name) for row in MODELS.values()):
            message = f"LoRA {lora.name}: models: there is no '{name}'; there are: {', '.join(MODELS)}"
            raise CannotServe(f"STUDIO_LORAS: {message}")
    return {
        model.name: replace(
            model, loras={lora.name: lora for lora in loras if any(is_called(model, name) for name in lora.models)}
        )
        for model in models.values()
    }


def _placed(model: Model, place: str) -> Model:
    """Return the model as it lies at FOLDER, FILE or FILE:FOLDER; of a FILE only the transformer is taken."""
    if not (single := _SINGLE_FILE.fullmatch(place)):
        return replace(model, repository=place) if place else model
    return replace(model, file=single["file"], repository=single["folder"] or model.repository)
