"""Small pictures to send and to paint from, and what tells two apart."""

import hashlib
from io import BytesIO
from typing import Any

from PIL import Image


def png(width: int = 32, height: int = 24, colour: str = "red") -> bytes:
    """A small picture's bytes."""
    buffer = BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """A picture's bytes in a format of Pillow's."""
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def picture(colour: str = "red", size: tuple[int, int] = (64, 64)) -> Image.Image:
    """A picture with a corner of another colour, so that turning it shows."""
    image = Image.new("RGB", size, colour)
    image.paste("white", (0, 0, size[0] // 2, size[1] // 4))
    return image


def digest(image: Image.Image) -> str:
    """SHA-256 of mode, size and pixels."""
    return hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).hexdigest()
