"""Maps of edges, as models read them: white lines of one pixel on black.

Source: Canny, "A Computational Approach to Edge Detection", 1986. Thresholds are those that models of controlled
painting are mostly trained with, 100 and 200 of Sobel's gradient.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from qwen_image_studio.imaging.pixels import on_white

_BLUR = 1.0
"""Standard deviation in pixels of the blur before edges are looked for."""
_WEAK, _STRONG = 100.0, 200.0
"""Gradients from which a pixel is an edge: beside a strong one, and by itself."""
_BESIDE = ((0, 1), (1, 1), (1, 0), (1, -1))
"""Steps along the gradient, down and across, for each eighth of a turn from the right."""


def edges(picture: Image.Image, pixels: int) -> Image.Image:
    """Return the map of a picture's edges (RGB), made of it at an area of `pixels` at most, so that lines stay as wide
    as they are when the model is shown it; what is transparent counts as white.
    """
    grey = _within(on_white(picture), pixels).convert("L")
    light = ndimage.gaussian_filter(np.asarray(grey, dtype=np.float64), _BLUR)
    down, across = ndimage.sobel(light, axis=0), ndimage.sobel(light, axis=1)
    ridge = _ridges(np.hypot(down, across), down, across)
    labels, _ = ndimage.label(ridge >= _WEAK, structure=np.ones((3, 3)))
    kept = np.isin(labels, np.unique(labels[ridge >= _STRONG])) & (labels > 0)
    return Image.fromarray(np.where(kept, 255, 0).astype(np.uint8)).convert("RGB")


def _ridges(
    gradient: NDArray[np.float64], down: NDArray[np.float64], across: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the gradient where it is the largest along its own direction, else 0."""
    turn = np.round(np.arctan2(down, across) / (math.pi / 4)).astype(int) % 4
    padded = np.pad(gradient, 1)
    height, width = gradient.shape
    ridge = np.zeros_like(gradient)
    for number, (rows, columns) in enumerate(_BESIDE):
        ahead = padded[1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]
        behind = padded[1 - rows : 1 - rows + height, 1 - columns : 1 - columns + width]
        # Of two that are equally steep, one counts.
        is_top = (turn == number) & (gradient >= ahead) & (gradient > behind)
        ridge[is_top] = gradient[is_top]
    return ridge


def _within(picture: Image.Image, pixels: int) -> Image.Image:
    """Return a picture that is made smaller where its area is above `pixels`."""
    scale = math.sqrt(pixels / math.prod(picture.size))
    if scale >= 1:
        return picture
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)
