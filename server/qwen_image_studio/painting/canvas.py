"""The canvas of a job, painted part by part: what goes into the model for each part, and how the result is put back.

Only pixels here, no model. Pixels that may not change stay those of the input, bit for bit: the painted part is laid
over the input only where it may change, with a narrow edge that is soft inwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from qwen_image_studio.contract.adjustments import Box
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import Size, Way
from qwen_image_studio.imaging.pixels import is_see_through, on_white, resized
from qwen_image_studio.painting.layering import laid_back, recomposed
from qwen_image_studio.planning.plan import PaintPlan, Pass

FEATHER = 4
"""Width of the soft edge of a masked part, in pixels as painted."""
SEAM = 32
"""Width of the band beside a seam in which painted colours are compared with the present ones, in pixels as painted."""
MOST_SHIFT = 12
"""Largest change of a colour that is put down to a VAE, in levels of 255."""
PREVIEW_SIDE = 512
"""Longest side in pixels of a preview of an image that is painted in parts."""


@dataclass(frozen=True)
class PassInput:
    """The pictures that go into the model for one pass."""

    size: Size
    """Width and height in pixels at which it is painted."""
    sources: Sequence[Image.Image]
    """Pictures that an editing model is shown."""
    start: Image.Image | None = None
    """Picture that the painting starts from, at that size; None to start from noise."""
    free: Image.Image | None = None
    """Mask of the pixels that may change, at that size in mode L, 255 where they may; None where all may."""


class Canvas:
    """The images of a job, one after the other, while they are painted."""

    def __init__(self, plan: PaintPlan, inputs: Sequence[Image.Image], *, alpha: bool = False) -> None:
        """Prepare the first image; `inputs` are upright pictures, RGB or RGBA, the mask of a masked edit last.

        A model with `alpha` sees and paints transparency, unless an opaque picture is wanted. Others see and paint
        opaque pictures, so transparency is laid on white for them. `image` is a picture as the model sees it.
        """
        self._plan, keeps = plan, plan.background is not Background.OPAQUE
        self._has_alpha = alpha and keeps
        seen = inputs[:-1] if plan.mask else inputs
        self._first = inputs[0] if inputs and inputs[0].mode == "RGBA" and plan.passes and keeps else None
        self._inputs = [each if self._has_alpha else on_white(each) for each in seen]
        self._layers: list[Image.Image] = []
        self._mask = inputs[-1].convert("L") if plan.mask else None
        self._ground = self._grounded()
        self._small: Image.Image | None = None
        self._edges: dict[int, Image.Image] = {}
        self.image = self._ground
        self._covered = Image.new("L", self._ground.size, 0)

    def begin(self) -> None:
        """Start the next image from the picture before anything was painted."""
        self.image = self._ground.copy()
        self._covered = Image.new("L", self._ground.size, 0)

    @property
    def delivered(self) -> list[Image.Image]:
        """The images of one seed: the finished one, or the layers back to front and what they make together."""
        return [*self._layers, recomposed(self._layers)] if self._layers else [self.finished]

    @property
    def finished(self) -> Image.Image:
        """The image as it is delivered: RGBA where something shows through it, or where a part of a transparent input
        was painted, else RGB.

        What was not painted has the input's colours and alpha, bit for bit; what was painted has the model's alpha, or
        is opaque, and its soft edge runs over into the input's.
        """
        if self._has_alpha:
            return self.image if self._first is not None or is_see_through(self.image) else on_white(self.image)
        if self._first is None:
            return self.image
        place = self._plan.place or (0, 0, *self.image.size)
        before = Image.new("RGBA", self.image.size)
        before.paste(self._first, place[:2])
        return uncovered(before, self.image, self._covered)

    def pass_input(self, number: int) -> PassInput:
        """Return what goes into the model for pass `number`; without passes, pass 0 paints the whole image."""
        plan, size = self._plan, (self._plan.paint_width, self._plan.paint_height)
        self._small = None
        if not plan.passes:
            reference = self._inputs[0] if plan.way is Way.GENERATE and self._inputs else None
            start = None if reference is None else covering(reference, size)
            return PassInput(size, self._inputs, start)
        one = plan.passes[number]
        size = (one.width, one.height)
        start = resized(self.image.crop(one.window), size)
        # In floating point, so that one pixel among thousands still counts.
        share = self._free(one).convert("F").resize(size, Image.Resampling.BOX)
        free = Image.fromarray(np.where(np.asarray(share) > 0, 255, 0).astype(np.uint8))
        return PassInput(size, [start, *self._inputs[1:]], start, free)

    def put(self, number: int, painted: Image.Image) -> None:
        """Put what the model painted in pass `number` into the image."""
        plan = self._plan
        if not plan.passes:
            self.image = resized(self._drawn(painted), (plan.width, plan.height))
            return
        one = plan.passes[number]
        window, scale = one.window, (one.window[2] - one.window[0]) / one.width
        part = resized(self._drawn(painted), (window[2] - window[0], window[3] - window[1]))
        free = self._free(one)
        part = matched(part, self.image.crop(window), free, round(SEAM * max(1.0, scale)))
        if number not in self._edges:
            # A new strip lies beside the picture; only a changed part has something below it to blend with.
            soft = one.known is None
            self._edges[number] = self._soft(free, scale) if soft else free
        if self._has_alpha:
            part = blended(self.image.crop(window), part, self._edges[number])
            self.image.paste(part, window[:2])
        else:
            self.image.paste(part, window[:2], self._edges[number])
        self._covered.paste(255, window[:2], self._edges[number])

    def _as_seen(self, picture: Image.Image) -> Image.Image:
        """Return a picture in the mode in which the model sees and paints: RGBA, or RGB on white."""
        return picture.convert("RGBA") if self._has_alpha else on_white(picture)

    def _drawn(self, painted: Image.Image) -> Image.Image:
        """Return what a model painted as it is used: without colours that nobody, and no classifier, sees."""
        seen = self._as_seen(painted)
        if seen.mode != "RGBA":
            return seen
        drawn = Image.new("RGBA", seen.size)
        drawn.paste(seen, mask=seen.getchannel("A").point(lambda alpha: 255 * (alpha > 0)))
        return drawn

    def put_layers(self, painted: Sequence[Image.Image]) -> None:
        """Put the layers that the model painted in place of the image, back to front."""
        self._layers = laid_back(self._inputs[0], painted, (self._plan.width, self._plan.height))

    def _soft(self, free: Image.Image, scale: float) -> Image.Image:
        """Return what may change with the soft edge that was asked for, else with a narrow one."""
        if self._plan.feather is None:
            return soft_inward(free, round(FEATHER * max(1.0, scale)))
        return soft_inward(free, self._plan.feather, most=True)

    def preview(self, number: int, small: Image.Image) -> Image.Image:
        """Return the image with a small picture of what pass `number` is painting, at most 512 pixels long."""
        if not self._plan.passes:
            return small
        scale = min(1.0, PREVIEW_SIDE / max(self.image.size))
        if self._small is None:
            self._small = self.image.resize([max(1, round(side * scale)) for side in self.image.size])
        whole = self._small.copy()
        left, top, right, bottom = (round(edge * scale) for edge in self._plan.passes[number].window)
        whole.paste(small.resize((max(1, right - left), max(1, bottom - top))), (left, top))
        return whole

    def _grounded(self) -> Image.Image:
        """Return the picture before anything is painted; beyond an input's edges it is a smooth continuation."""
        plan = self._plan
        if not plan.passes:
            return Image.new("RGB", (plan.width, plan.height))
        first = self._as_seen(self._inputs[0])
        return first if plan.place is None else extended(first, plan.place, (plan.width, plan.height))

    def _free(self, one: Pass) -> Image.Image:
        """Return what may change in the pass's window, in mode L and of the window's size, 255 where it may."""
        if self._mask is not None:
            return self._mask.crop(one.window)
        free = Image.new("L", (one.window[2] - one.window[0], one.window[3] - one.window[1]), 255)
        if one.known is not None:
            left, top, right, bottom = one.known
            across, down = one.window[:2]
            free.paste(0, (left - across, top - down, right - across, bottom - down))
        return free


