"""The server that the clients call, pictures to send it, and what is asked of its answers."""

import base64
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Generic, TypeVar

from PIL import Image, ImageChops

URL, KEY = os.environ["SERVER_URL"], os.environ["API_KEY"]
V1 = f"{URL}/v1"
MODEL = f"{URL}/models/Qwen/Qwen-Image"
EDITOR = f"{URL}/models/Qwen/Qwen-Image-Edit-2509"
PAINTER, SPENT, WRONG = os.environ["PAINTER_KEY"], os.environ["SPENT_KEY"], "qis_nobody"
"""Keys of one that may not edit, one whose limit is reached, and nobody's."""
FOLDER = Path(os.environ["FOLDER"])
"""A folder of the client's own."""
PATH = FOLDER / "picture.png"
PICTURE, MASK = PATH.read_bytes(), (FOLDER / "mask.png").read_bytes()
"""A picture of one colour, 128 x 128 pixels, and a mask of its size whose left half is transparent."""
_Error = TypeVar("_Error", bound=Exception)


def seen(data: bytes | str | None, size: tuple[int, int] = (128, 128), kind: str = "PNG") -> Image.Image:
    """Return the picture in bytes or base64, after a look at its size and format."""
    assert data, "there is no picture"
    image = Image.open(BytesIO(base64.b64decode(data) if isinstance(data, str) else data))
    assert (image.format, image.size) == (kind, size), f"{image.format} of {image.size} came, not {kind} of {size}"
    return image.convert("RGB")


def opened(link: str | None, size: tuple[int, int] = (128, 128), kind: str = "PNG") -> Image.Image:
    """Return the picture behind a link, which needs no key."""
    assert link, "there is no link"
    with urllib.request.urlopen(link) as answer:
        return seen(answer.read(), size, kind)


def same(one: Image.Image, other: Image.Image) -> bool:
    """Return whether two pictures are equal, pixel by pixel."""
    return ImageChops.difference(one, other).getbbox() is None


def masked(image: Image.Image) -> None:
    """Look at an edit of ``PICTURE`` under ``MASK``: only the left half has changed."""
    before = seen(PICTURE)
    left, right = (0, 0, 64, 128), (64, 0, 128, 128)
    assert same(image.crop(right), before.crop(right)), "outside the mask something has changed"
    assert not same(image.crop(left), before.crop(left)), "under the mask nothing has changed"


class Refusal(Generic[_Error]):
    """What a client raised."""

    error: _Error


@contextmanager
def refused(kind: type[_Error], *words: str) -> Iterator[Refusal[_Error]]:
    """Expect that a client raises this error, and that all these words are in what its user reads."""
    refusal = Refusal[_Error]()
    try:
        yield refusal
    except kind as error:
        refusal.error = error
    else:
        raise AssertionError(f"{kind.__name__} was not raised")
    missing = [word for word in words if word not in str(refusal.error)]
    assert not missing, f"{missing} is not in: {refusal.error}"
