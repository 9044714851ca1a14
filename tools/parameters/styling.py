"""The parameters of image_style: art directions that are saved at the server by name."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tools.campaigns import MAX_COLOUR_CHARS, MAX_COLOURS, MAX_STYLE_CHARS
from tools.parameters.painting import MAX_SEED, StyleName
from tools.parameters.pictures import one_reference
from tools.parameters.tolerant import Tolerant, lowered, unlisted, whole

StyleAction = Literal["list", "show", "save", "delete"]


def _colours(value: object) -> object:
    """Return colours from a list, which may come as JSON or as a text with commas between them."""
    value = unlisted(value)
    said = re.split(r"[,;\n，、；]", value) if isinstance(value, str) else value
    if not isinstance(said, list | tuple):
        return said
    colours = [name for colour in said if (name := str(colour).strip())]
    if len(colours) > MAX_COLOURS:
        raise ValueError(f"takes at most {MAX_COLOURS} colours; there are {len(colours)}")
    return colours


def _one_image(value: object) -> object:
    """Return the id or URL of one image. Raises ValueError for any other text."""
    return one_reference(value) if isinstance(value, str) else value


class StyleParameters(Tolerant):
    """Parameters of image_style."""

    FREE_TEXTS: ClassVar[frozenset[str]] = frozenset(("style", "style_words"))

    action: Annotated[StyleAction, BeforeValidator(lowered)] = "list"
    style: StyleName | None = None
    """The name."""
    style_words: str = Field("", max_length=MAX_STYLE_CHARS)
    palette: Annotated[
        list[Annotated[str, Field(max_length=MAX_COLOUR_CHARS)]],
        BeforeValidator(_colours),
    ] = Field([])
    negative_prompt: str = Field("", max_length=MAX_STYLE_CHARS)
    seed: Annotated[int | None, BeforeValidator(whole), Field(ge=0, le=MAX_SEED)] = None
    image_id: Annotated[str | None, BeforeValidator(_one_image)] = None
    """Id or URL of a picture of the product."""

    @model_validator(mode="after")
    def _a_name_and_something_to_save(self) -> Self:
        if self.action != "list" and self.style is None:
            raise ValueError("style is missing. Name the style, such as spring-2027.")
        if self.action == "save" and not self.direction():
            raise ValueError("Say how the style looks: style_words, palette, negative_prompt, seed or image_id.")
        return self

    @property
    def about(self) -> str:
        """The name of the style that the action is about; empty for a list."""
        return self.style or ""

    def direction(self) -> dict[str, Any]:
        """Return the art direction as it is sent to the server."""
        named = {"style": self.style_words, "palette": self.palette, "negative_prompt": self.negative_prompt}
        return {name: value for name, value in named.items() if value} | {
            name: value for name, value in (("seed", self.seed), ("reference", self.image_id)) if value is not None
        }