def soft_inward(mask: Image.Image, feather: int, *, most: bool = False) -> Image.Image:
    """Return the mask (mode L, 0 or 255) with edges that rise to 255 over `feather` pixels inwards; outside stays 0.

    The mask stays full at the picture's edge, where there is nothing to blend with, and in pieces too thin to feather.
    With `most`, a mask that is nowhere that deep is feathered as far as it goes.
    """
    box = mask.getbbox()
    if box is None or feather < 2:
        return mask
    # One pixel around the white is enough to find its edge.
    around = (max(0, box[0] - 1), max(0, box[1] - 1), min(mask.width, box[2] + 1), min(mask.height, box[3] + 1))
    white = np.asarray(mask.crop(around)) > 0
    if white.all():
        return mask
    inward = ndimage.distance_transform_cdt(white, metric="chessboard")
    feather = min(feather, int(inward.max())) if most else feather
    deep = ndimage.maximum_filter((inward >= feather).view(np.uint8), size=2 * feather - 1).astype(bool)
    alpha = np.where(white & ~deep, 1.0, np.minimum(1.0, inward / feather))
    soft = Image.new("L", mask.size)
    soft.paste(Image.fromarray(np.round(alpha * 255).astype(np.uint8)), around[:2])
    return soft


def matched(part: Image.Image, there: Image.Image, free: Image.Image, reach: int) -> Image.Image:
    """Return the painted part with its colours shifted back by what the model changed where nothing was to change.

    A VAE shifts the colours of every picture a little, which would show as a seam. The shift is measured within `reach`
    pixels of what is free, and is one number each for red, green and blue.
    """
    box = free.getbbox()
    if box is None:
        return part
    left, top, right, bottom = box
    near = (max(0, left - reach), max(0, top - reach), min(free.width, right + reach), min(free.height, bottom + reach))
    before, after = np.asarray(there.crop(near)), np.asarray(part.crop(near))
    kept = np.asarray(free.crop(near)) == 0
    if part.mode == "RGBA":  # what nobody sees has any colour
        kept &= np.minimum(before[..., 3], after[..., 3]) > 0
    if kept.sum() < reach:
        return part
    differences = before[kept][:, :3].astype(np.float32) - after[kept][:, :3]
    shift = np.round(np.median(differences, axis=0)).astype(np.int16)
    if not shift.any() or np.abs(shift).max() > MOST_SHIFT:  # a larger shift is not the VAE's
        return part
    pixels: NDArray[np.uint8] = np.array(part)
    pixels[..., :3] = np.clip(pixels[..., :3].astype(np.int16) + shift, 0, 255)
    return Image.fromarray(pixels)


