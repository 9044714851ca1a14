"""Images from strangers: judged by their headers, decoded once, and brought into one form."""

import io
import struct
import warnings
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from PIL import Image
from PIL.ImageFile import ImageFile

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.imaging.bounds import check_bounds, frames
from qwen_image_studio.imaging.colour import in_srgb
from qwen_image_studio.imaging.formats import format_of, reader_of, too_large, unsupported

MIN_INPUT_SIDE = 8
"""Shortest side of an input image in pixels."""
MAX_INPUT_ASPECT = 20
"""Longest shape of an input image, as long side divided by short side."""

# Pillow raises any of these classes for bytes that it cannot decode; they were found by feeding it damaged files.
# UserWarning is among them because some processes turn warnings into errors.
BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, RuntimeError),
    *(AttributeError, struct.error, zlib.error, UserWarning),
)
_TOO_MUCH = (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning)

# Pillow's own limits are global for the process and mostly only warn. Ours are checked here, per call and before
# anything is decoded, so Pillow's readers are used without Image.open(), which is where it warns; a GIF's first frame
# is the exception. Its other warnings, mostly about broken EXIF, would let strangers write into our log.
# This is set once, on import: catch_warnings() is not safe with threads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_TAG_ORIENTATION = 0x0112
# How to turn a picture upright, by its EXIF orientation (Exif 3.0, tag 0112).
_UPRIGHT: Mapping[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Opened(NamedTuple):
    """A decoded file: its first frame, with the file itself for those who read its metadata."""

    image: Image.Image
    """Upright and in sRGB: RGBA where a pixel is not opaque, else RGB."""
    frames: int
    """Number of frames or pages in the file."""
    file: ImageFile


def open_image(data: bytes, *, max_bytes: int, max_pixels: int, param: str) -> Image.Image:
    """Decode the first frame of ``data``: upright, 8 bits, in sRGB, without metadata; RGBA where not opaque, else RGB.

    Sizes are checked in the header, before memory is taken for the pixels. ``param`` is the parameter that brought the
    bytes, such as ``image[1]``.

    Raises:
        StudioError: ``image_too_large`` for too many bytes or pixels, ``unsupported_image`` for anything else that
            cannot be used. No bytes raise another error.
    """
    return decode(data, max_bytes=max_bytes, max_pixels=max_pixels, param=param).image


def decode(data: bytes, *, max_bytes: int, max_pixels: int, param: str) -> Opened:
    """Do as `open_image`, and return the number of frames and the opened file as well."""
    if len(data) > max_bytes:
        raise too_large(param, f"{len(data) / 1e6:.1f} MB; at most {max_bytes / 1e6:g} MB are taken")
    name = format_of(data, param)
    reader = reader_of(name, param)
    check_bounds(data, name, param)
    try:
        opened = reader(io.BytesIO(data))
        _check_size(opened.size, max_pixels, param)
        count = getattr(opened, "n_frames", 1) if name in {"WebP", "AVIF", "HEIC"} else frames(data, name)
        opened.load()
        return Opened(_upright(in_srgb(opened, data, name, param), opened), count, opened)
    except _TOO_MUCH:
        raise too_large(param, f"too many pixels; at most {max_pixels / 1e6:g} megapixels are taken") from None
    except BROKEN:
        raise unsupported(
            param, f"is a {name} that cannot be decoded, perhaps damaged or cut off. Save it again."
        ) from None


def read_header(data: bytes) -> ImageFile | None:
    """Return the undecoded image with its metadata; None for bytes that :func:`open_image` does not take."""
    try:
        name = format_of(data, "image")
        check_bounds(data, name, "image")
        return reader_of(name, "image")(io.BytesIO(data))
    except (StudioError, *_TOO_MUCH, *BROKEN):
        return None


def _check_size(size: tuple[int, int], max_pixels: int, param: str) -> None:
    """Refuse a picture by its width and height in pixels."""
    width, height = size
    if width * height > max_pixels:
        taken = f"at most {max_pixels / 1e6:g} megapixels are taken"
        raise too_large(param, f"{width}x{height} pixels, {width * height / 1e6:.1f} megapixels; {taken}")
    if min(size) < MIN_INPUT_SIDE:
        raise unsupported(param, f"has {width}x{height} pixels; each side must have at least {MIN_INPUT_SIDE}.")
    if max(size) > MAX_INPUT_ASPECT * min(size):
        allowed = f"the long side may be at most {MAX_INPUT_ASPECT} times the short one"
        raise unsupported(param, f"has {width}x{height} pixels; {allowed}. Crop it.")


def _upright(image: Image.Image, opened: ImageFile) -> Image.Image:
    try:
        orientation = opened.getexif().get(_TAG_ORIENTATION)
    except BROKEN:  # a picture with broken EXIF is still a picture
        return image
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)
