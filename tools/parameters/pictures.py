"""Pictures that a tool starts from: files of Dify, ids and URLs that the server reads itself, and boxes in them."""

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from tools.parameters.tolerant import Tolerant

MAX_REFERENCE_CHARS = 4000
MAX_SIDE = 4096
BOX = ("x", "y", "width", "height")


def addresses(value: object) -> list[str]:
    """The URLs of one file or several, in order."""
    return [_address(file) for file in (value if isinstance(value, list) else [value])]


def one_address(value: object) -> str:
    """The URL of a file that may come in a list."""
    found = addresses(value)
    if len(found) != 1:
        raise ValueError(f"takes one file; there are {len(found)}")
    return found[0]


def _address(file: object) -> str:
    """The URL of a file as the SDK hands it over (an object), or as Dify sent it (a mapping), or a plain URL."""
    url = file.get("url") if isinstance(file, Mapping) else getattr(file, "url", file)
    if not isinstance(url, str) or not url:
        raise ValueError("has an entry that is no file; choose files, or use image_id")
    return url


def references(value: object) -> list[str]:
    """The ids and URLs of one string or several, in order."""
    return [found for text in (value if isinstance(value, list) else [value]) for found in _split(str(text))]


def _split(text: str) -> list[str]:
    """Several ids or URLs in one string. A URL may hold commas, so after one a comma only splits before the next."""
    parts = re.split(r"[\s，、；]+|,(?=\s|https?://|img_|$)", text)
    found = []
    for part in filter(None, parts):
        found += [part] if re.match("https?://", part) else list(filter(None, part.split(",")))
    for reference in found:
        _check_reference(reference)
    return found


def _check_reference(reference: str) -> None:
    if len(reference) > MAX_REFERENCE_CHARS:
        raise ValueError("takes ids or URLs of images, not the image itself")
    if not re.match("https?://", reference) and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", reference):
        raise ValueError("takes the id of an image of the server (the tool's answer names it) or a URL with http(s)://")


Addresses = Annotated[list[str], BeforeValidator(addresses)]
"""Where Dify's files are downloaded from."""
Address = Annotated[str | None, BeforeValidator(one_address)]
References = Annotated[list[str], BeforeValidator(references)]
"""Ids or URLs that the server reads itself."""


class OneImage(Tolerant):
    """One image, or none, as a file in ``image`` or as ``image_id``."""

    image: Addresses = Field([])
    image_id: References = Field([])

    @model_validator(mode="after")
    def _one_at_most(self) -> Self:
        if self.image and self.image_id:
            raise ValueError("Give either image or image_id, not both.")
        if (count := len(self.image or self.image_id)) > 1:
            raise ValueError(f"{'image' if self.image else 'image_id'} takes one image; there are {count}.")
        return self

    @property
    def has_image(self) -> bool:
        """Whether there is an image."""
        return bool(self.image or self.image_id)

    def input(self) -> dict[str, str]:
        """The part of the body that names the image; empty where a file is sent or none."""
        return {"image": self.image_id[0]} if self.image_id else {}


def box(value: object) -> dict[str, float]:
    """A box as ``x,y,width,height`` or as JSON, with the punctuation of either language; in pixels or fractions."""
    read = _numbers(value) if isinstance(value, str) else value
    if isinstance(read, list | tuple) and len(read) == len(BOX):
        read = dict(zip(BOX, read, strict=True))
    if not isinstance(read, Mapping) or set(read) != set(BOX):
        raise ValueError(
            "write x,y,width,height of the box in pixels, such as 100,80,300,200, or in fractions of the image, such "
            "as 0.5,0,0.5,1"
        )
    found = {name: _number(name, read[name]) for name in BOX}
    if min(found.values()) < 0 or max(found.values()) > MAX_SIDE or not found["width"] or not found["height"]:
        raise ValueError(f"the numbers must be 0 to {MAX_SIDE}, and width and height above 0")
    return found


def _numbers(text: str) -> Any:
    plain = unicodedata.normalize("NFKC", text).translate(str.maketrans("“”、", '"",')).strip()
    try:
        return json.loads(plain)
    except (ValueError, RecursionError):
        return re.split(r"[,;\s]+", plain.strip("()[], ;"))


def _number(name: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} of the box is no number")
    return number
