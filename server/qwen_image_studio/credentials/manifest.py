"""What is said of a picture, as a C2PA manifest: the action that made it, by which model, from which pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwen_image_studio import __version__
from qwen_image_studio.imaging.origin import PRODUCER, Origin

_SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
PAINTED = f"{_SOURCES}trainedAlgorithmicMedia"
PAINTED_OVER = f"{_SOURCES}compositeWithTrainedAlgorithmicMedia"
COMPOSED_OF_PAINTED = f"{_SOURCES}compositeSynthetic"
COMPOSED = f"{_SOURCES}composite"
"""IPTC's digital source types."""
FACTS = "qwen_image_studio"
"""Parameter of the action that has the facts that the file's own metadata has, too."""
_PARENT, _INPUT, _COMPONENT = "parentOf", "inputTo", "componentOf"


@dataclass(frozen=True)
class Ingredient:
    """A picture that another one was made from, as a file; what its own credentials say is kept."""

    data: bytes
    mime_type: str


@dataclass(frozen=True)
class Statement:
    """What is signed."""

    manifest: Mapping[str, Any]
    """As c2pa's builder takes it."""
    ingredients: Sequence[tuple[Mapping[str, Any], Ingredient]] = ()
    """Each with what is said of it."""


def made(facts: Origin, inputs: Sequence[Ingredient] = (), *, paints: bool, has_mask: bool = False) -> Statement:
    """Return the statement on one picture of a job, with its facts (`gallery.attempt.origin_of`, as far as they are
    kept): created from nothing, or edited from its first input, with the others given to the model as well.

    `paints` says whether a model worked now; an adjustment of an AI's picture still says what it was made by. With
    `has_mask` the last input is the mask that said where the picture may change.
    """
    by_ai = "model" in facts
    action: dict[str, Any] = {"parameters": {FACTS: {name: _plain(fact) for name, fact in facts.items()}}}
    if paints and by_ai:
        action["softwareAgent"] = {"name": str(facts["model"])}
    if not inputs:
        source = PAINTED if paints else _composed_type(by_ai=by_ai)
        return Statement(_manifest({"action": "c2pa.created", "digitalSourceType": source, **action}))
    if by_ai:
        action["digitalSourceType"] = PAINTED_OVER
    named = [(_ingredient(number), each) for number, each in enumerate(inputs)]
    if has_mask:
        named[-1][0]["title"] = "mask"
    if len(named) > 1:
        action["parameters"]["ingredientIds"] = [about["label"] for about, _ in named[1:]]
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [named[0][0]["label"]]}}
    return Statement(_manifest(opened, {"action": "c2pa.edited", **action}), named)


def composed(pictures: Sequence[Ingredient], *, by_ai: bool) -> Statement:
    """Return the statement on a picture that shows other pictures whole, such as a strip of before and after."""
    named = [(_ingredient(number, _COMPONENT), each) for number, each in enumerate(pictures)]
    placed = {"action": "c2pa.placed", "parameters": {"ingredientIds": [about["label"] for about, _ in named]}}
    created = {"action": "c2pa.created", "digitalSourceType": _composed_type(by_ai=by_ai)}
    return Statement(_manifest(created, *([placed] if named else [])), named)


def _plain(fact: str | int | float) -> str | int | float:
    """Return a fact as it can be signed; half a surrogate pair, which has no UTF-8, as the file's metadata has it."""
    return fact.encode("utf-8", "backslashreplace").decode() if isinstance(fact, str) else fact


def _composed_type(*, by_ai: bool) -> str:
    return COMPOSED_OF_PAINTED if by_ai else COMPOSED


def _ingredient(number: int, relationship: str | None = None) -> dict[str, str]:
    kind = relationship or (_INPUT if number else _PARENT)
    return {"title": f"image {number + 1}", "relationship": kind, "label": f"image-{number + 1}"}


def _manifest(*actions: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "claim_generator_info": [{"name": PRODUCER, "version": __version__}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": list(actions)}}],
    }
