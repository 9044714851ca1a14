"""What planning is given besides the request, and what comes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from qwen_image_studio.contract.caller import LOCAL, Caller
from qwen_image_studio.contract.words import Size
from qwen_image_studio.imaging.masks import Marked
from qwen_image_studio.models.table import Model
from qwen_image_studio.planning.plan import Plan


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
    store_input: Callable[[str], str] = str
    """Function that fetches and stores the image behind a URL and returns its id, for images that rows share."""


class Planned(NamedTuple):
    """A plan, and the warnings for the caller."""

    plan: Plan
    warnings: list[str]
    conversation: str | None = None
    """The conversation to which the images belong, where the request itself names none."""
    references: Sequence[str] = ()
    """Ids and URLs of images that are needed only later, for the rows of a batch."""

    def warned(self, first: Sequence[str]) -> "Planned":
        """Return the same with other warnings before its own."""
        return self._replace(warnings=[*first, *self.warnings])
