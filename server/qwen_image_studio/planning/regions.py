"""Regions: which part of an image is painted, at which size, and how a canvas grows in passes. No pixels here.

A masked edit paints the mask's box and some context around it; an outpaint paints a new strip and some of the picture
beside it. Both cost only the tokens of that window.
"""

import math
from collections.abc import Iterator

from qwen_image_studio.contract.adjustments import Box
from qwen_image_studio.contract.words import Size
from qwen_image_studio.planning.plan import Pass
from qwen_image_studio.planning.sizes import Limits, painted_size

CONTEXT_SHARE = 16
"""Divisor of the image's long side that gives the context around a mask: 64 pixels at 1024."""
GROWTH = 0.5
"""Largest share of the present length by which one pass extends an axis, so that a model sees more than it invents."""
ROOM = 1.25
"""Largest area of an outpaint's window, as a multiple of the model's native area; `DEPTH` and `LEAST` may exceed it."""
DEPTH = 256
"""Depth in pixels for which a strip gets room, however long it is, within the model's own limit."""
LEAST = 8
"""Divisor of the present length that gives the least depth of a strip, lest small models need hundreds of passes."""


def region_pass(box: Box, frame: Size, limits: Limits) -> Pass:
    """Return the window around the box of a mask in an image of size `frame`, with the size at which it is painted."""
    context = max(limits.grid, max(frame) // CONTEXT_SHARE)
    left, right = _span(box[0], box[2], frame[0], context, limits.grid)
    top, bottom = _span(box[1], box[3], frame[1], context, limits.grid)
    # A long and thin window is widened as far as the image goes.
    left, right = _at_least((bottom - top) / limits.max_aspect, left, right, frame[0])
    top, bottom = _at_least((right - left) / limits.max_aspect, top, bottom, frame[1])
    return _pass((left, top, right, bottom), limits)


def growing_passes(place: Box, canvas: Size, limits: Limits) -> tuple[Pass, ...]:
    """Return the passes that paint the canvas around `place`, from there outwards, one axis at a time."""
    return tuple(_growing(place, canvas, limits))


def _growing(known: Box, canvas: Size, limits: Limits) -> Iterator[Pass]:
    native = math.prod(limits.native)
    while known != (0, 0, *canvas):
        axis = max((0, 1), key=lambda each: canvas[each] / (known[2 + each] - known[each]))
        length = known[3 - axis] - known[1 - axis]
        room = min(max(ROOM * native, 2 * DEPTH * length), limits.paint_pixels[1])
        grown = _grown(known, axis, canvas[axis])
        if _area(grown) <= room:
            window = grown
        else:
            grown, window = _one_side(known, axis, canvas[axis], int(room))
        yield _pass(window, limits, known)
        known = grown


def _grown(known: Box, axis: int, goal: int) -> Box:
    """Extend the known part along an axis as far as one pass goes, on both sides where both have to grow."""
    most = max(2, int((known[2 + axis] - known[axis]) * GROWTH))
    before, after = known[axis], goal - known[2 + axis]
    if before + after > most:
        before = min(before, max(most // 2, most - after))
        after = min(after, most - before)
    return _changed(known, axis, known[axis] - before, known[2 + axis] + after)


def _one_side(known: Box, axis: int, goal: int, room: int) -> tuple[Box, Box]:
    """Extend the known part on the side where more is missing; return it, and the window in which that is painted.

    The window holds the new strip and as much of the known part as there is room for, at least as deep as the strip.
    """
    start, end = known[axis], known[2 + axis]
    length = known[3 - axis] - known[1 - axis]
    first = start >= goal - end
    most = min(start if first else goal - end, max(1, int((end - start) * GROWTH)))
    depth = min(most, max(1, room // length // 2, (end - start) // LEAST))
    context = min(end - start, max(depth, room // length - depth))
    if first:
        extended, window = (start - depth, end), (start - depth, start + context)
    else:
        extended, window = (start, end + depth), (end - context, end + depth)
    return _changed(known, axis, *extended), _changed(known, axis, *window)


def _changed(box: Box, axis: int, start: int, end: int) -> Box:
    return (start, box[1], end, box[3]) if axis == 0 else (box[0], start, box[2], end)


def _pass(window: Box, limits: Limits, known: Box | None = None) -> Pass:
    size = (window[2] - window[0], window[3] - window[1])
    width, height = painted_size(size, limits, least=limits.region_pixels)
    return Pass(window=window, width=width, height=height, known=known)


def _span(start: int, end: int, length: int, context: int, grid: int) -> tuple[int, int]:
    """Return the stretch with context on both sides, a multiple of the grid where the image is long enough."""
    start, end = max(0, start - context), min(length, end + context)
    return _at_least(math.ceil((end - start) / grid) * grid, start, end, length)


def _at_least(wanted: float, start: int, end: int, length: int) -> tuple[int, int]:
    """Return the stretch made as long as wanted, evenly on both sides, within 0 to `length`."""
    reached = min(math.ceil(wanted), length)
    missing = reached - (end - start)
    if missing <= 0:
        return start, end
    start = min(max(0, start - missing // 2), length - reached)
    return start, start + reached


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
