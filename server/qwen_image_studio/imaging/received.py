"""Images as they are taken in: decoded once, and at once in the form in which they are stored.

What is done here with the bytes of strangers may run in another process (`imaging.decoding`): in and out go only bytes
and plain values.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from PIL import Image

from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.words import Size
from qwen_image_studio.imaging.alpha_mask import white_mask
from qwen_image_studio.imaging.documents import document
from qwen_image_studio.imaging.encoding import store_copy, thumbnail
from qwen_image_studio.imaging.masks import Marked, Mask, open_mask, region_mask
from qwen_image_studio.imaging.opening import decode
from qwen_image_studio.imaging.origin import Origin, origin_in
from qwen_image_studio.imaging.pixels import digest

_MAX_MODEL_NAME = 200
_STORE_OF_MANIFESTS = b"jumdc2pa"
"""How a store of C2PA manifests begins, in whatever kind of file (ISO 19566-5, C2PA 11.1.4)."""


@dataclass(frozen=True)
class Received:
    """An image as it will be stored."""

    size: Size
    png: bytes
    """The image as `store_copy` writes it."""
    thumbnail: bytes
    origin: Origin = field(default_factory=dict)
    """The metadata of the file on how it was made."""
    frames: int = 1
    """Number of frames or pages in the file, of which the first was taken."""
    pixels: str = ""
    """SHA-256 of the pixels (`imaging.pixels.digest`)."""
    has_credentials: bool = False
    """Whether the file came with content credentials (C2PA), which end here: what is stored is another file."""

    def image(self) -> Image.Image:
        """Return the pixels, RGB or RGBA; a mask is in L."""
        opened = Image.open(io.BytesIO(self.png), formats=["PNG"])
        opened.load()
        opened.info = {}
        return opened


def stored_form(
    image: Image.Image, origin: Origin | None = None, frames: int = 1, *, has_credentials: bool = False
) -> Received:
    """Return an opened image (L, RGB or RGBA) as it will be stored."""
    origin = origin or {}
    png = store_copy(image, str(origin.get("model", ""))[:_MAX_MODEL_NAME])
    return Received(image.size, png, thumbnail(image), origin, frames, digest(image), has_credentials)


# -- work on the bytes of strangers --------------------------------------------------------------------------------

Blobs = Sequence[bytes]
Done = tuple[dict[str, Any], Blobs]
"""Plain values, and blobs."""


def _picture(blobs: Blobs, param: str, max_bytes: int, max_pixels: int) -> Done:
    opened = decode(blobs[0], param=param, max_bytes=max_bytes, max_pixels=max_pixels)
    signed = _STORE_OF_MANIFESTS in blobs[0]
    return _told(stored_form(opened.image, origin_in(opened.file), opened.frames, has_credentials=signed))


def _mask(blobs: Blobs, size: Sequence[int], max_bytes: int, max_pixels: int) -> Done:
    return _told_mask(open_mask(blobs[0], (size[0], size[1]), max_bytes=max_bytes, max_pixels=max_pixels))


def _region(_blobs: Blobs, size: Sequence[int], region: dict[str, float], **_limits: int) -> Done:
    return _told_mask(region_mask(Region.model_validate(region), (size[0], size[1])))


def _white(blobs: Blobs, max_bytes: int, max_pixels: int) -> Done:
    first = blobs[1] if len(blobs) > 1 else None
    return {}, [white_mask(blobs[0], first, max_bytes=max_bytes, max_pixels=max_pixels)]


def _document(blobs: Blobs, kind: str, producer: str, **_limits: int) -> Done:
    return {}, [document(kind, blobs, producer)]


WORK: Mapping[str, Callable[..., Done]] = {
    "picture": _picture,
    "mask": _mask,
    "region": _region,
    "white": _white,
    "document": _document,
}
"""Everything that a decoder does, by name; each raises StudioError as the function that it is made of."""


def _told_mask(mask: Mask) -> Done:
    told, blobs = _told(stored_form(mask.image))
    marked = {"box": mask.box, "share": mask.share, "warnings": mask.warnings}
    return {**told, "marked": marked}, blobs


def _told(received: Received) -> Done:
    told = {name: value for name, value in asdict(received).items() if name not in {"png", "thumbnail"}}
    return told, [received.png, received.thumbnail]


def heard(told: Mapping[str, Any], blobs: Blobs) -> Received:
    """Return the image that another process has told of."""
    width, height = told["size"]
    return Received(
        (width, height), blobs[0], blobs[1], told["origin"], told["frames"], told["pixels"], told["has_credentials"]
    )


def heard_mask(told: Mapping[str, Any]) -> Marked:
    """Return what a mask marks, as another process has told."""
    left, top, right, bottom = told["marked"]["box"]
    return Marked((left, top, right, bottom), told["marked"]["share"], tuple(told["marked"]["warnings"]))
