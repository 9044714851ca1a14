"""Images from strangers: judged by their headers, decoded once, and brought into one form."""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Mapping

from PIL import Image, ImageCms
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from qwen_image_studio.contract.errors import StudioError

MIN_INPUT_SIDE = 8
"""Shortest side of an input image in pixels."""
MAX_INPUT_ASPECT = 20
"""Longest shape of an input image, as long side divided by short side."""
MAX_JPEG_SCANS = 100  # cameras and editors write about ten; each scan costs a pass over the whole picture
MAX_PROFILE_BYTES = 4_000_000
_TAKEN = "Send a PNG, JPEG, WebP, GIF or BMP picture."

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

_READERS: tuple[tuple[re.Pattern[bytes], type[ImageFile]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    (re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
    (re.compile(rb"GIF8[79]a"), GifImageFile),
    (re.compile(rb"BM"), BmpImageFile),
)
# Formats that are refused by name, because people do send them.
_OTHERS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"....ftyp(hei|hev|mif|msf)", re.DOTALL), "an HEIC picture"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "an AVIF picture"),
    (re.compile(rb"II\*\0|MM\0\*"), "a TIFF picture"),
    (re.compile(rb"%PDF"), "a PDF document"),
    (re.compile(rb"\s*(<\?xml[^>]*>\s*)?<svg", re.IGNORECASE), "an SVG drawing"),
    (re.compile(rb"\s*<"), "a web page"),
)

# ITU-T T.81 B.1.1: within the coded data FF is followed by 00 or a restart marker, so the next other marker ends it.
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

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


def open_image(data: bytes, *, max_bytes: int, max_pixels: int, param: str) -> Image.Image:
    """Decode the first frame of ``data`` into an upright 8-bit RGB picture in sRGB, on white, without metadata.

    Sizes are checked in the header, before memory is taken for the pixels. ``param`` is the parameter that brought the
    bytes, such as ``image[1]``.

    Raises:
        StudioError: ``image_too_large`` for too many bytes or pixels, ``unsupported_image`` for anything else that
            cannot be used. No bytes raise another error.
    """
    if len(data) > max_bytes:
        raise _too_large(param, f"{len(data) / 1e6:.1f} MB; at most {max_bytes / 1e6:g} MB are taken")
    reader = _reader(data, param)
    try:
        opened = reader(io.BytesIO(data))
        _check_size(opened.size, max_pixels, param)
        _check_scans(opened, data, param)
        opened.load()
        return _upright(_in_rgb(opened), opened)
    except _TOO_MUCH:
        raise _too_large(param, f"too many pixels; at most {max_pixels / 1e6:g} megapixels are taken") from None
    except BROKEN:
        raise _unsupported(
            param, f"is a {reader.format} that cannot be decoded, perhaps damaged or cut off. Save it again."
        ) from None


def read_header(data: bytes) -> ImageFile | None:
    """Return the undecoded image with its metadata; None for bytes that :func:`open_image` does not take."""
    try:
        return _reader(data, "image")(io.BytesIO(data))
    except (StudioError, *_TOO_MUCH, *BROKEN):
        return None


def _reader(data: bytes, param: str) -> type[ImageFile]:
    for signature, reader in _READERS:
        if signature.match(data):
            return reader
    if not data:
        raise _unsupported(param, f"is empty. {_TAKEN}")
    for signature, name in _OTHERS:
        if signature.match(data):
            raise _unsupported(param, f"is {name}, which is not taken. {_TAKEN}")
    raise _unsupported(param, f"is not a picture in a known format. {_TAKEN}")


def _check_size(size: tuple[int, int], max_pixels: int, param: str) -> None:
    """Refuse a picture by its width and height in pixels."""
    width, height = size
    if width * height > max_pixels:
        taken = f"at most {max_pixels / 1e6:g} megapixels are taken"
        raise _too_large(param, f"{width}x{height} pixels, {width * height / 1e6:.1f} megapixels; {taken}")
    if min(size) < MIN_INPUT_SIDE:
        raise _unsupported(param, f"has {width}x{height} pixels; each side must have at least {MIN_INPUT_SIDE}.")
    if max(size) > MAX_INPUT_ASPECT * min(size):
        allowed = f"the long side may be at most {MAX_INPUT_ASPECT} times the short one"
        raise _unsupported(param, f"has {width}x{height} pixels; {allowed}. Crop it.")


def _check_scans(opened: ImageFile, data: bytes, param: str) -> None:
    """Refuse a JPEG with more than 100 scans: a small file of them can keep a processor busy for minutes."""
    if opened.format != "JPEG":
        return
    position = scans = 0
    while scans <= MAX_JPEG_SCANS and (marker := _JPEG_MARKER.search(data, position)):
        code = data[marker.end() - 1]
        if code == 0xD9:
            return
        scans += code == 0xDA
        length = 0 if code in {0x01, 0xD8} else int.from_bytes(data[marker.end() : marker.end() + 2])
        position = marker.end() + length
    if scans > MAX_JPEG_SCANS:
        raise _unsupported(param, f"is a JPEG of more than {MAX_JPEG_SCANS} scans. Save it again as a plain JPEG.")


def _in_rgb(opened: ImageFile) -> Image.Image:
    """Bring a picture of any mode to RGB: 16 bits scaled to 8, colours in sRGB, transparency laid on white."""
    image = in_eight_bits(opened)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if image.mode in {"P", "PA", "RGBA"}:
        image = image.convert("RGB")
    if profile := opened.info.get("icc_profile"):
        image = _in_srgb(image, profile)
    image = image.convert("RGB")
    image.info = {}
    if alpha is not None:
        image.paste("white", mask=alpha.point(lambda value: 255 - value))
    return image


def in_eight_bits(image: Image.Image) -> Image.Image:
    """Return the picture with 8 bits a channel; 16 bits are scaled."""
    if not image.mode.startswith(("I", "F")):
        return image
    # Pillow's own conversion clips at 255. The values of a 16-bit file run to 65535 = 255 * 257.
    grey = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    grey.info = {}
    return grey


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert from the embedded ICC profile (ISO 15076-1); one that is broken or of another colour space is ignored."""
    if len(profile) > MAX_PROFILE_BYTES:
        return image
    spaces = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        described = ImageCms.getProfileDescription(source)
        # sRGB to sRGB would only add rounding errors; without it, what an edit leaves alone stays as it was.
        if spaces.get(source.profile.xcolor_space) != image.mode or "sRGB" in described:
            return image
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, *BROKEN):
        return image
    return image if converted is None else converted


def _upright(image: Image.Image, opened: ImageFile) -> Image.Image:
    try:
        orientation = opened.getexif().get(_TAG_ORIENTATION)
    except BROKEN:  # a picture with broken EXIF is still a picture
        return image
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _too_large(param: str, what: str) -> StudioError:
    return StudioError("image_too_large", f"'{param}' has {what}. Send a smaller picture.", param=param)


def _unsupported(param: str, what: str) -> StudioError:
    return StudioError("unsupported_image", f"'{param}' {what}", param=param)
