"""The picture that a job paints, part by part: what goes into the model for each part, and how the result is put back.

Only pixels here, no model. What may not change is the input's, bit for bit: the painted part is laid over it through a
mask that is soft only inward.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from server.engine import Box, Pass, Plan, Size
from server.engine.inputs import resized, upright
from server.vocabulary import Operation

FEATHER_SHARE = 40
"""The soft edge of a painted part: its short side through this, in pixels."""
THIN = 3
"""A piece of a mask is soft over a third of its half width at most, so that thin ones change as well."""

PREVIEW_SIDE = 512
"""Longest side of a preview of an image of which a part is painted."""


@dataclass(frozen=True)
class Stage:
    """One painting of the model's."""

    size: Size
    """Width and height at which it is painted."""
    sources: Sequence[Image.Image]
    """The pictures that an editing model is shown."""
    start: Image.Image | None = None
    """The picture that the painting starts from, at that size."""
    free: Image.Image | None = None
    """Which pixels of it may change, as mode L, 255 where they may; None where all may."""


class Canvas:
    """One image of a job while it is painted."""

    def __init__(self, plan: Plan, inputs: Sequence[Image.Image]) -> None:
        """`inputs` are upright RGB pictures, the mask of a masked edit last."""
        self._plan = plan
        self._inputs = inputs[:-1] if plan.mask else inputs
        self._mask = inputs[-1].convert("L") if plan.mask else None
        self.image = self._ground()

    def stage(self, number: int) -> Stage:
        """What goes into the model for pass `number`; without passes there is one, of the whole image."""
        plan, size = self._plan, (self._plan.paint_width, self._plan.paint_height)
        if not plan.passes:
            reference = self._inputs[0] if plan.through is Operation.GENERATE and self._inputs else None
            start = None if reference is None else _covering(reference, size)
            return Stage(size, self._inputs, start)
        one = plan.passes[number]
        size = (one.width, one.height)
        start = resized(self.image.crop(one.window), size)
        free = self._free(one).resize(size, Image.Resampling.BOX).point(lambda value: 255 * (value > 0))
        return Stage(size, [start, *self._inputs[1:]], start, free)

    def put(self, number: int, painted: Image.Image) -> None:
        """Take what the model made of that stage."""
        plan = self._plan
        painted = upright(painted)
        if not plan.passes:
            self.image = resized(painted, (plan.width, plan.height))
            return
        one = plan.passes[number]
        window = one.window
        part = resized(painted, (window[2] - window[0], window[3] - window[1]))
        self.image.paste(part, window[:2], soft_inward(self._free(one)))

    def preview(self, number: int, small: Image.Image) -> Image.Image:
        """The image with a small picture of what pass `number` is painting, at most 512 pixels long."""
        if not self._plan.passes:
            return small
        scale = min(1.0, PREVIEW_SIDE / max(self.image.size))
        whole = self.image.resize([max(1, round(side * scale)) for side in self.image.size])
        left, top, right, bottom = (round(edge * scale) for edge in self._plan.passes[number].window)
        whole.paste(small.resize((max(1, right - left), max(1, bottom - top))), (left, top))
        return whole

    def _ground(self) -> Image.Image:
        """The picture before anything is painted; beyond an image's edges it is a smooth continuation."""
        plan = self._plan
        if not plan.passes:
            return Image.new("RGB", (plan.width, plan.height))
        if plan.place is None:
            return self._inputs[0].copy()
        return extended(self._inputs[0], plan.place, (plan.width, plan.height))

    def _free(self, one: Pass) -> Image.Image:
        """What may change in the pass's window, as mode L of the window's size."""
        if self._mask is not None:
            return self._mask.crop(one.window)
        free = Image.new("L", (one.window[2] - one.window[0], one.window[3] - one.window[1]), 255)
        if one.known is not None:
            left, top, right, bottom = one.known
            across, down = one.window[:2]
            free.paste(0, (left - across, top - down, right - across, bottom - down))
        return free


def soft_inward(mask: Image.Image) -> Image.Image:
    """The mask (mode L, 0 or 255) with edges that grow from nothing to full inwards, and nothing outside.

    At the mask's own border with the picture's edge there is nothing to blend with, and it stays full. A thin piece
    reaches full strength in its middle as well.
    """
    white = np.asarray(mask) > 0
    if white.all() or not white.any():
        return mask
    # Euclidean distance to the nearest pixel that stays; the picture's own edge is not one.
    inward = ndimage.distance_transform_edt(white)
    pieces, count = ndimage.label(white, structure=np.ones((3, 3)))
    deepest = ndimage.maximum(inward, pieces, index=np.arange(count + 1))
    widest = max(1.0, min(mask.size) / FEATHER_SHARE)
    feather = np.minimum(widest, np.asarray(deepest) / THIN)[pieces]
    alpha = np.where(white, np.minimum(1.0, inward / np.maximum(feather, 1.0)), 0.0)
    return Image.fromarray(np.round(alpha * 255).astype(np.uint8), "L")


def extended(image: Image.Image, place: Box, canvas: Size) -> Image.Image:
    """The image on a larger canvas, whose margins repeat the image's edges, smoothed.

    A smooth continuation gives a model colours to start from and no pattern to copy.
    """
    left, top, right, bottom = place
    pixels = np.asarray(image)
    margins = ((top, canvas[1] - bottom), (left, canvas[0] - right), (0, 0))
    ground = Image.fromarray(np.pad(pixels, margins, mode="edge"), "RGB")
    smooth = ground.filter(ImageFilter.GaussianBlur(max(1, min(image.size) // 16)))
    smooth.paste(image, (left, top))
    return smooth


def _covering(image: Image.Image, size: Size) -> Image.Image:
    """The image scaled to cover the size, its middle kept: another shape is cropped, never stretched."""
    scale = max(size[0] / image.width, size[1] / image.height)
    across, down = size[0] / scale, size[1] / scale
    left, top = (image.width - across) / 2, (image.height - down) / 2
    return image.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + across, top + down))
