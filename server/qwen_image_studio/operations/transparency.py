"""Transparent backgrounds: which models paint them, which files hold them, and what to do where one cannot."""

from collections.abc import Iterable, Mapping, Sequence

from pydantic_core import PydanticCustomError

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import OutputFormat, Way
from qwen_image_studio.models.licences import to_accept
from qwen_image_studio.models.table import MODELS, Model, models_for

NO_TRANSPARENT_FILE = "jpeg has no transparency; send png or webp for background=transparent, or leave background out"


def check_file(background: Background, output_format: OutputFormat | None) -> None:
    """Raise PydanticCustomError where a transparent picture is asked for in a file that has no transparency."""
    if background is Background.TRANSPARENT and output_format is OutputFormat.JPEG:
        raise PydanticCustomError("no_transparent_file", NO_TRANSPARENT_FILE, {"param": "output_format"})


def paints(model: Model, way: Way, background: Background) -> bool:
    """Return whether a model paints in that way, with that background."""
    return way in model.families and (background is not Background.TRANSPARENT or model.family(way).alpha)


def check_models(background: Background, named: str | None, ways: Sequence[Way], models: Mapping[str, Model]) -> None:
    """Raise StudioError where no model, or not the `named` one, paints that background in one of these ways."""
    offered = models_for(named, models)
    can = any(paints(model, way, background) for way in ways for model in offered)
    if background is Background.TRANSPARENT and not can:
        raise none_paints_clear(None if named is None else offered[0], ways, models)


def none_paints_clear(named: Model | None, ways: Sequence[Way], models: Mapping[str, Model]) -> StudioError:
    """Return the error for a transparent background that no model paints in one of these ways, or the `named` one does
    not. It tells which models can: of this server's, else of the table.
    """
    message = f"background: {why_opaque(named, ways, models)}, or send background=auto or opaque."
    return StudioError("unsupported_operation", message, param="background")


def why_opaque(named: Model | None, ways: Sequence[Way], models: Mapping[str, Model]) -> str:
    """Return who cannot paint a transparent background in these ways, and who could, as a clause."""
    who = "no model of this server paints" if named is None else f"{named.name} does not paint"
    cannot = f"{who} a transparent background in this operation"
    if here := _able(models.values(), ways):
        return f"{cannot}; name {' or '.join(here)} as model, which can, or leave model out"
    others = [_with_licence(MODELS[name]) for name in _able(MODELS.values(), ways) if name not in models]
    return f"{cannot}; the operator can add {' or '.join(others)} to STUDIO_MODELS" if others else cannot


def _able(models: Iterable[Model], ways: Sequence[Way]) -> list[str]:
    return [model.name for model in models if any(paints(model, way, Background.TRANSPARENT) for way in ways)]


def _with_licence(model: Model) -> str:
    return f"{model.name} ({to_accept(model.licence, model.licence_id)})" if model.licence_id else model.name
