"""Opened pictures brought into one form or size, and told from one another."""

import hashlib

from PIL import Image, ImageOps

_HASHED_BYTES = 1 << 20  # of rows that are hashed at once


def upright(image: Image.Image) -> Image.Image:
    """Return the image turned as its EXIF says, in RGB, with transparency laid on white."""
    return on_white(ImageOps.exif_transpose(image))


def on_white(image: Image.Image) -> Image.Image:
    """Return the image in RGB, with transparency laid on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


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