def blended(before: Image.Image, after: Image.Image, share: Image.Image) -> Image.Image:
    """Return an RGBA picture that is `after` where `share` (L) is 255, `before` to the bit where it is 0, and between
    them a mixture in which colours count as much as they are seen.
    """
    pixels = np.asarray(before).copy()
    touched = np.asarray(share) > 0
    part = np.asarray(share)[touched].astype(np.float32)[:, None] / 255
    below, above = (np.asarray(each)[touched].astype(np.float32) for each in (before, after))
    seen, over = (1 - part) * below[:, 3:], part * above[:, 3:]
    alpha = seen + over
    # Where nothing is seen, the colour is the mean of both.
    weight = np.where(alpha > 0, over / np.maximum(alpha, 1e-6), part)
    colours = below[:, :3] + weight * (above[:, :3] - below[:, :3])
    pixels[touched] = np.round(np.column_stack([colours, alpha])).astype(np.uint8)
    return Image.fromarray(pixels)


def uncovered(before: Image.Image, painted: Image.Image, covered: Image.Image) -> Image.Image:
    """Return an RGBA picture with what was painted over it on white, without the white.

    `covered` (L) is how far each pixel was painted over, 255 for entirely; where it is 0 the picture stays as it is.
    """
    pixels = np.asarray(before).copy()
    touched = np.asarray(covered) > 0
    share = np.asarray(covered)[touched].astype(np.float32) / 255
    alpha = pixels[touched][:, 3].astype(np.float32) / 255
    white = (1 - share) * (1 - alpha)
    reached = np.maximum(1 - white, 1e-6)
    colours = (np.asarray(painted)[touched] - 255 * white[:, None]) / reached[:, None]
    pixels[touched] = np.round(np.clip(np.column_stack([colours, 255 * reached]), 0, 255)).astype(np.uint8)
    return Image.fromarray(pixels)


def extended(image: Image.Image, place: Box, canvas: Size) -> Image.Image:
    """Return the image on a larger canvas, whose margins repeat the image's edges, smoothed.

    A smooth continuation gives a model colours to start from and no pattern to copy.
    """
    left, top, right, bottom = place
    margins = ((top, canvas[1] - bottom), (left, canvas[0] - right), (0, 0))
    ground = Image.fromarray(np.pad(np.asarray(image), margins, mode="edge"))
    weighted = ground.convert("RGBa") if image.mode == "RGBA" else ground  # no colour of what is clear bleeds out
    smooth = weighted.filter(ImageFilter.GaussianBlur(max(1, min(image.size) // 16))).convert(image.mode)
    smooth.paste(image, (left, top))
    return smooth


def covering(image: Image.Image, size: Size) -> Image.Image:
    """Return the image scaled to cover the size, its middle kept: another shape is cropped, never stretched."""
    scale = max(size[0] / image.width, size[1] / image.height)
    across, down = size[0] / scale, size[1] / scale
    left, top = (image.width - across) / 2, (image.height - down) / 2
    return image.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + across, top + down))
