"""What planning is given besides the request, and what comes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from qwen_image_studio.contract.caller import LOCAL, Caller
from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.words import Size
from qwen_image_studio.imaging.masks import Marked
from qwen_image_studio.models.table import Model
from qwen_image_studio.planning.plan import Plan


def no_styles(name: str) -> Direction:
    """Raise StudioError ``unknown_style``, since nobody keeps art directions here."""
    raise StudioError(
        "unknown_style", f"style: there is no server here that keeps '{name}'; send direction.", param="style"
    )


def no_campaigns(campaign: str) -> Mapping[str, Any]:
    """Raise StudioError ``invalid_value``, since nobody keeps campaigns here."""
    raise refusal("campaign", f"there is no server here that keeps '{campaign}'; leave it out, and say what to paint")


@dataclass(frozen=True)
class Given:
    """The input of planning besides the request: models, who asks, facts about the images, and the operator's files."""

    models: Mapping[str, Model]
    caller: Caller = LOCAL
    inputs: Sequence[Size] = ()
    """Sizes of the images that the request starts from, in pixels."""
    mask: Marked | None = None
    font: Path | None = None
    """The operator's font for watermarks."""
    templates: Path | None = None
    """The file of the operator's own templates."""
    blocked_terms: Path | None = None
    """The file of the operator's blocked terms."""
    is_foreseen: bool = False
    """Whether only errors are looked for, as for each row of a batch that is submitted; warnings may be left out."""
    direction_of: Callable[[str], Direction] = no_styles
    """Function that returns the art direction that the caller's owner has saved under a name."""
    store_input: Callable[[str], str] = str
    """Function that fetches and stores the image behind a URL and returns its id, for images that rows share."""
    campaign_of: Callable[[str], Mapping[str, Any]] = no_campaigns
    """Function that returns what a campaign of the caller's owner says of itself, by its id."""

    def followed(self, style: str | None, direction: Direction | None) -> Direction | None:
        """Return the art direction to follow: the saved one of a style, with what was sent of a direction before it.

        Raises StudioError ``unknown_style``.
        """
        if style is None:
            return direction
        saved = self.direction_of(style)
        return saved if direction is None else direction.over(saved)


class Planned(NamedTuple):
    """A plan, and the warnings for the caller."""

    plan: Plan
    warnings: list[str]
    conversation: str | None = None
    """The conversation to which the images belong, where the request itself names none."""
    references: Sequence[str] = ()
    """Ids and URLs of images that are needed only later, for the rows of a batch."""
    told_again: Callable[[Sequence[str]], dict[str, Any]] | None = None
    """Function that returns the parameters that ask for it again, by the ids of the stored inputs; None where what was
    sent and the plan tell them."""

    def warned(self, first: Sequence[str]) -> "Planned":
        """Return the same with other warnings before its own."""
        return self._replace(warnings=[*first, *self.warnings])
