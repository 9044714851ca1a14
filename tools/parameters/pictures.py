"""Parameters for input pictures: files of Dify, ids and URLs that the server reads itself, and boxes in pictures."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tools.parameters.tolerant import QUOTES, Tolerant, narrow, number, read_value

MAX_REFERENCE_CHARS = 4000
MAX_SIDE = 4096
BOX = ("x", "y", "width", "height")

_NEXT = r"""[,;](?:\s|https?://|img_|["']|$)"""
"""Pattern of the end of a URL in a list; URLs may hold commas themselves."""
_URL = rf"""(?i:https?)://(?:\([^\s()<>"`]*\)|\[[^\s\[\]<>"`]*\]|'(?=\w)|(?!{_NEXT})[^\s()<>\[\]"'`，、；。）」”])+"""
_ID = r"(?<![A-Za-z0-9])img(?:_|(?=\d))[A-Za-z0-9_]*[A-Za-z0-9]"
_OWN_ADDRESS = rf"(?:/v1/images/({_ID})(?:/content)?/?|/#/(?:edit|gallery)/({_ID})(?:\?\S*)?)$"
"""Pattern of a server's own addresses of an image, which are no pictures for whoever has no key: API and page."""
_LAST = (
    r"(?:the[ _])?(?:last|latest|previous|current|most[ _]recent)(?:[ _](?:one|image|picture|photo|result|id)){0,2}"
    r"(?: (?:of|in|from) (?:this|the) (?:conversation|chat))?|(?:上|前|最后|最近)一张(?:图片?|照片)?|(?:最後|前)の画像"
)
_TAKES = "takes the id of an image as an earlier answer named it (img_…), or a URL with http(s)://, or is left out"


def addresses(value: object) -> list[str]:
    """Return the URLs of one file or several, in order."""
    return [_address(file) for file in (value if isinstance(value, list) else [value])]


def one_address(value: object) -> str:
    """Return the URL of one file, which may come in a list. Raises ValueError where there are several."""
    found = addresses(value)
    if len(found) != 1:
        raise ValueError(f"takes one file; there are {len(found)}")
    return found[0]


def _address(file: object) -> str:
    """Return the URL of a file: an object of the SDK, a mapping as Dify sent it, or a plain URL."""
    url = file.get("url") if isinstance(file, Mapping) else getattr(file, "url", file)
    if not isinstance(url, str) or not url:
        raise ValueError("has an entry that is no file; choose files, or use image_id")
    return url


def references(value: object) -> list[str]:
    """Return the ids and URLs in one text or several, in order and each once, whatever words surround them.

    Words for the last image give no reference, since the server takes that image where none is named.
    """
    texts = value if isinstance(value, list) else [value]
    found = list(dict.fromkeys(found for text in texts for found in _referred(str(text))))
    # An answer names each image by its id and by a link that contains the id; both are one image.
    named = [one for one in found if re.fullmatch("img_[0-9a-f]{24}", one)]
    return [one for one in found if one in named or not any(name in one for name in named)]


def one_reference(text: str) -> str:
    """Return the only id or URL in a text; a text that is a URL is returned as it is, but of an image's own address at
    a server the id. Raises ValueError otherwise.
    """
    if re.fullmatch(r"(?i:https?)://\S+", plain := text.strip()) and len(plain) <= MAX_REFERENCE_CHARS:
        return _own_id(plain) or plain
    if means_last(plain):
        raise ValueError("knows no last image; it takes the id or URL of one")
    if len(found := references(text)) != 1:
        raise ValueError(f"names {len(found)} images; it takes the id or URL of one")
    return found[0]


def means_last(value: object) -> bool:
    """Return whether a text consists of words for the last image."""
    return isinstance(value, str) and re.fullmatch(_LAST, value.strip(f"{QUOTES}.<>[]"), re.IGNORECASE) is not None


def _referred(text: str) -> list[str]:
    plain = text.strip(f"{QUOTES}[](){{}}<>,;.")
    if plain.startswith("data:"):
        raise ValueError("takes ids or URLs of images, not the image itself")
    if found := [_reference(match) for match in re.findall(f"{_URL}|{_ID}", text)]:
        return found
    if not plain or means_last(plain):
        return []
    if re.search(r"/files/|^files/|^sandbox:|^attachment:", plain):
        raise ValueError(
            "takes no link of Dify's own, which leads nowhere outside of it; give the image_id (img_…) that the "
            "tool's answer named, a URL with http(s)://, or the file itself"
        )
    words = [word.strip(QUOTES) for word in re.split("[,，、；;]", plain)]
    # A plain word that is no id is better refused here than by the server.
    if not all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", word) for word in words) or re.search("[A-Za-z_]{3}", plain):
        raise ValueError(_TAKES)
    return words


def _reference(found: str) -> str:
    """Return an id, or a URL without a stop at its end; of an image's own address at a server, the id."""
    if len(found) > MAX_REFERENCE_CHARS:
        raise ValueError("takes ids or URLs of images, not the image itself")
    url = found.rstrip(".,;:!?*")
    return _own_id(url) or url


def _own_id(url: str) -> str:
    """Return the id of the image whose own address at a server a URL is; empty for any other URL."""
    own = re.search(_OWN_ADDRESS, url)
    return "" if own is None else own[1] or own[2]


Addresses = Annotated[list[str], BeforeValidator(addresses)]
"""URLs of Dify's files, to be downloaded by the plugin."""
Address = Annotated[str | None, BeforeValidator(one_address)]
References = Annotated[list[str], BeforeValidator(references)]
"""Ids or URLs of images, to be read by the server."""


class OneImage(Tolerant):
    """Parameters of a tool that takes at most one image, as a file in ``image`` or as ``image_id``."""

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
        """Return the part of the body that names the image; empty where the image is a file, or there is none."""
        return {"image": self.image_id[0]} if self.image_id else {}


class NamedImage(OneImage):
    """Parameters of a tool that also works without an image, so that none can mean the last one."""

    @field_validator("image_id", mode="before")
    @classmethod
    def _named_image(cls, value: object) -> object:
        if any(means_last(each) for each in (value if isinstance(value, list) else [value])):
            raise ValueError("takes the last image only by its id here; or change it with image_edit, which knows it")
        return value


def box(value: object) -> dict[str, float]:
    """Return the box in ``x,y,width,height`` or JSON, with English or Chinese punctuation; in pixels or fractions."""
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
    plain = narrow(text).translate(str.maketrans("“”、", '"",')).strip(QUOTES)
    try:
        return read_value(plain)
    except ValueError:
        return re.split(r"[,;\s]+", plain.strip("()[], ;"))


def _number(name: str, value: object) -> float:
    """Return a number of a box; a percentage becomes a fraction."""
    try:
        found = float(read) if isinstance(read := number(value), str | int | float) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{name} of the box is no number")
    return found
