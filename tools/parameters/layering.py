"""The parameters of image_layers: a picture that is taken apart."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tools.parameters.painting import MAX_PROMPT_CHARS, Modelled
from tools.parameters.pictures import OneImage
from tools.parameters.tolerant import lowered, narrow, whole

MIN_LAYERS, MAX_LAYERS = 2, 8

Resolution = Literal["auto", "640", "1024"]
Format = Literal["zip", "psd", "pptx", "pictures"]

_MOST = 40  # characters of a resolution: of a long text of blanks the pattern would try every part
_FORMATS: Mapping[object, Format] = {
    **dict.fromkeys(("photoshop", "adobe photoshop"), "psd"),
    **dict.fromkeys(("powerpoint", "power point", "ppt", "slides", "幻灯片"), "pptx"),
    **dict.fromkeys(("archive", "压缩包"), "zip"),
    **dict.fromkeys(("none", "png", "images", "图片", "仅图片"), "pictures"),
}
"""Formats by the names that the form gives them, and by similar words."""


def named_format(value: object) -> object:
    """Return a format of an archive by its name, in whichever case or word it came, or with the dot of a suffix."""
    word = lowered(value)
    word = word.lstrip(".") if isinstance(word, str) else word
    return _FORMATS.get(word, word)


def named_resolution(value: object) -> object:
    """Return a resolution as a text, whether it came as a number, with its unit, or as a square."""
    plain = whole(value)
    text = narrow(plain).lower() if isinstance(plain, str) else str(plain)
    square = len(text) <= _MOST and re.fullmatch(r"(\d+)\s*(?:px)?(?:\s*[x×*]\s*\1\s*(?:px)?)?", text)
    return square[1] if square else text


LayerCount = Annotated[int | None, BeforeValidator(whole), Field(ge=MIN_LAYERS, le=MAX_LAYERS)]
Resolved = Annotated[Resolution, BeforeValidator(named_resolution)]
Archived = Annotated[Format, BeforeValidator(named_format)]
"""The file in which all layers are given besides; ``pictures`` for none."""


def said_layers(layers: int | None, resolution: Resolution) -> dict[str, Any]:
    """Return the part of the body that says both; without what is left to the server."""
    far = {} if resolution == "auto" else {"resolution": int(resolution)}
    return far if layers is None else {"layers": layers, **far}


class LayersParameters(OneImage, Modelled):
    """Parameters of image_layers; without an image, the last one of the conversation is taken."""

    prompt: str = Field("", max_length=MAX_PROMPT_CHARS)
    """What the picture shows, which helps to tell its parts; the model sees for itself without."""
    layers: LayerCount = None
    resolution: Resolved = "auto"
    format: Archived = "zip"

    def body(self) -> dict[str, Any]:
        """Return the body of ``POST /v1/jobs``; without ``image`` where a file is sent along."""
        return {"operation": "layers", **super().body(), **said_layers(self.layers, self.resolution), **self.input()}
