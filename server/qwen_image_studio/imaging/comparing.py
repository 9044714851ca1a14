"""Before and after: how much an edit changed, and a picture that shows both side by side.

The measure is LDR-FLIP (Andersson et al. 2020): the difference that a viewer sees who looks at two pictures in turn,
from 0 for none to 1. Its authors recommend the mean where one number has to do.

numpy, scipy and flip_evaluator are imported where they are used: the worker that adjusts pictures makes strips without
measuring anything, and stays small without them.
"""

from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageChops

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

MEASURED_SIDE = 256
"""Longest side, in pixels, at which pictures are measured: a square one takes 0.15 s of one core, during which FLIP
lets no other Python thread run; at 512 it takes 0.5 s."""
_OUTLINE_CELLS = 64
STRIP_HEIGHT = 512
"""Largest height of a strip in pixels."""
STRIP_PANEL_WIDTH = 1024
"""Largest width of each of the two pictures in a strip, in pixels."""
STRIP_GAP = 8
"""Width of the bar between the two pictures of a strip, in pixels."""
_GAP = (128, 128, 128)
_EMPTY = (224, 224, 224)

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge in pixels."""


class Change(NamedTuple):
    """The measured difference of two pictures, 0 to 1."""

    inside: float | None
    """Mean over the area that was to change; None where there is no such area."""
    outside: float | None
    """Mean over the rest, exactly 0.0 where no pixel differs; None where there is no rest."""
    strongest: float
    """Least change among the thousandth of the inside that changed most: a small object counts here, though not in the
    mean."""


def measure_change(before: Image.Image, after: Image.Image, allowed: Image.Image | None = None) -> Change:
    """Return how much changed from one RGB picture to another of the same size.

    `allowed` is a mask of that size, mode L: 255 where the picture was to change and 0 elsewhere; None allows all.
    A change on one side of the mask's edge never counts on the other. Raises ValueError for sizes that differ.
    """
    if before.size != after.size or (allowed is not None and allowed.size != before.size):
        raise ValueError(f"before {before.size}, after {after.size} and their mask have to be of one size")
    if allowed is None:
        mean, strongest = _measured(before, after, Image.new("L", before.size, 255)) or (0.0, 0.0)
        return Change(mean, None, strongest)
    forbidden = ImageChops.invert(allowed)
    inside = _measured(before, Image.composite(after, before, allowed), allowed)
    outside = _measured(before, Image.composite(after, before, forbidden), forbidden)
    return Change(inside and inside[0], outside and outside[0], inside[1] if inside else 0.0)


def shared_outlines(before: Image.Image, after: Image.Image) -> float:
    """Return how far the outlines of two RGB pictures of the same size agree: 1 for all of them, about 0 for none.

    The measure is the correlation of the strength of their edges over a grid of 64 x 64 cells, which a change of
    background, light or style leaves mostly as it is.
    """
    import numpy as np

    first, second = _outlines(before), _outlines(after)
    if not first.std() or not second.std():
        return float(first.std() == second.std())
    return float(np.corrcoef(first, second)[0, 1])


def comparison(before: Image.Image, after: Image.Image, place: Box | None = None) -> Image.Image:
    """Return both pictures side by side, 512 pixels high at most; a picture longer than 2:1 is less high.

    They are RGB or RGBA; the strip is RGBA where one of them is. `place` is where `before` stands in `after`; the
    canvas around it is light grey.
    """
    mode = "RGBA" if "RGBA" in {before.mode, after.mode} else "RGB"
    before, after = before.convert(mode), after.convert(mode)
    if place is not None:
        canvas = Image.new(mode, after.size, _EMPTY)
        canvas.paste(before, place[:2])
        before = canvas
    height = min(STRIP_HEIGHT, max(before.height, after.height))
    panels = [_within(picture, (STRIP_PANEL_WIDTH, height)) for picture in (before, after)]
    height = max(panel.height for panel in panels)
    right = panels[0].width + STRIP_GAP
    strip = Image.new(mode, (right + panels[1].width, height), _EMPTY)
    strip.paste(_GAP, (panels[0].width, 0, right, height))
    for panel, left in zip(panels, (0, right), strict=True):
        strip.paste(panel, (left, (height - panel.height) // 2))
    return strip


def _measured(before: Image.Image, after: Image.Image, area: Image.Image) -> tuple[float, float] | None:
    """Return the mean and the strongest difference over the white of `area`; outside it the two are the same."""
    box = area.getbbox()
    if box is None:
        return None
    if ImageChops.difference(before, after).getbbox() is None:
        return 0.0, 0.0
    import flip_evaluator  # type: ignore[import-untyped]
    import numpy as np

    first, second = (_pixels(_small(picture.crop(box))) for picture in (before, after))
    seen = flip_evaluator.evaluate(first, second, "LDR", applyMagma=False, computeMeanError=False)[0].ravel()
    # In floating point: in 8 bits a few white pixels in a large box would round to nothing.
    weights = np.asarray(_small(area.crop(box).convert("F"))).ravel()
    order = np.argsort(seen)
    below = np.cumsum(weights[order], dtype=np.float64)
    strongest = seen[order[np.searchsorted(below, 0.999 * below[-1])]]
    return float(np.average(seen, weights=weights)), float(strongest)


def _outlines(picture: Image.Image) -> "NDArray[float32]":
    """Return the strength of the edges in each cell of a grid, row by row."""
    import numpy as np
    from scipy import ndimage

    pixels = _pixels(_small(picture))
    edges = [ndimage.gaussian_gradient_magnitude(pixels[..., channel], 1) for channel in range(3)]
    strength = Image.fromarray(np.linalg.norm(edges, axis=0).astype(np.float32))
    cells = strength.resize((_OUTLINE_CELLS, _OUTLINE_CELLS), Image.Resampling.BOX)
    return np.asarray(cells, np.float32).ravel()


def _pixels(picture: Image.Image) -> "NDArray[float32]":
    """Return the RGB picture as an array (height, width, 3) of 0 to 1; a copy, since FLIP takes no read-only array."""
    import numpy as np

    return np.asarray(picture, np.float32) / np.float32(255)


def _small(picture: Image.Image) -> Image.Image:
    """Return the picture with a long side of at most `MEASURED_SIDE`, each pixel the mean of those that it replaces."""
    scale = MEASURED_SIDE / max(picture.size)
    return picture if scale >= 1 else picture.resize(_scaled(picture.size, scale), Image.Resampling.BOX)


def _within(picture: Image.Image, box: tuple[int, int]) -> Image.Image:
    """Return the picture as large as fits into a box of that width and height."""
    size = _scaled(picture.size, min(box[0] / picture.width, box[1] / picture.height))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
