"""Region economy: which part of an image is painted, at which size, and how a canvas grows in passes. No pixels here.

A masked edit paints the mask's box and some context around it; an outpaint paints what is new and as much of what is
there as fits. Both pay for the tokens of that window alone.
"""

import math
from collections.abc import Iterator

from server.engine import Box, Pass
from server.engine.models import Model, Size
from server.engine.sizes import painted_size

CONTEXT_SHARE = 16
"""Context around a mask: the image's long side through this; 64 pixels at 1024."""
GROWTH = 0.5
"""One pass extends a side by at most this share of what is there, so that it always sees more than it invents."""


def region_pass(box: Box, frame: Size, model: Model) -> Pass:
    """The window around the box of a mask in an image of size `frame`, and the size at which it is painted."""
    context = max(model.grid, max(frame) // CONTEXT_SHARE)
    left, right = _span(box[0], box[2], frame[0], context, model.grid)
    top, bottom = _span(box[1], box[3], frame[1], context, model.grid)
    # Long and thin windows are grown as far as the image goes.
    left, right = _at_least((bottom - top) / model.max_aspect, left, right, frame[0])
    top, bottom = _at_least((right - left) / model.max_aspect, top, bottom, frame[1])
    return _pass((left, top, right, bottom), model)


def growing_passes(place: Box, canvas: Size, model: Model) -> tuple[Pass, ...]:
    """The passes in which the part of the canvas around `place` is painted, from there outwards."""
    return tuple(_growing(place, canvas, model))


def _growing(known: Box, canvas: Size, model: Model) -> Iterator[Pass]:
    goal = (0, 0, *canvas)
    while known != goal:
        grown = _grown(known, goal)
        if _area(grown) <= model.paint_pixels[1]:
            yield _pass(grown, model, known)
        else:
            grown, window = _one_side(known, grown, model.paint_pixels[1])
            yield _pass(window, model, known)
        known = grown


def _grown(known: Box, goal: Box) -> Box:
    """The known part extended on all sides as far as one pass goes."""
    across, down = (max(1, int((known[2 + axis] - known[axis]) * GROWTH)) for axis in (0, 1))
    return (
        max(goal[0], known[0] - across),
        max(goal[1], known[1] - down),
        min(goal[2], known[2] + across),
        min(goal[3], known[3] + down),
    )


def _one_side(known: Box, grown: Box, most: int) -> tuple[Box, Box]:
    """The known part extended on the side where most is missing, and the window in which that is painted: the new strip
    and as much of what is there as fits into `most` pixels, but no less than the strip is deep.
    """
    side = max(range(4), key=lambda each: abs(grown[each] - known[each]))
    extended = tuple(grown[each] if each == side else known[each] for each in range(4))
    axis = side % 2
    depth = abs(grown[side] - known[side])
    length = known[3 - axis] - known[1 - axis]
    context = min(known[2 + axis] - known[axis], max(depth, most // length - depth))
    window = list(extended)
    if side < 2:
        window[2 + axis] = known[axis] + context
    else:
        window[axis] = known[2 + axis] - context
    return (extended[0], extended[1], extended[2], extended[3]), (window[0], window[1], window[2], window[3])


def _pass(window: Box, model: Model, known: Box | None = None) -> Pass:
    size = (window[2] - window[0], window[3] - window[1])
    width, height = painted_size(size, model, least=model.region_pixels)
    return Pass(window=window, width=width, height=height, known=known)


def _span(start: int, end: int, length: int, context: int, grid: int) -> tuple[int, int]:
    """The stretch with context on both sides, in whole multiples of the grid where the image is long enough."""
    start, end = max(0, start - context), min(length, end + context)
    return _at_least(math.ceil((end - start) / grid) * grid, start, end, length)


def _at_least(wanted: float, start: int, end: int, length: int) -> tuple[int, int]:
    """The stretch made as long as wanted, evenly on both sides, within 0 to `length`."""
    reached = min(math.ceil(wanted), length)
    missing = reached - (end - start)
    if missing <= 0:
        return start, end
    start = min(max(0, start - missing // 2), length - reached)
    return start, start + reached


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
