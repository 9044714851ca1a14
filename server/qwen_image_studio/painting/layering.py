"""Layers as they are delivered: the model's, with the picture's own pixels wherever one layer alone is seen.

Only pixels here, no model. What a model paints of a picture is never quite the picture. Where a single layer is seen it
gets the picture's own colours, so that the layers laid over each other are the picture there, to the bit. Where layers
mix, as in a shadow or in glass, the one in front gets the colour with which they mix to the picture's. A soft edge has
its layer's colour further in, since a model lets edges fade to white. Behind what covers them, colours are the model's.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion, distance_transform_edt, maximum_filter, minimum_filter

from qwen_image_studio.contract.words import Size
from qwen_image_studio.imaging.pixels import resized
from qwen_image_studio.painting.pieces import told_apart

CLEAR, SOLID = 32, 223
"""Alpha of 255 up to which a painted pixel counts as clear, and from which as opaque: a VAE gives neither quite."""
ALONE = 0.98
"""Share of a pixel from which a single layer is said to be all that is seen of it."""
EDGE = 2
"""How far a soft edge reaches, in painted pixels: so far from a pixel of it, its layer is opaque and is clear."""
MIXED = 0.3
"""Share of a pixel from which a layer in front gives it its colour; where none has it, the most seen does."""
_ROWS = 256  # that are worked on at once, since a large picture has many layers

_CRISP = np.clip(np.round((np.arange(256) - CLEAR) * (255 / (SOLID - CLEAR))), 0, 255).astype(np.uint8)
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def crisp(painted: Image.Image) -> Image.Image:
    """Return an RGBA picture whose alpha is 0 where it was nearly 0, and 255 where it was nearly that."""
    pixels = np.array(painted.convert("RGBA"))
    pixels[..., 3] = _CRISP[pixels[..., 3]]
    return Image.fromarray(pixels)


def laid_back(picture: Image.Image, painted: Sequence[Image.Image], size: Size) -> list[Image.Image]:
    """Return the layers of a picture at `size` in pixels, back to front, in RGBA: painted ones, in which the picture's
    own pixels are back where one layer alone is seen. Behind an opaque picture, the backmost layer is opaque.
    """
    whole = np.array(resized(picture.convert("RGBA"), size))
    small = resized(picture.convert("RGBA"), painted[0].size)
    told = told_apart(np.asarray(small), np.stack([np.asarray(crisp(layer)) for layer in painted]))
    for layer in told[1:]:
        _colour_edges(layer, np.asarray(small))
    layers = np.stack([np.array(resized(Image.fromarray(layer), size)) for layer in told])
    layers[..., 3] = _CRISP[layers[..., 3]]
    edges = _edges(layers[..., 3], -(-EDGE * size[0] // painted[0].width))
    for top in range(0, len(whole), _ROWS):
        _lay_back(whole[top : top + _ROWS], layers[:, top : top + _ROWS], edges[top : top + _ROWS])
    return [Image.fromarray(layer) for layer in layers]


def recomposed(layers: Sequence[Image.Image]) -> Image.Image:
    """Return the layers laid over each other, in RGB where that is opaque."""
    whole = reduce(Image.alpha_composite, layers)
    return whole.convert("RGB") if whole.getchannel("A").getextrema() == (255, 255) else whole


def _colour_edges(layer: Bytes, picture: Bytes) -> None:
    """Give soft edges of a layer the colour that a picture of its size has further in, where the layer is opaque."""
    alpha = layer[..., 3]
    inner = binary_erosion(alpha == 255) & (picture[..., 3] == 255)
    if not inner.any():
        return
    far, (rows, columns) = distance_transform_edt(~inner, return_indices=True)
    soft = (alpha > 0) & (alpha < 255) & (far <= 3 * EDGE)
    layer[soft, :3] = picture[rows[soft], columns[soft], :3]


def _edges(alphas: Bytes, reach: int) -> Mask:
    """Return where any layer has an edge. (layers x height x width to height x width)"""
    edges = np.zeros(alphas.shape[1:], dtype=bool)
    for alpha in alphas:
        edges |= (maximum_filter(alpha, 2 * reach + 1) == 255) & (minimum_filter(alpha, 2 * reach + 1) == 0)
    return edges


def _lay_back(whole: Bytes, layers: Bytes, edges: Mask) -> None:
    """Put the picture's pixels (rows x width x 4) into its layers (layers x rows x width x 4); at `edges` layers keep
    their own colours.
    """
    layers[..., 3][:, whole[..., 3] == 0] = 0
    seen = _seen(layers)
    opaque = whole[..., 3] == 255
    # What no layer covers of an opaque picture is background.
    layers[0, ..., 3][opaque] = 255
    seen[0][opaque] += 1 - seen.sum(axis=0)[opaque]
    front = seen.argmax(axis=0)
    alone = seen.max(axis=0) >= ALONE
    for place, layer in enumerate(layers):
        own = alone & (front == place)
        layer[own] = whole[own]
        # What is before it shows nothing there; what is behind it would show through where it is not opaque.
        layer[..., 3][alone & (front < place)] = 0
        layer[..., 3][alone & (front > place) & ~opaque] = 0
        layer[layer[..., 3] == 0] = 0  # no colour that nobody, and no classifier, sees
    mixed = opaque & ~alone & ~edges
    front = _front(seen)
    for place in np.unique(front[mixed]):
        here = mixed & (front == place)
        layers[place][here] = _mixing(whole[here][:, :3], layers[:, here], place)


def _front(seen: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return which layer gives each pixel its colour. (layers x rows x width to rows x width)"""
    thick = seen >= MIXED
    topmost = len(seen) - 1 - thick[::-1].argmax(axis=0)
    front: NDArray[np.intp] = np.where(thick.any(axis=0), topmost, seen.argmax(axis=0))
    return front


def _mixing(wanted: Bytes, layers: Bytes, place: int) -> Bytes:
    """Return pixels of the layer at that place (pixels x 4) that mix with those of the others (layers x pixels x 4) to
    colours (pixels x 3). Their alpha is the layer's, and more only where no colour would do.
    """
    alphas, colours = layers[..., 3:] / np.float32(255), layers[..., :3].astype(np.float32)
    behind = np.zeros(wanted.shape, np.float32)
    for alpha, colour in zip(alphas[:place], colours[:place], strict=True):
        behind += alpha * (colour - behind)
    goal, left = wanted.astype(np.float32), np.ones_like(alphas[0])
    for alpha, colour in zip(alphas[:place:-1], colours[:place:-1], strict=True):
        goal -= left * alpha * colour
        left *= 1 - alpha
    goal = np.clip(goal / np.maximum(left, 1e-3), 0, 255)
    room = np.where(goal > behind, 255 - behind, behind)
    least = (np.abs(goal - behind) / np.maximum(room, 1)).max(axis=1, keepdims=True)
    alpha = np.clip(np.maximum(np.ceil(255 * least) / 255, alphas[place]), 1 / 255, 1)
    colour = np.clip(behind + (goal - behind) / alpha, 0, 255)
    return np.round(np.concatenate([colour, 255 * alpha], axis=1)).astype(np.uint8)


def _seen(layers: Bytes) -> NDArray[np.float32]:
    """Return which share of each pixel shows each layer. (layers x rows x width)"""
    seen: NDArray[np.float32] = np.divide(layers[..., 3], 255, dtype=np.float32)
    left = np.ones_like(seen[0])
    for place in range(len(seen) - 1, -1, -1):
        alpha = seen[place].copy()
        seen[place] *= left
        left *= 1 - alpha
    return seen
