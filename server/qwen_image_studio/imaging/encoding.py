"""Pictures encoded into files: the same picture and facts give the same bytes."""

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo

from qwen_image_studio.contract.words import OutputFormat
from qwen_image_studio.imaging.origin import PNG_FACTS, PNG_XMP, PRODUCER, Origin, as_exif, as_text, as_xmp
from qwen_image_studio.imaging.pixels import on_white

THUMBNAIL_SIDE = 320
"""Longest side of a thumbnail in pixels."""
# A photograph of one megapixel takes 0.3 s and is a tenth smaller than at level 1 (0.2 s); level 9 gains nothing more.
_PNG_LEVEL = 4
_PACKED_BYTES = 1 << 20  # of rows that are compressed at once
_UP = b"\2"
_VERY_LARGE = 3  # as a multiple of the thinned picture's side
QUALITY = 95
"""Quality of JPEG and WebP files unless another is asked for, 1 to 100."""


def encode(
    image: Image.Image,
    output_format: OutputFormat | str,
    facts: Origin,
    *,
    by_ai: bool = True,
    quality: int = QUALITY,
    producer: str = PRODUCER,
) -> bytes:
    """Encode an RGB or RGBA picture with what made it (see `imaging.origin`) and, where `by_ai`, the labels of AI
    pictures, which name their producer. JPEG has no transparency: there it is laid on white.

    ``facts`` should be equal for equal pictures: nothing about the host, the owner or the time. PNG is lossless; JPEG
    is 4:4:4, so that coloured text keeps its edges; ``quality`` is that of JPEG and WebP, 1 to 100.
    """
    output_format = OutputFormat(output_format)
    plain = _plain(on_white(image) if output_format is OutputFormat.JPEG else image)
    file = io.BytesIO()
    xmp = as_xmp(facts, producer) if by_ai else None
    if output_format is OutputFormat.PNG:
        plain.save(file, "PNG", compress_level=_PNG_LEVEL, pnginfo=_png_text(facts, xmp))
    elif output_format is OutputFormat.JPEG:
        plain.save(file, "JPEG", quality=quality, subsampling="4:4:4", **_blocks(facts, xmp))
    else:
        plain.save(file, "WEBP", quality=quality, **_blocks(facts, xmp))
    return file.getvalue()


def thumbnail(image: Image.Image) -> bytes:
    """Encode a small copy of the picture as WebP, its long side at most 320 pixels."""
    # A very large picture is thinned out first, to what still has four pixels for each of the copy's.
    thin = max(1, max(image.size) // (4 * THUMBNAIL_SIDE))
    size = (max(1, image.width // thin), max(1, image.height // thin))
    small = _plain(image if thin < _VERY_LARGE else image.resize(size, Image.Resampling.NEAREST))
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=80)
    return file.getvalue()


def store_copy(image: Image.Image, painted_by: str = "") -> bytes:
    """Encode an uploaded picture (L, RGB or RGBA) as a lossless PNG, quickly, without the metadata that it came with.

    Only the name of a model that had painted it is kept, so that pictures made from it are still labelled as AI's. One
    filter for all rows and no search for repetitions beyond the pixel before: a sixth of Pillow's time, and no larger.
    """
    plain = image if image.mode == "L" else _plain(image)
    channels = len(plain.getbands())
    colour = {1: 0, 3: 2, 4: 6}[channels]
    notes = _png_text({"model": painted_by}, None).chunks if painted_by else []
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", *plain.size, 8, colour, 0, 0, 0)),
            *(_chunk(name, content) for name, content, *_ in notes),
            *(_chunk(b"IDAT", part) for part in _packed(plain, channels)),
            _chunk(b"IEND", b""),
        )
    )


def _packed(plain: Image.Image, channels: int) -> Iterator[bytes]:
    """Yield the compressed rows of a PNG: each as its difference from the row above (filter type Up)."""
    above = Image.new(plain.mode, plain.size, 0)
    above.paste(plain, (0, 1))
    rows, length = ImageChops.subtract_modulo(plain, above).tobytes(), plain.width * channels
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    step = max(1, _PACKED_BYTES // length)
    for first in range(0, plain.height, step):
        lines = range(first, min(first + step, plain.height))
        if part := packer.compress(b"".join(_UP + rows[line * length : (line + 1) * length] for line in lines)):
            yield part
    yield packer.flush()


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content), name) + content + struct.pack(">I", zlib.crc32(name + content))


def _plain(image: Image.Image) -> Image.Image:
    """Return an RGB or RGBA copy without the notes in which Pillow carries metadata from one file into the next."""
    plain = image.convert("RGBA" if image.mode == "RGBA" else "RGB")
    plain.info = {}
    return plain


def _blocks(facts: Origin, xmp: str | None) -> dict[str, bytes]:
    return {"exif": as_exif(facts)} | ({} if xmp is None else {"xmp": xmp.encode()})


def _png_text(facts: Origin, xmp: str | None) -> PngInfo:
    text = PngInfo()
    text.add_text("Software", PRODUCER)
    text.add_itxt(PNG_FACTS, as_text(facts))
    if xmp is not None:
        text.add_itxt(PNG_XMP, xmp)
    return text
