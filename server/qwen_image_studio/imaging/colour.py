"""Colours and transparency of an opened file, brought into one form as browsers do it: 8 bits, sRGB, and alpha."""

import io
import re
from itertools import product

from PIL import Image, ImageChops, ImageCms
from PIL.ImageFile import ImageFile

from qwen_image_studio.imaging.bounds import png_chunks
from qwen_image_studio.imaging.formats import reader_of, unsupported
from qwen_image_studio.imaging.profiles import from_code_points, from_gamma

MAX_PROFILE_BYTES = 4_000_000
SAME = 1
"""Largest move of a colour, in levels of 255, at which a conversion is left out: it would only add rounding."""
_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_GREY = {"1", "L", "LA", "La", "I;16"}
_NCLX = re.compile(rb"colrnclx(....)", re.DOTALL)
_HEADERS = 65536

BROKEN_PROFILE = (ImageCms.PyCMSError, OSError, ValueError, TypeError, RuntimeError)


def in_srgb(opened: ImageFile, data: bytes, name: str, param: str) -> Image.Image:
    """Return a loaded file of any mode in 8 bits and sRGB: RGBA where a pixel is not opaque, else RGB.

    Raises StudioError ``unsupported_image`` for 32 bits a channel.
    """
    if opened.mode in {"I", "F"}:
        raise unsupported(param, f"is a {name} with 32 bits a channel. Save it with 8 or 16.")
    alpha = _alpha(opened, data, name, param)
    plain = in_eight_bits(opened)
    if plain.mode in _GREY:
        plain = plain.convert("L")
    elif plain.mode != "CMYK":
        plain = (plain.convert("RGBA") if plain.has_transparency_data else plain).convert("RGB")
    profile = _profile(opened, data, name)
    converted = plain if profile is None else _converted(plain, profile)
    image = converted.convert("RGB")
    image.info = {}
    if alpha is not None and alpha.getextrema() != (255, 255):
        image.putalpha(alpha)
    return image


def in_eight_bits(image: Image.Image) -> Image.Image:
    """Return the picture with 8 bits a channel; 16 bits are scaled."""
    if not image.mode.startswith(("I", "F")):
        return image
    # Pillow's own conversion clips at 255. The values of a 16-bit file run to 65535 = 255 * 257.
    grey = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    grey.info = {}
    return grey


# -- alpha ---------------------------------------------------------------------------------------------------------


def _alpha(opened: ImageFile, data: bytes, name: str, param: str) -> Image.Image | None:
    """Return the alpha channel in mode L; None where there is none."""
    if not opened.has_transparency_data:
        return None
    key = opened.info.get("transparency")
    if opened.mode == "I;16" and isinstance(key, int):
        low, high = (Image.frombytes("L", opened.size, opened.tobytes()[byte::2]) for byte in range(2))
        return _but([low, high], [key & 255, key >> 8])
    if opened.mode in {"1", "L"} and isinstance(key, int):
        depth = data[24] if name == "PNG" and opened.mode == "L" else 8  # Pillow scales one bit itself
        return _but([opened.convert("L")], [round(key * 255 / ((1 << depth) - 1))])
    if opened.mode == "RGB" and isinstance(key, tuple):
        bands = list(opened.split())
        if name != "PNG" or data[24] != 16:
            return _but(bands, key)
        # Pillow keeps the high bytes; read in the other byte order, it keeps the low ones.
        again = reader_of(name, param)(io.BytesIO(data))
        again.tile = [tile._replace(args="RGB;16L") for tile in again.tile]
        return _but([*bands, *again.split()], [*(each >> 8 for each in key), *(each & 255 for each in key)])
    return opened.convert("RGBA").getchannel("A")


def _but(bands: list[Image.Image], key: "list[int] | tuple[int, ...]") -> Image.Image:
    """Return 0 where every band has its value of the key, and 255 elsewhere."""
    others = [
        band.point([255 * (level != value) for level in range(256)]) for band, value in zip(bands, key, strict=True)
    ]
    alpha = others[0]
    for other in others[1:]:
        alpha = ImageChops.lighter(alpha, other)
    return alpha


# -- profile -------------------------------------------------------------------------------------------------------


def _profile(opened: ImageFile, data: bytes, name: str) -> bytes | None:
    """Return the ICC profile of the file's colours; None for sRGB, or where the file says nothing."""
    embedded: bytes | None = opened.info.get("icc_profile")
    if name in {"AVIF", "HEIC"} and not embedded:
        named = _NCLX.search(data, 0, _HEADERS)
        return None if named is None else from_code_points(*(int.from_bytes(named[1][at : at + 2]) for at in (0, 2)))
    if name != "PNG":
        return embedded
    cicp = next((start for kind, start, length in png_chunks(data) if kind == b"cICP" and length == 4), None)
    if cicp is not None:
        return from_code_points(data[cicp], data[cicp + 1])
    if embedded or "srgb" in opened.info:
        return embedded
    return from_gamma(opened.info.get("gamma"), opened.info.get("chromaticity"))


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert from an ICC profile (ISO 15076-1); one that is broken or of another colour space is ignored."""
    if len(profile) > MAX_PROFILE_BYTES:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _SPACES.get(source.profile.xcolor_space)
        if (mode, image.mode) == ("RGB", "L"):
            image = image.convert("RGB")
        if mode != image.mode:
            return image
        to_srgb = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode != "CMYK" and not _moves(to_srgb, mode):
            return image
        return ImageCms.applyTransform(image, to_srgb) or image
    except BROKEN_PROFILE:
        return image


def _moves(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether a conversion changes any of many colours by more than one level.

    Names tell nothing here: many a profile with "sRGB" in its name is another, such as linear.
    """
    levels = bytes(range(256))
    if mode == "RGB":
        levels = bytes(level for level in range(256) for _ in range(3))
        levels += bytes(level for colour in product(range(0, 256, 17), repeat=3) for level in colour)
    sample = Image.frombytes(mode, (len(levels) // len(mode if mode == "RGB" else "L"), 1), levels)
    moved = ImageCms.applyTransform(sample, transform)
    if moved is None:
        return False
    extrema = ImageChops.difference(moved, sample.convert("RGB")).getextrema()
    return max(int(highest) for _, highest in extrema) > SAME  # type: ignore[misc]
