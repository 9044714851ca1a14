"""The images of a job as they come within an answer: whole, or as copies small enough for clients with limits."""

from base64 import b64encode
from collections.abc import Sequence

from mcp_types import ImageContent
from PIL import Image

from qwen_image_studio.contract.mcp import Inline
from qwen_image_studio.contract.words import OutputFormat
from qwen_image_studio.imaging import encode, open_image, read_origin
from qwen_image_studio.jobs import StoredImage
from qwen_image_studio.web.routing import services

PREVIEW_BYTES = 700_000
"""Bytes of all images of an answer together whose base64 stays below 1 MB, with room for the rest of the answer."""
PREVIEW_SIDE = 1024
"""Longest side of a small copy in pixels."""
_QUALITY = 85
_MOST_PIXELS = 4_500_000
"""Largest picture that is opened here for a copy; of a larger one the thumbnail is sent."""


def contents_of(pictures: Sequence[StoredImage], inline: Inline) -> list[ImageContent]:
    """Return the images as contents of an answer. Raises StudioError where a file cannot be read."""
    if inline is Inline.NONE or not pictures:
        return []
    if inline is Inline.PREVIEW and sum(each.bytes for each in pictures) > PREVIEW_BYTES:
        return [_preview(each, PREVIEW_BYTES // len(pictures)) for each in pictures]
    return [_content(services().gallery.open(each.key), each.mime_type) for each in pictures]


def _content(data: bytes, mime_type: str) -> ImageContent:
    return ImageContent(data=b64encode(data).decode("ascii"), mime_type=mime_type)


def _preview(picture: StoredImage, most: int) -> ImageContent:
    if picture.bytes <= most:
        return _content(services().gallery.open(picture.key), picture.mime_type)
    webp = OutputFormat.WEBP.mime_type
    if picture.width * picture.height <= _MOST_PIXELS and len(copy := _smaller(picture)) <= most:
        return _content(copy, webp)
    return _content(services().gallery.open(picture.thumbnail_key), webp)


def _smaller(picture: StoredImage) -> bytes:
    """Return a small copy as WebP, with what its file says of how it was made."""
    data = services().gallery.open(picture.key)
    copy = open_image(data, max_bytes=len(data), max_pixels=_MOST_PIXELS, param="image")
    copy.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    origin = read_origin(data)
    producer = services().settings.label_producer
    return encode(copy, OutputFormat.WEBP, origin, by_ai="model" in origin, quality=_QUALITY, producer=producer)
