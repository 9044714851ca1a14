"""Sizes that a model paints, on its grid."""

import math
from dataclasses import dataclass

from qwen_image_studio.contract.words import Size


@dataclass(frozen=True)
class Limits:
    """The sizes that a model can paint, in numbers."""

    native: Size
    """Native square size in pixels."""
    grid: int
    """Number of pixels of which painted sides are multiples."""
    paint_pixels: tuple[int, int]
    """Least and largest area that it paints, in pixels."""
    region_pixels: int
    """Least area at which it paints a part of an image, in pixels."""
    max_aspect: float
    """Longest shape that it paints, as long side divided by short side."""


def like_input(size: Size, limits: Limits) -> Size:
    """Return the size with an image's shape and the model's native area: on the grid, where the model paints that
    shape.
    """
    aspect = size[0] / size[1]
    native = limits.native
    area = native[0] * native[1]
    if max(aspect, 1 / aspect) > limits.max_aspect:
        return round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return on_grid(math.sqrt(area * aspect), math.sqrt(area / aspect), limits)


def painted_size(size: Size, limits: Limits, least: int | None = None) -> Size:
    """Return the size to paint for a size to deliver: of the same shape, within the areas that the model paints.

    `least` is the least area in pixels; by default the least that the model paints. A shape far too long is painted
    shorter and stretched afterwards.
    """
    longest = 2 * limits.max_aspect
    width, height = max(size[0], size[1] / longest), max(size[1], size[0] / longest)
    smallest, largest = limits.paint_pixels
    scale = math.sqrt(min(max(width * height, least or smallest), largest) / (width * height))
    return on_grid(width * scale, height * scale, limits)


def on_grid(width: float, height: float, limits: Limits) -> Size:
    """Return the size on the grid closest to this one in shape and, less strictly, in area; within the largest area."""
    grid, largest = limits.grid, limits.paint_pixels[1]
    widths = {max(1, math.floor(width / grid) - back) * grid for back in range(3)} | {math.ceil(width / grid) * grid}
    sizes = [
        (across, max(1, rounded(across / width * height / grid)) * grid)
        for across in widths
        for rounded in (math.floor, math.ceil)
    ]

    def misfit(size: Size) -> tuple[float, int]:
        shape = abs(math.log(size[0] * height / size[1] / width))
        area = abs(math.log(size[0] * size[1] / width / height))
        return round(shape + area / 4, 6), -size[0]

    return min((size for size in sizes if size[0] * size[1] <= largest), key=misfit)
