"""What a model says of layers, held against the picture: where things end, and which layer has what.

A picture says more than a model brings back. Where it looks like the background that the model sees behind everything,
nothing lies before it; where it does not, something does. So near the edges that the model gives, edges are those of
the picture. And what two layers claim, such as an object that the model has painted twice, remains in one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

REACH = 8
"""How far from a model's edge the picture's is looked for, in painted pixels: the side of a latent."""
SAME, RISE, UNTOLD = 10, 30, 60
"""Difference from the background, in levels of 255, up to which a pixel is background where the model has that exactly;
how much more it is where it is certainly not; and the model's own error from which pictures tell nothing.
"""
RIM, OTHER = 3, 60
"""How far within a rim pixel its thing's own colour is looked for, in painted pixels, and the least difference of that
colour from the background.
"""
BLUR = 3.0
"""How far around, in painted pixels, it is asked which layer is meant."""
GAP = 3
"""How far apart, in painted pixels, parts of one thing may be, by half."""
CLAIMED, IGNORED = 0.6, 0.25
"""Share of a thing from which a layer claims it, and up to which it has a trace of it."""
SPECK = 24
"""Least area of a thing, in painted pixels."""
WITHIN = 0.7
"""Share of what a layer has of a thing from which it lies within what the thing's owner has."""


def told_apart(picture: Bytes, layers: Bytes) -> Bytes:
    """Return layers (layers x height x width x 4, the background first) with the alpha that the picture tells
    (height x width x 4), both at the size at which they were painted. Only where the picture is opaque.
    """
    alphas: Floats = np.divide(layers[1:, ..., 3], 255, dtype=np.float32)
    opaque = picture[..., 3] == 255
    cover = _cover(picture, layers[0], alphas, opaque)
    told = _one_owner(alphas, cover)
    made = layers.copy()
    made[1:, ..., 3] = np.where(opaque, np.round(255 * told), made[1:, ..., 3])
    return made


def _cover(picture: Bytes, ground: Bytes, alphas: Floats, opaque: Mask) -> Floats:
    """Return how far each pixel is covered by anything before the background, 0 to 1."""
    cover: Floats = 1 - np.prod(1 - alphas, axis=0)
    there = (cover > 0.5).astype(np.uint8)
    width = 2 * REACH + 1
    near = (ndimage.maximum_filter(there, width) != ndimage.minimum_filter(there, width)) & opaque
    off = np.abs(picture[..., :3].astype(np.int16) - ground[..., :3]).max(axis=2)
    open_ground = (ndimage.maximum_filter(there, width) == 0) & opaque
    error = 1.5 * float(np.percentile(off[open_ground], 95)) if open_ground.any() else 0.0
    if error > UNTOLD:
        return cover
    seen = np.clip((off - max(error, SAME)) / np.float32(RISE), 0, 1)
    told = np.where(near, seen, cover).astype(np.float32)
    return _softened(picture[..., :3].astype(np.float32), ground[..., :3].astype(np.float32), told, near)


def _softened(picture: Floats, ground: Floats, cover: Floats, near: Mask) -> Floats:
    """Return the cover with soft rims: of a thing's outermost pixels, as much as their colour is that of the thing
    further in, and not the background's.
    """
    covered = cover > 0.5
    inner = ndimage.binary_erosion(covered, iterations=2, border_value=1)
    if not inner.any():
        return cover
    far, (rows, columns) = ndimage.distance_transform_edt(~inner, return_indices=True)
    towards = picture[rows, columns] - ground
    length = np.square(towards).sum(axis=2)
    share = ((picture - ground) * towards).sum(axis=2) / np.maximum(length, 1)
    rim = covered & ~ndimage.binary_erosion(covered, border_value=1) & near & (far <= RIM) & (length > OTHER**2)
    return np.where(rim, np.clip(share, 0, 1), cover).astype(np.float32)


def _one_owner(alphas: Floats, cover: Floats) -> Floats:
    """Return the layers' alpha such that they cover what is covered, and that no thing is in two of them."""
    told = _nearest(alphas, cover)
    things = _things(alphas, cover)
    owners = _owners(things)
    for number, owner in owners.items():
        thing = things[number]
        busy = {layer for other, layer in owners.items() if other != number}
        for layer in set(range(len(alphas))) - {owner}:
            _settle(thing, layer, owner, told[:, *thing.box], cover[thing.box], is_busy=layer in busy)
    return told


@dataclass(frozen=True)
class _Thing:
    """A part of the picture before the background that hangs together."""

    box: tuple[slice, slice]
    here: Mask
    """Where it is in its box."""
    alphas: Floats
    """The layers' alpha in its box, as the model has it."""
    claims: Floats
    """Share of it that each layer has."""


def _things(alphas: Floats, cover: Floats) -> list[_Thing]:
    """Return what is before the background, from left to right; specks are left out."""
    covered = cover > 0.5
    apart, _ = ndimage.label(ndimage.binary_dilation(covered, iterations=GAP), np.ones((3, 3)))
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(apart), 1):
        box = rows, columns
        here = apart[box] == number
        inside = here & covered[box]
        if inside.sum() >= SPECK:
            part = alphas[:, *box]
            found.append(_Thing(box, here, part, part[:, inside].mean(axis=1)))
    return sorted(found, key=lambda thing: thing.box[1].start)


def _owners(things: Sequence[_Thing]) -> dict[int, int]:
    """Return which layer each thing is in that a layer claims: one for which there is a choice, in that which has
    least.
    """
    owners: dict[int, int] = {}
    for number in sorted(range(len(things)), key=lambda one: int((things[one].claims >= CLAIMED).sum())):
        claiming = np.flatnonzero(things[number].claims >= CLAIMED).tolist()
        having = list(owners.values())
        if claiming:
            owners[number] = min(claiming, key=lambda layer: (having.count(layer), layer))
    return owners


def _settle(thing: _Thing, layer: int, owner: int, told: Floats, cover: Floats, *, is_busy: bool) -> None:
    """Leave a thing to its owner, or to another layer the part of it that this alone can mean; `told` and `cover` are
    those of its box.
    """
    claim, part = thing.claims[layer], thing.alphas[layer]
    is_trace = claim <= IGNORED or claim >= CLAIMED
    common = np.minimum(part, thing.alphas[owner])[thing.here].sum()
    is_within = common >= WITHIN * part[thing.here].sum()
    shown = thing.here & (told[layer] > 0)
    if is_trace or (is_within and (is_busy or layer < owner)):
        told[owner][shown] = np.maximum(told[owner], cover)[shown]
        told[layer][thing.here] = 0
    elif is_within:
        told[owner][shown] = 0


def _nearest(alphas: Floats, cover: Floats) -> Floats:
    """Return the layers' alpha with that of the layer that is seen made to cover what is covered."""
    left, seen = np.ones_like(cover), np.empty_like(alphas)
    for place in range(len(alphas) - 1, -1, -1):
        seen[place] = ndimage.gaussian_filter(alphas[place] * left, BLUR)
        left = left * (1 - alphas[place])
    front = seen.argmax(axis=0)
    order = np.arange(len(alphas))[:, None, None]
    told = np.where(order < front, np.minimum(alphas, (cover > 0.5)), 0).astype(np.float32)
    np.put_along_axis(told, front[None], cover[None], axis=0)
    return told
