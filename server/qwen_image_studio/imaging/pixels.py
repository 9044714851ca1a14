"""Opened pictures brought into one form or size."""

from PIL import Image, ImageOps


def upright(image: Image.Image) -> Image.Image:
    """Return the image turned as its EXIF says, in RGB, with transparency laid on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the image at exactly that size."""
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
