"""Pictures encoded into files: the same picture and facts give the same bytes."""

import io

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from qwen_image_studio.contract.words import OutputFormat
from qwen_image_studio.imaging.origin import PNG_FACTS, PNG_XMP, PRODUCER, Origin, as_exif, as_text, as_xmp

THUMBNAIL_SIDE = 320
"""Longest side of a thumbnail in pixels."""
# A photograph of one megapixel takes 0.3 s and is a tenth smaller than at level 1 (0.2 s); level 9 gains nothing more.
_PNG_LEVEL = 4
QUALITY = 95
"""Quality of JPEG and WebP files unless another is asked for, 1 to 100."""


def encode(
    image: Image.Image,
    output_format: OutputFormat | str,
    facts: Origin,
    *,
    by_ai: bool = True,
    quality: int = QUALITY,
) -> bytes:
    """Encode an RGB picture with what made it (see `imaging.origin`) and, where `by_ai`, the labels of AI pictures.

    ``facts`` should be equal for equal pictures: nothing about the host, the owner or the time. PNG is lossless; JPEG
    is 4:4:4, so that coloured text keeps its edges; ``quality`` is that of JPEG and WebP, 1 to 100.
    """
    output_format = OutputFormat(output_format)
    plain = _plain(image)
    file = io.BytesIO()
    if output_format is OutputFormat.PNG:
        plain.save(file, "PNG", compress_level=_PNG_LEVEL, pnginfo=_png_text(facts, by_ai=by_ai))
    elif output_format is OutputFormat.JPEG:
        plain.save(file, "JPEG", quality=quality, subsampling="4:4:4", **_blocks(facts, by_ai))
    else:
        plain.save(file, "WEBP", quality=quality, **_blocks(facts, by_ai))
    return file.getvalue()


def thumbnail(image: Image.Image) -> bytes:
    """Encode a small copy of the picture as WebP, its long side at most 320 pixels."""
    small = _plain(image)
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=80)
    return file.getvalue()


def store_copy(image: Image.Image, painted_by: str = "") -> bytes:
    """Encode an uploaded picture as a lossless PNG, quickly, without the metadata that it came with.

    Only the name of a model that had painted it is kept, so that pictures made from it are still labelled as AI's.
    """
    file = io.BytesIO()
    notes = {"pnginfo": _png_text({"model": painted_by}, by_ai=False)} if painted_by else {}
    _plain(image).save(file, "PNG", compress_level=1, **notes)
    return file.getvalue()


def _plain(image: Image.Image) -> Image.Image:
    """Return an RGB copy without the notes in which Pillow carries metadata from one file into the next."""
    plain = image.convert("RGB")
    plain.info = {}
    return plain


def _blocks(facts: Origin, by_ai: bool) -> dict[str, bytes]:
    return {"exif": as_exif(facts)} | ({"xmp": as_xmp(facts).encode()} if by_ai else {})


def _png_text(facts: Origin, *, by_ai: bool) -> PngInfo:
    text = PngInfo()
    text.add_text("Software", PRODUCER)
    text.add_itxt(PNG_FACTS, as_text(facts))
    if by_ai:
        text.add_itxt(PNG_XMP, as_xmp(facts))
    return text
