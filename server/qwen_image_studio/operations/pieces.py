"""The rows of a campaign: which model paints the pieces, in which way, and at which size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.campaign import SHAPES, Piece
from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import Channel, Prefer, Size, Tier, Way
from qwen_image_studio.models.table import Model, models_for
from qwen_image_studio.operations.given import Given
from qwen_image_studio.operations.transparency import none_paints_clear, paints
from qwen_image_studio.planning.sizes import like_input
from qwen_image_studio.prompts.cleaning import cleaned, told
from qwen_image_studio.prompts.pieces import written
from qwen_image_studio.prompts.table import Row

OF_PIECE = ("headline", "subline", "prompt")
"""Texts of a piece."""
_NO_EDIT = (
    "{} does not edit, so the product's picture is where each painting starts, and shines through it; a model that "
    "edits places the product itself."
)


@dataclass(frozen=True)
class Painter:
    """The model that paints the pieces, and the way and tier in which it does."""

    model: Model
    way: Way
    tier: Tier
    warnings: Sequence[str] = ()

    @property
    def job(self) -> dict[str, Any]:
        """Return the job of all rows, with the columns that `row_of` fills."""
        job: dict[str, Any] = {"operation": self.way.value, "prompt": "{{prompt}}", "size": "{{size}}"}
        return job | {"prefer": Prefer.MODEL.value} if self.way is Way.EDIT else job


def clean_piece(number: int, piece: Piece, warnings: list[str]) -> Piece:
    """Return the `number`-th piece with its texts cleaned, and add to the warnings. Raises StudioError for one without
    a headline.
    """
    found = {name: cleaned(getattr(piece, name)) for name in OF_PIECE}
    if not found["headline"].text:
        raise refusal(f"pieces[{number}].headline", "nothing of it is left without special tokens; send another")
    warnings += told(found.values())
    return piece.model_copy(update={name: one.text for name, one in found.items()})


def told_piece(piece: Piece) -> dict[str, Any]:
    """Return a piece as it is told, without what it has not."""
    return {name: value for name, value in piece.model_dump(mode="json").items() if value}


def painter_of(asked: str | None, tier: Tier, background: Background, given: Given) -> Painter:
    """Return who paints: with a picture of the product a model that edits, where there is one, and one that paints
    transparency where that is asked for.

    Raises StudioError ``unknown_model``, ``unsupported_operation``.
    """
    models = models_for(asked, given.models)
    ways = (Way.EDIT, Way.GENERATE) if given.inputs else (Way.GENERATE,)
    for way in ways:
        for model in models:
            if paints(model, way, background):
                starts = [_NO_EDIT.format(model.name)] if given.inputs and way is Way.GENERATE else []
                return Painter(model, way, tier, starts)
    if any(way in model.families for way in ways for model in models):
        raise none_paints_clear(None if asked is None else models[0], ways, given.models)
    if asked is None:
        remedy = "the operator can add one to STUDIO_MODELS"
        message = f"operation: no model of this server paints from a description; {remedy}."
        raise StudioError("unsupported_operation", message, param="operation")
    remedy = "send a picture of the product as image, or leave model out"
    message = f"model: {models[0].name} does not paint from a description; {remedy}."
    raise StudioError("unsupported_operation", message, param="model")


def row_of(number: int, piece: Piece, direction: Direction, painter: Painter, given: Given) -> Row:
    """Return the row of a piece, which is the `number`-th from 0."""
    width, height = size_of(piece.channel, painter, given.caller)
    row: Row = {
        "piece": number + 1,
        "channel": piece.channel.value,
        "language": piece.language.value,
        "headline": piece.headline,
        "subline": piece.subline,
        "size": f"{width}x{height}",
        "prompt": written(piece, direction, has_product=painter.way is Way.EDIT),
    }
    return row | {"negative_prompt": direction.negative_prompt} if direction.negative_prompt else row


def size_of(channel: Channel, painter: Painter, caller: Caller) -> Size:
    """Return the size of a channel's pictures: the model's own for that shape, else one of its area; smaller where the
    tier or the caller's key is for less. Raises StudioError ``invalid_value`` for a tier that the model lacks.
    """
    model, limits = painter.model, painter.model.limits_at(painter.tier)
    width, height = SHAPES[channel]
    sizes: Mapping[str, Size] = {ratio.value: size for ratio, size in model.sizes.items()}
    own = sizes.get(f"{width}:{height}") or like_input((width, height), model.limits)
    allowed = [each.max_pixels for each in (caller.limits.key, caller.limits.person) if each.max_pixels is not None]
    most = min([limits.largest, *allowed])
    return own if prod(own) <= most else like_input((width, height), replace(limits, most_pixels=most))
