"""The sizes of pictures after adjustments, and the adjustments that a size does not allow. No pixels here."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qwen_image_studio.contract.adjustments import Adjustment, Crop, Resize, Rotate, Watermark
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import MAX_SIDE, OutputFormat
from qwen_image_studio.imaging.letters import font_for
from qwen_image_studio.imaging.opening import MAX_INPUT_ASPECT, MIN_INPUT_SIDE

_ANY_SIZE = 24
_SAME_SHAPE = 0.02  # as a share: what rounding to whole pixels may do
MAX_WEBP_SIDE = 16383
"""Longest side that WebP can hold, in pixels."""


def check_adjustments(
    size: tuple[int, int], adjustments: Sequence[Adjustment], output_format: OutputFormat, *, font: Path | None
) -> None:
    """Raise StudioError ``invalid_value`` for an adjustment or a format that an image of that size does not allow."""
    for number, one in enumerate(adjustments):
        with of_adjustment(number):
            size = _size_after(one, size)
            if isinstance(one, Watermark):
                font_for(one.text, font, _ANY_SIZE)
    width, height = size
    if min(size) < MIN_INPUT_SIDE or max(size) > MAX_INPUT_ASPECT * min(size):
        message = f"the result would be {width}x{height}; it must have sides of {MIN_INPUT_SIDE} and at most 20:1"
        raise StudioError("invalid_value", f"adjustments: {message}.", param="adjustments")
    if output_format is OutputFormat.WEBP and max(size) > MAX_WEBP_SIDE:
        message = f"output_format: WebP holds {MAX_WEBP_SIDE} pixels a side, and the result has {max(size)}; use png."
        raise StudioError("invalid_value", message, param="output_format")


def unexpected(size: tuple[int, int], adjustments: Sequence[Adjustment]) -> list[str]:
    """Return warnings about adjustments of an image of that size that do other than many would think."""
    warnings = []
    for one in adjustments:
        after = _size_after(one, size)
        if isinstance(one, Resize) and abs(after[0] * size[1] / (after[1] * size[0]) - 1) > _SAME_SHAPE:
            warnings.append(_stretched(size, after))
        if isinstance(one, Crop) and one.region is not None and (cut := one.region.cut(size)):
            warnings.append(cut)
        size = after
    return warnings


def _stretched(before: tuple[int, int], after: tuple[int, int]) -> str:
    common = math.gcd(*after)
    shape = f"{after[0] // common}:{after[1] // common}"
    return (
        f"The picture of {before[0]}x{before[1]} was stretched to {after[0]}x{after[1]}, another shape; to cut it to "
        f"that shape instead, ask for 'crop to {shape}, then resize to {after[0]}x{after[1]}'."
    )


@contextmanager
def of_adjustment(number: int) -> Iterator[None]:
    """Turn a ValueError into StudioError ``invalid_value`` that names the adjustment, counted from 0."""
    try:
        yield
    except ValueError as error:
        param = f"adjustments[{number}]"
        raise StudioError("invalid_value", f"{param}: {error}.", param=param) from error


def _size_after(one: Adjustment, size: tuple[int, int]) -> tuple[int, int]:
    if isinstance(one, Crop):
        left, top, right, bottom = crop_box(one, size)
        return right - left, bottom - top
    if isinstance(one, Resize):
        return new_size(one, size)
    if isinstance(one, Rotate):
        return turned_size(one.degrees, size)
    return size


def crop_box(one: Crop, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box to keep of an image of that size. Raises ValueError where it does not fit into the image."""
    width, height = size
    if one.region is not None:
        return one.region.box(size)
    if one.aspect_ratio is not None:
        across, down = (int(side) for side in one.aspect_ratio.split(":"))
        wide = min(width, max(1, round(height * across / down)))
        high = min(height, max(1, round(width * down / across)))
    else:
        wide, high = int(one.width or 0), int(one.height or 0)
        if wide > width or high > height:
            raise ValueError(
                f"the image is {width}x{height}, too small to cut {wide}x{high} out of it; resize it first"
            )
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def new_size(one: Resize, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size after a resize. Raises ValueError for a side of 0 pixels or above the limit."""
    width, height = size
    if one.scale is not None:
        wanted = round(width * one.scale), round(height * one.scale)
    else:
        scale = (one.width or 0) / width or (one.height or 0) / height
        wanted = one.width or round(width * scale), one.height or round(height * scale)
    if not all(1 <= side <= max(MAX_SIDE, before) for side, before in zip(wanted, size, strict=True)):
        raise ValueError(f"the result would be {wanted[0]}x{wanted[1]}; each side must be 1 to {MAX_SIDE} pixels")
    return wanted


def turned_size(degrees: float, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size after a turn by that angle, grown to lose no corner. Raises ValueError above the limit."""
    turned, (width, height) = degrees % 360, size
    if turned % 90 == 0:
        return (height, width) if turned % 180 else size
    angle = math.radians(turned)
    across, down = abs(math.cos(angle)), abs(math.sin(angle))
    grown = math.ceil(across * width + down * height), math.ceil(across * height + down * width)
    if max(grown) > MAX_SIDE:
        raise ValueError(f"the turned image would be larger than {MAX_SIDE} pixels; resize it first")
    return grown
