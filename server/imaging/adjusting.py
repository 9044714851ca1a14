"""Adjustments of a picture with Pillow: what the light path does instead of a model."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from server.adjustments import (
    Adjustment,
    Blur,
    Crop,
    Flip,
    Grayscale,
    Hue,
    Position,
    Resize,
    Rotate,
    Tone,
    Watermark,
)
from server.errors import StudioError
from server.imaging.opening import MAX_INPUT_ASPECT, MIN_INPUT_SIDE
from server.vocabulary import MAX_SIDE, OutputFormat

MAX_WEBP_SIDE = 16383

_TONES: dict[str, Callable[[Image.Image], ImageEnhance._Enhance]] = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}
_RIGHT_ANGLES = {
    90: Image.Transpose.ROTATE_270,  # Pillow counts the other way round
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


def adjust(
    picture: Image.Image,
    adjustments: Sequence[Adjustment],
    font: Path | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> Image.Image:
    """Make the changes one after the other, on an RGB picture. `font` is for watermarks beyond Latin letters.

    `report` hears how many are done, and may raise. Raises StudioError ``invalid_value`` for a change that this picture
    does not allow; see `check_adjustments`, which finds most of them without the pixels.
    """
    for number, one in enumerate(adjustments):
        report(number)
        with _named(number):
            picture = _adjusted(picture, one, font)
    return picture


def check_adjustments(
    size: tuple[int, int], adjustments: Sequence[Adjustment], output_format: OutputFormat, *, has_font: bool
) -> None:
    """Raise StudioError ``invalid_value`` for what cannot be done with an image of that size."""
    for number, one in enumerate(adjustments):
        with _named(number):
            size = _size_after(one, size)
            if isinstance(one, Watermark) and not has_font:
                _refuse_letters(one.text)
    width, height = size
    if min(size) < MIN_INPUT_SIDE or max(size) > MAX_INPUT_ASPECT * min(size):
        message = f"the result would be {width}x{height}; it must have sides of {MIN_INPUT_SIDE} and at most 20:1"
        raise StudioError("invalid_value", f"adjustments: {message}.", param="adjustments")
    if output_format is OutputFormat.WEBP and max(size) > MAX_WEBP_SIDE:
        message = f"output_format: WebP holds {MAX_WEBP_SIDE} pixels a side, and the result has {max(size)}; use png."
        raise StudioError("invalid_value", message, param="output_format")


@contextmanager
def _named(number: int) -> Iterator[None]:
    """Tell of which adjustment a ValueError is."""
    try:
        yield
    except ValueError as error:
        param = f"adjustments[{number}]"
        raise StudioError("invalid_value", f"{param}: {error}.", param=param) from error


def _size_after(one: Adjustment, size: tuple[int, int]) -> tuple[int, int]:
    if isinstance(one, Crop):
        left, top, right, bottom = _crop_box(one, size)
        return right - left, bottom - top
    if isinstance(one, Resize):
        return _new_size(one, size)
    if isinstance(one, Rotate):
        return _turned_size(one.degrees, size)
    return size


def _adjusted(picture: Image.Image, one: Adjustment, font: Path | None) -> Image.Image:
    match one:
        case Crop():
            return picture.crop(_crop_box(one, picture.size))
        case Resize():
            return picture.resize(_new_size(one, picture.size), Image.Resampling.LANCZOS)
        case Rotate():
            return _rotated(picture, one.degrees)
        case Flip():
            return ImageOps.mirror(picture) if one.axis == "horizontal" else ImageOps.flip(picture)
        case Tone():
            return _TONES[one.do](picture).enhance(one.factor)
        case Hue():
            return _turned_hue(picture, one.degrees)
        case Grayscale():
            return ImageOps.grayscale(picture).convert("RGB")
        case Blur():
            return picture.filter(ImageFilter.GaussianBlur(one.radius))
        case Watermark():
            return _marked(picture, one, font)


def _crop_box(one: Crop, size: tuple[int, int]) -> tuple[int, int, int, int]:
    width, height = size
    if one.region is not None:
        return one.region.box(size)
    if one.aspect_ratio is not None:
        across, down = (int(side) for side in one.aspect_ratio.split(":"))
        wide = min(width, max(1, round(height * across / down)))
        high = min(height, max(1, round(width * down / across)))
    else:
        wide, high = int(one.width or 0), int(one.height or 0)
        if wide > width or high > height:
            raise ValueError(
                f"the image is {width}x{height}, too small to cut {wide}x{high} out of it; resize it first"
            )
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def _new_size(one: Resize, size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    if one.scale is not None:
        wanted = round(width * one.scale), round(height * one.scale)
    else:
        scale = (one.width or 0) / width or (one.height or 0) / height
        wanted = one.width or round(width * scale), one.height or round(height * scale)
    if not all(1 <= side <= max(MAX_SIDE, before) for side, before in zip(wanted, size, strict=True)):
        raise ValueError(f"the result would be {wanted[0]}x{wanted[1]}; each side must be 1 to {MAX_SIDE} pixels")
    return wanted


def _turned_size(degrees: float, size: tuple[int, int]) -> tuple[int, int]:
    turned, (width, height) = degrees % 360, size
    if turned % 90 == 0:
        return (height, width) if turned % 180 else size
    angle = math.radians(turned)
    across, down = abs(math.cos(angle)), abs(math.sin(angle))
    grown = math.ceil(across * width + down * height), math.ceil(across * height + down * width)
    if max(grown) > MAX_SIDE:
        raise ValueError(f"the turned image would be larger than {MAX_SIDE} pixels; resize it first")
    return grown


def _rotated(picture: Image.Image, degrees: float) -> Image.Image:
    turned = degrees % 360
    if turned == 0:
        return picture.copy()
    if turned in _RIGHT_ANGLES:
        return picture.transpose(_RIGHT_ANGLES[int(turned)])
    _turned_size(degrees, picture.size)
    return picture.rotate(-turned, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255))


def _turned_hue(picture: Image.Image, degrees: float) -> Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    shift = round(degrees / 360 * 256)
    return Image.merge("HSV", (hue.point([(one + shift) % 256 for one in range(256)]), saturation, value)).convert(
        "RGB"
    )


def _marked(picture: Image.Image, one: Watermark, font_file: Path | None) -> Image.Image:
    size = max(10, min(picture.size) // 16)
    while True:
        font = _font(font_file, size, one.text)
        edge = max(1, size // 16)
        draw = ImageDraw.Draw(Image.new("L", (1, 1)))
        left, top, right, bottom = draw.textbbox((0, 0), one.text, font, stroke_width=edge)
        if right - left <= picture.width * 0.9 or size <= 8:
            break
        size = max(8, size * 9 // 10)
    margin = max(2, size // 2)
    across = {"left": margin, "right": picture.width - (right - left) - margin}
    down = {"top": margin, "bottom": picture.height - (bottom - top) - margin}
    if one.position is Position.CENTER:
        x, y = (picture.width - (right - left)) / 2, (picture.height - (bottom - top)) / 2
    else:
        vertical, horizontal = one.position.value.split("_")
        x, y = across[horizontal], down[vertical]
    layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    alpha = round(255 * one.opacity)
    ImageDraw.Draw(layer).text(
        (x - left, y - top), one.text, (255, 255, 255, alpha), font, stroke_width=edge, stroke_fill=(0, 0, 0, alpha)
    )
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def _font(file: Path | None, size: int, text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if file is not None:
        try:
            return ImageFont.truetype(str(file), size)
        except OSError as error:
            raise ValueError("the font of STUDIO_FONT cannot be read; the operator has to correct it") from error
    _refuse_letters(text)
    return ImageFont.load_default(size)


def _refuse_letters(text: str) -> None:
    """Pillow's own font has Latin letters and common signs."""
    if any(ord(letter) > 0x24F and not 0x2010 <= ord(letter) <= 0x2122 for letter in text):
        raise ValueError(
            "this server has no font for the watermark's letters; the operator can name one in STUDIO_FONT"
        )
