"""From the parameters of Hugging Face's clients to a job: their names, and which operation is meant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Operation, Way
from qwen_image_studio.models.table import MODELS, Model, find_model
from qwen_image_studio.operations.request import OPERATIONS, Request, validated
from qwen_image_studio.web.names import understood

_WHERE = "request of Hugging Face's inference API"
_OWN = frozenset({"operation", "model", "image", "mask", "n"})
"""Parameters of a job that the body's pictures, or the path, decide."""
_NUMBERS = ("n", "num_images_per_prompt", "num_images")
"""Names for how many pictures are wanted."""
_NAME_CHARS = 60
"""Letters of a model's name that an error quotes."""


@dataclass
class Wanted:
    """What is asked for in the client's own terms."""

    params: dict[str, Any]
    """The parameters as they were sent, without pictures."""
    references: Sequence[str] = ()
    """Ids and URLs of pictures."""
    pictures: int = 0
    """Number of pictures that came as bytes."""
    has_mask: bool = False
    mask: str | None = None
    """Id or URL of a mask."""
    output_format: str | None = None
    """Format by the Accept header."""
    use_cache: bool = True
    warnings: list[str] = field(default_factory=list)
    """Warnings about how it was read; reading the request adds to them."""


def model_at(name: str, models: Mapping[str, Model]) -> Model:
    """Return the model that a path names. Raises StudioError ``not_found``, which tells which ones there are."""
    try:
        return find_model(name, models)
    except StudioError:
        there = ", ".join(f"/models/{model.name}" for model in models.values())
        message = f"There is no model '{name[:_NAME_CHARS]}' on this server; it has: {there}."
        raise StudioError("not_found", message) from None


def ways_of(name: str, model: Model) -> frozenset[Way]:
    """Return the ways in which the model of that name paints, also where the miniature stands in for it."""
    try:
        return frozenset(find_model(name, MODELS).families)
    except StudioError:
        return frozenset(model.families)


def job_request(asked: Wanted, model_name: str, ways: frozenset[Way]) -> Request:
    """Return the job that is asked of a model. Raises StudioError that names the parameter as it was sent."""
    params = {name: value for name, value in asked.params.items() if name not in {"model", *_NUMBERS}}
    if "instruction" in params:
        params.setdefault("prompt", params.pop("instruction"))
    marked = asked.has_mask or asked.mask is not None or params.get("region") is not None
    has_picture = bool(asked.pictures or asked.references)
    edits = marked or ways == {Way.EDIT} or (has_picture and Way.EDIT in ways)
    operation = Operation.INPAINT if marked else Operation.EDIT if edits else Operation.GENERATE
    fields = OPERATIONS[operation].model_fields
    found = understood(params, fields.keys() - (_OWN if has_picture else _OWN | {"strength"}))
    asked.warnings += [*found.warnings, *_limited(asked.params, found.params)]
    if not has_picture and "prompt" not in found.params:
        found.sent_as["prompt"] = "inputs"  # that is where it is missing
    if asked.references:
        found.params["image"] = list(asked.references) if edits else asked.references[0]
    if asked.mask is not None:
        found.params["mask"] = asked.mask
    if has_picture and not edits:
        asked.warnings.append(f"{model_name} paints in a picture's likeness; models that edit follow an instruction.")
    if asked.output_format is not None:
        found.params.setdefault("output_format", asked.output_format)
    if not asked.use_cache:
        found.params.setdefault("cache", False)
    try:
        return validated({**found.params, "operation": operation.value, "model": model_name}, _WHERE)
    except StudioError as error:
        raise found.named_as_sent(error) from error


def _limited(sent: Mapping[str, Any], params: dict[str, Any]) -> list[str]:
    """Bring the parameters within what can be answered and painted here, and return a warning for each that was not."""
    warnings = []
    if any(str(sent.get(name) or 1) != "1" for name in _NUMBERS):
        warnings.append("One picture was painted: the answer is its bytes. /v1/images/generations gives several.")
    scale = params.get("guidance_scale")
    if isinstance(scale, int | float) and 0 <= scale < 1:
        params["guidance_scale"] = 1
        warnings.append(f"guidance_scale {scale:g} was taken as 1, which is off.")
    return warnings
