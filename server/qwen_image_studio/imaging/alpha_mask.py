"""Masks in OpenAI's convention: an image may change where its mask is fully transparent (alpha 0)."""

import io

from PIL import Image

from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.imaging.opening import Opened, decode, open_image, read_header

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
    picture = decode(data, param="mask", **limits)
    if picture.image.mode != "RGBA":
        what = "has no pixel with alpha 0, so nothing may change" if _has_alpha(picture) else "has no transparency"
        raise refusal("mask", f"{what}; {_BOTH}")
    alpha = picture.image.getchannel("A")
    if first is not None:
        _check_size(alpha.size, first, limits)
    mask = alpha.point(lambda value: 255 * (value == 0)).convert("1", dither=Image.Dither.NONE)
    if mask.getbbox() is None:
        raise refusal("mask", f"has no pixel with alpha 0, so nothing may change; {_BOTH}")
    file = io.BytesIO()
    mask.save(file, "PNG")
    return file.getvalue()


def _has_alpha(picture: Opened) -> bool:
    """Return whether the file has an alpha channel, though every pixel of it is opaque."""
    return bool(picture.file.has_transparency_data)


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
