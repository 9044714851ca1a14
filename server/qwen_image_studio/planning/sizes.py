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
    most_pixels: int | None = None
    """Largest area that is painted all the same, in pixels, as a tier or a caller's key has it; None for the model's
    own."""

    @property
    def largest(self) -> int:
        """Return the largest area that is painted, in pixels."""
        own = self.paint_pixels[1]
        return own if self.most_pixels is None else min(own, self.most_pixels)

    @property
    def usual(self) -> int:
        """Return the area of a picture of which no more than the shape is asked for, in pixels."""
        return min(math.prod(self.native), self.largest)


def like_input(size: Size, limits: Limits) -> Size:
    """Return the size with an image's shape and the usual area: on the grid, where the model paints that shape."""
    aspect = size[0] / size[1]
    area = limits.usual
    if max(aspect, 1 / aspect) > limits.max_aspect:
        return round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return on_grid(math.sqrt(area * aspect), math.sqrt(area / aspect), limits)


def painted_size(size: Size, limits: Limits, least: int | None = None) -> Size:
    """Return the size to paint for a size to deliver: of the same shape, within the areas that the model paints.

    `least` is the least area in pixels, as far as so much is painted; by default the least that the model paints. A
    shape far too long is painted shorter and stretched afterwards.
    """
    longest = 2 * limits.max_aspect
    width, height = max(size[0], size[1] / longest), max(size[1], size[0] / longest)
    smallest = least or limits.paint_pixels[0]
    scale = math.sqrt(min(max(width * height, smallest), limits.largest) / (width * height))
    return on_grid(width * scale, height * scale, limits)


def on_grid(width: float, height: float, limits: Limits) -> Size:
    """Return the size on the grid closest to this one in shape and, less strictly, in area; within the largest area."""
    grid, largest = limits.grid, limits.largest
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
