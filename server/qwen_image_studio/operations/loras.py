"""From the LoRAs that a request names to those of its plan: whether they are offered, to whom, and how strongly."""

from collections.abc import Iterable, Sequence

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.loras import LoraUse, LoraWish
from qwen_image_studio.models.loras import Lora, usable
from qwen_image_studio.models.table import Model
from qwen_image_studio.operations.given import Given


def chosen_loras(wishes: Sequence[LoraWish], model: Model, given: Given) -> tuple[LoraUse, ...]:
    """Return the LoRAs to paint with, under the operator's names and with the scales that were left out.

    Raises StudioError ``unknown_lora`` for one that is not there, not for this model, or not for the caller's key; and
    ``invalid_value`` for one that is named twice or a scale beyond its largest.
    """
    chosen: dict[str, LoraUse] = {}
    for number, wish in enumerate(wishes):
        lora = _found(wish.name, model, given)
        if lora.name in chosen:
            raise refusal(f"loras[{number}].name", f"'{lora.name}' is named twice; send it once, with its scale")
        scale = lora.scale if wish.scale is None else wish.scale
        if abs(scale) > lora.max_scale:
            problem = f"'{lora.name}' takes {-lora.max_scale:g} to {lora.max_scale:g}"
            raise refusal(f"loras[{number}].scale", f"{problem} (you sent {scale:g})")
        chosen[lora.name] = LoraUse(name=lora.name, scale=scale)
    return tuple(chosen.values())


def unsaid(loras: Iterable[LoraUse], model: Model, prompt: str) -> list[str]:
    """Return a warning for each LoRA that a prompt does not call for by any of its words."""
    warnings = []
    for use in loras:
        words = [word for each in model.loras[use.name].words.values() for word in each]
        if words and not any(word.casefold() in prompt.casefold() for word in words):
            warnings.append(f"LoRA {use.name} answers to {' or '.join(words)}; the prompt has none of these words.")
    return warnings


def foresee_loras(wishes: Sequence[LoraWish], models: Iterable[Model], given: Given) -> None:
    """Raise the same errors where no one of these models could paint with all that is named."""
    failures = []
    for model in models:
        try:
            chosen_loras(wishes, model, given)
        except StudioError as error:
            failures.append(error)
        else:
            return
    if failures:
        raise failures[0]


def _found(name: str, model: Model, given: Given) -> Lora:
    """Return the model's LoRA of that name, whatever its case."""
    for lora in usable(model.loras, given.caller).values():
        if lora.name.casefold() == name.casefold():
            return lora
    raise _unknown(name, model, given)


def _unknown(name: str, model: Model, given: Given) -> StudioError:
    others = [
        each.name
        for each in given.models.values()
        if name.casefold() in {known.casefold() for known in usable(each.loras, given.caller)}
    ]
    there = ", ".join(usable(model.loras, given.caller)) or "none for you here"
    problem = f"'{name}' is for {', '.join(others)}, not for {model.name}" if others else f"there is no '{name}'"
    return StudioError("unknown_lora", f"loras: {problem}; {model.name} has: {there}.", param="loras")
