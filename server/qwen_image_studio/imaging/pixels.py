"""Opened pictures brought into one form or size, and told from one another."""

import hashlib

from PIL import Image

_OPAQUE = 240
"""Least alpha, of 255, through which nobody sees anything."""
_SEEN_SHARE = 0.001
_HASHED_BYTES = 1 << 20  # of rows that are hashed at once


def on_white(image: Image.Image) -> Image.Image:
    """Return the image in RGB, with transparency laid on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def is_see_through(image: Image.Image) -> bool:
    """Return whether something shows through a picture: in a thousandth of its pixels at least.

    A VAE brings back the alpha of an opaque picture some levels short of 255.
    """
    if image.mode != "RGBA":
        return False
    return sum(image.getchannel("A").histogram()[:_OPAQUE]) >= _SEEN_SHARE * image.width * image.height


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the image at exactly that size."""
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def digest(image: Image.Image) -> str:
    """Return the SHA-256 of the pixels of an image in L, RGB or RGBA, with its mode and size, in hex."""
    total = hashlib.sha256(f"{image.mode} {image.width}x{image.height} ".encode())
    rows = max(1, _HASHED_BYTES // (image.width * len(image.getbands())))
    for top in range(0, image.height, rows):  # not all at once, since a picture may be large
        total.update(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes())
    return total.hexdigest()
