"""Limits of an API key, and of each person of it."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from qwen_image_studio.contract.words import MAX_SIDE, MIN_SIDE, MIN_STEPS

Count = Annotated[int, Field(ge=0, le=1_000_000_000)] | None
"""A number that may be reached; None for any number."""


class Limits(BaseModel):
    """What may be used; what is None has no limit. Days and months are those of UTC."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    COUNTED: ClassVar[tuple[str, ...]] = ("requests_per_minute", "jobs_at_once", "images_per_day", "images_per_month")
    """What has to be counted, in the order in which it is looked at."""

    images_per_day: Count = None
    images_per_month: Count = None
    requests_per_minute: Count = None
    """Submits within 60 seconds; reads do not count."""
    jobs_at_once: Count = None
    """Jobs that have not ended; a batch is one."""
    max_pixels: Annotated[int, Field(ge=MIN_SIDE**2, le=MAX_SIDE**2)] | None = None
    """Largest picture that a model may be asked for, in pixels."""
    max_steps: Annotated[int, Field(ge=MIN_STEPS)] | None = None
    """Largest number of denoising steps."""

    @property
    def counts(self) -> bool:
        """Return whether anything is limited that has to be counted."""
        return any(getattr(self, name) is not None for name in self.COUNTED)

    def by_name(self) -> Mapping[str, int]:
        """Return the limits that there are, by name."""
        return self.model_dump(exclude_none=True)


class KeyLimits(BaseModel):
    """The limits of an API key as a whole, and of each person whom its requests name in `user`."""

    model_config = ConfigDict(frozen=True)

    key: Limits = Limits()
    person: Limits = Limits()

    @property
    def counts(self) -> bool:
        """Return whether anything is limited that has to be counted."""
        return self.key.counts or self.person.counts


NO_LIMITS = KeyLimits()
