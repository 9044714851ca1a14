"""Adjustments of a picture, made with Pillow instead of a model."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps, ImageStat

from qwen_image_studio.contract.adjustments import (
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
from qwen_image_studio.imaging.adjustments import crop_box, new_size, of_adjustment, turned_size
from qwen_image_studio.imaging.letters import font_for

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
    """Make the adjustments of a picture one after the other; an RGBA picture keeps its transparency.

    `font` is for watermarks in letters that our own font has not.

    `report` is told how many are done, and may raise. Raises StudioError ``invalid_value`` for an adjustment that this
    picture does not allow; `check_adjustments` finds most of these without the pixels.
    """
    for number, one in enumerate(adjustments):
        report(number)
        with of_adjustment(number):
            picture = _adjusted(picture, one, font)
    return picture


def _adjusted(picture: Image.Image, one: Adjustment, font: Path | None) -> Image.Image:
    match one:
        case Crop():
            return picture.crop(crop_box(one, picture.size))
        case Resize():
            return picture.resize(new_size(one, picture.size), Image.Resampling.LANCZOS)
        case Rotate():
            return _rotated(picture, one.degrees)
        case Flip():
            return ImageOps.mirror(picture) if one.axis == "horizontal" else ImageOps.flip(picture)
        case Tone():
            return _recoloured(picture, lambda plain: _toned(plain, one, picture))
        case Hue():
            return _recoloured(picture, lambda plain: _turned_hue(plain, one.degrees))
        case Grayscale():
            return _recoloured(picture, lambda plain: ImageOps.grayscale(plain).convert("RGB"))
        case Blur():
            return _blurred(picture, one.radius)
        case Watermark():
            return _marked(picture, one, font)


def _recoloured(picture: Image.Image, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Change the colours, and leave the alpha as it is."""
    changed = change(picture.convert("RGB"))
    if picture.mode == "RGBA":
        changed.putalpha(picture.getchannel("A"))
    return changed


def _toned(plain: Image.Image, one: Tone, picture: Image.Image) -> Image.Image:
    if one.do == "contrast" and picture.mode == "RGBA":  # what nobody sees must not count in the mean
        seen = ImageStat.Stat(plain.convert("L"), picture.getchannel("A").point(lambda alpha: 255 * (alpha > 0)))
        middle = round(seen.mean[0]) if seen.count[0] else 128
        return Image.blend(Image.new("RGB", plain.size, (middle, middle, middle)), plain, one.factor)
    return _TONES[one.do](plain).enhance(one.factor)


def _blurred(picture: Image.Image, radius: float) -> Image.Image:
    if picture.mode == "RGB":
        return picture.filter(ImageFilter.GaussianBlur(radius))
    # With colours weighted by their alpha, nothing shines through from where the picture is clear.
    return picture.convert("RGBa").filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")


def _rotated(picture: Image.Image, degrees: float) -> Image.Image:
    turned = degrees % 360
    if turned == 0:
        return picture.copy()
    if turned in _RIGHT_ANGLES:
        return picture.transpose(_RIGHT_ANGLES[int(turned)])
    turned_size(degrees, picture.size)
    fill = (255, 255, 255) if picture.mode == "RGB" else (255, 255, 255, 0)
    return picture.rotate(-turned, Image.Resampling.BICUBIC, expand=True, fillcolor=fill)


def _turned_hue(picture: Image.Image, degrees: float) -> Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    shift = round(degrees / 360 * 256)
    return Image.merge("HSV", (hue.point([(one + shift) % 256 for one in range(256)]), saturation, value)).convert(
        "RGB"
    )


def _marked(picture: Image.Image, one: Watermark, font_file: Path | None) -> Image.Image:
    size = max(10, min(picture.size) // 16)
    while True:
        font = font_for(one.text, font_file, size)
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
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert(picture.mode)
