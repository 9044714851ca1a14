"""Masks in OpenAI's convention: an image may change where its mask is fully transparent (alpha 0)."""

import io

from PIL import Image, ImageOps

from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.imaging.opening import BROKEN, open_image, read_header

_BOTH = (
    "make transparent (alpha 0) what may change and leave the rest opaque. A black and white mask, where white may "
    "change, is taken by POST /v1/jobs"
)


def white_mask(data: bytes, first: bytes | None, *, max_bytes: int, max_pixels: int) -> bytes:
    """Return the mask as a black and white PNG: white where ``data`` has alpha 0, that is, where the image may change.

    ``first`` is the file of the image to edit, whose size in pixels the mask must have; None where the image is not a
    file, and the size is checked elsewhere. Raises StudioError as `open_image` does, and ``invalid_value`` for a mask
    without transparency, without a pixel of alpha 0, or of another size.
    """
    limits = {"max_bytes": max_bytes, "max_pixels": max_pixels}
    open_image(data, param="mask", **limits)
    alpha = _alpha(data)
    if alpha is None:
        raise refusal("mask", f"has no transparency; {_BOTH}")
    if first is not None:
        _check_size(alpha.size, first, limits)
    mask = alpha.point(lambda value: 255 * (value == 0)).convert("1", dither=Image.Dither.NONE)
    if mask.getbbox() is None:
        raise refusal("mask", f"has no pixel with alpha 0, so nothing may change; {_BOTH}")
    file = io.BytesIO()
    mask.save(file, "PNG")
    return file.getvalue()


def _alpha(data: bytes) -> Image.Image | None:
    """Return the alpha channel, upright; None where there is none."""
    opened = read_header(data)
    try:
        if opened is None or not opened.has_transparency_data:
            return None
        return ImageOps.exif_transpose(opened.convert("RGBA")).getchannel("A")
    except BROKEN:
        return None


def _check_size(size: tuple[int, int], first: bytes, limits: dict[str, int]) -> None:
    header = read_header(first)
    if header is not None and header.size == size:
        return
    # Only now is it decoded: its EXIF may turn it, and an error of decoding names the image, not the mask.
    image = open_image(first, param="image", **limits)
    if image.size != size:
        (width, height), (wide, high) = image.size, size
        raise refusal(
            "mask", f"has {wide}x{high} pixels and the first image {width}x{height}; send one of the same size"
        )
