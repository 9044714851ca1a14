"""Masks: which pixels of an image may change. White may change, black stays."""

from dataclasses import dataclass

from PIL import Image, ImageOps

from qwen_image_studio.contract.adjustments import Box, Region
from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.imaging.colour import in_eight_bits
from qwen_image_studio.imaging.opening import open_image

WHITE_FROM = 128
"""Lowest grey level that counts as white, of 255."""
MAX_ASPECT_GAP = 0.02
"""Largest difference in shape, as a share, at which a mask of another size is stretched to the image."""


@dataclass(frozen=True)
class Marked:
    """What a mask marks, without its pixels."""

    box: Box
    """Smallest box that holds all white."""
    share: float
    """Share of that box that is white, 0 to 1."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mask(Marked):
    """A mask at the size of its image: which pixels may change."""

    image: Image.Image
    """Mode L, 255 where the image may change and 0 elsewhere."""


def region_mask(region: Region, size: tuple[int, int]) -> Mask:
    """Return the mask of a box in an image of that size. Raises StudioError ``invalid_value`` where it lies outside."""
    try:
        box = region.box(size)
    except ValueError as error:
        raise refusal("region", str(error)) from error
    image = Image.new("L", size, 0)
    image.paste(255, box)
    cut = region.cut(size)
    return Mask(box, 1.0, () if cut is None else (cut,), image=image)


def open_mask(data: bytes, size: tuple[int, int], *, max_bytes: int, max_pixels: int) -> Mask:
    """Return the mask in a file, for an image of that size: white may change.

    A mask of another size and the same shape is stretched. Raises StudioError as `open_image` does, and
    ``invalid_value`` for a mask of another shape, with transparency, or without any white.
    """
    return mask_from(open_image(data, max_bytes=max_bytes, max_pixels=max_pixels, param="mask"), size)


def mask_from(picture: Image.Image, size: tuple[int, int]) -> Mask:
    """Return a picture of any mode as a mask for an image of that size. Raises StudioError as `open_mask` does."""
    _refuse_transparency(picture)
    picture = in_eight_bits(ImageOps.exif_transpose(picture))
    mask = picture.convert("L").point(lambda value: 255 * (value >= WHITE_FROM))
    warnings: list[str] = []
    if mask.size != size:
        (width, height), (wide, high) = size, mask.size
        if abs(width * high / (height * wide) - 1) > MAX_ASPECT_GAP:
            raise refusal(
                "mask",
                f"has {wide}x{high} pixels and the image {width}x{height}, another shape; send one of the image's size",
            )
        # In floating point, so that a line of one pixel is not lost in a smaller mask.
        mask = mask.convert("F").resize(size, Image.Resampling.BOX).point(lambda value: value * 1e6).convert("L")
        warnings.append(f"The mask of {wide}x{high} was stretched to the image's {width}x{height}.")
    box = mask.getbbox()
    if box is None:
        raise refusal("mask", "is black all over, so nothing may change; paint white what is to change")
    white = mask.histogram()[255]
    return Mask(box, white / ((box[2] - box[0]) * (box[3] - box[1])), tuple(warnings), image=mask)


def _refuse_transparency(picture: Image.Image) -> None:
    if not picture.has_transparency_data:
        return
    lowest, _ = picture.convert("RGBA").getchannel("A").getextrema()
    if isinstance(lowest, int | float) and lowest < 255:
        raise refusal(
            "mask",
            "has transparent pixels, and it is not clear whether they may change; send white where the image may "
            "change, black elsewhere, and nothing transparent, or send a region",
        )
