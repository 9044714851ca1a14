"""Art directions: what the pictures of a set have in common, whoever paints them and when."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from qwen_image_studio.contract.fields import AnySeed, Reference
from qwen_image_studio.contract.words import MAX_COLOURS, MAX_NAME_CHARS, MAX_SEED

MAX_STYLE_CHARS = 1000
"""Longest style words in characters."""


class Direction(BaseModel):
    """An art direction. Each field may be left out."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, str_strip_whitespace=True)

    style: str = Field("", max_length=MAX_STYLE_CHARS)
    """Words for how it looks: medium, light, mood, lettering; added to each prompt."""
    palette: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]], Field(max_length=MAX_COLOURS)
    ] = Field(default_factory=list)
    """Its colours, by name in any language or as #rrggbb; added to each prompt."""
    negative_prompt: str = Field("", max_length=MAX_STYLE_CHARS)
    """What to keep out, where a request does not say it itself."""
    seed: AnySeed | None = None
    """Seed where a request has none, so that the pictures of a set stay alike."""
    reference: Reference | None = None
    """Id or URL of a picture of the product."""

    @model_validator(mode="before")
    @classmethod
    def _an_object(cls, value: object) -> object:
        if not isinstance(value, Mapping | cls):
            raise ValueError('takes an object such as {"style": "watercolour"}')
        return value

    @field_validator("seed")
    @classmethod
    def _folded(cls, value: int | None) -> int | None:
        return value if value is None else value % (MAX_SEED + 1)

    def over(self, other: "Direction") -> "Direction":
        """Return the fields that were sent with this one, and the other's in place of those that were left out."""
        return other.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})
