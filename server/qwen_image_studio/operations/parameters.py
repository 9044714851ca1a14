"""Parameters that several operations have in common: the size of the result, and the images to start from."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from qwen_image_studio.contract.fields import RatioText, Reference, Side, SizeText
from qwen_image_studio.contract.references import ReferenceRole, ReferenceRoles
from qwen_image_studio.contract.words import MAX_INPUTS, MAX_SHAPE, Size


class Sized(BaseModel):
    """The size of the result, in one of three ways."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    width: Side | None = None
    """Pixels; goes together with height."""
    height: Side | None = None
    """Pixels; goes together with width."""
    size: SizeText | None = None
    """WIDTHxHEIGHT in pixels, or auto; instead of width and height."""

    @model_validator(mode="after")
    def _one_way_to_say_the_size(self) -> Self:
        if (self.width is None) != (self.height is None):
            message = "width and height go together; send both, or aspect_ratio"
            raise PydanticCustomError("size_half_said", message, {"param": "width"})
        if len(ways := self.ways_of_size()) > 1:
            message = f"send only one of {', '.join('width and height' if way == 'width' else way for way in ways)}"
            raise PydanticCustomError("size_said_twice", message, {"param": ways[0]})
        return self

    def ways_of_size(self) -> list[str]:
        """Return the names of the parameters that the caller set the size with."""
        ways = {
            "size": self.size not in {None, "auto"},
            "aspect_ratio": getattr(self, "aspect_ratio", None) is not None,
            "width": self.width is not None,
        }
        return [way for way, used in ways.items() if used]

    @property
    def asked_size(self) -> Size | None:
        """Width and height in pixels, or None where the caller named no size."""
        if self.width is not None and self.height is not None:
            return self.width, self.height
        if self.size not in {None, "auto"}:
            width, height = str(self.size).split("x")
            return int(width), int(height)
        return None


class Shaped(Sized):
    """The size of the result, also as a shape at the model's native size."""

    aspect_ratio: RatioText | None = None
    """Shape such as 16:9, painted at the model's native size of the nearest shape; instead of width and height."""

    @field_validator("aspect_ratio")
    @classmethod
    def _not_too_long(cls, value: str | None) -> str | None:
        if value is not None and max(sides := [int(side) for side in value.split(":")]) > MAX_SHAPE * min(sides):
            raise ValueError(f"takes shapes up to {MAX_SHAPE}:1")
        return value


class OneImage(BaseModel):
    """One image that the request starts from."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    image: Reference | None = None
    """Image id or URL; or send a file (multipart)."""

    @property
    def images(self) -> list[str]:
        """The id or URL as a list; empty where a file is sent or none."""
        return [] if self.image is None else [self.image]


def _how_many(value: object) -> str:
    return "several" if isinstance(value, list) else "one"


_OneOrSeveral = Annotated[
    Annotated[Reference, Tag("one")]
    | Annotated[list[Reference], Field(min_length=1, max_length=MAX_INPUTS), Tag("several")],
    Discriminator(_how_many),
]


class SeveralImages(BaseModel):
    """One or more images that the request starts from."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    image: _OneOrSeveral | None = None
    """Image ids or URLs, in the order in which the instruction numbers them; or send files (multipart)."""
    roles: ReferenceRoles = Field(default_factory=list)
    """What each image is to the painting, in their order: subject, style, control or background, with control:edges for
    a map of its edges; in a form or a table as a text such as subject, style. Left out: what the instruction says."""

    @property
    def told_roles(self) -> Sequence[ReferenceRole]:
        """The roles of the images."""
        return self.roles

    @property
    def images(self) -> list[str]:
        """The ids and URLs as a list; empty where files are sent."""
        return [self.image] if isinstance(self.image, str) else list(self.image or ())
