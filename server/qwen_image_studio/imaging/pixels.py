"""Opened pictures brought into one form or size."""

from PIL import Image, ImageOps


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
