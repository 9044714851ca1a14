"""The label of what a model paints: whom the file's metadata names as its producer, and the mark that people see.

GB 45438-2025 asks of a visible label on a picture that it stands at an edge or in a corner, is clearly legible, and has
letters whose height is at least 5 % of the picture's shorter side.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from qwen_image_studio.imaging.letters import font_for
from qwen_image_studio.imaging.origin import PRODUCER
from qwen_image_studio.settings import Settings

LEAST_SHARE = 0.05
"""Least height of the mark's letters, as a share of the picture's shorter side."""
LEAST_PX = 7
"""Least height of the letters in pixels, below which nobody can read them."""
SHORT = "AI"
"""The mark where no font has the letters of the operator's, or the picture has no room for it."""
_PAPER, _INK = (24, 24, 24, 255), (255, 255, 255, 255)
_TRIED_PX = 100


@dataclass(frozen=True)
class Label:
    """How this server's painted pictures are labelled."""

    producer: str = PRODUCER
    mark: str = ""
    """Text of the visible mark; empty for none."""
    font: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Label":
        """Return the operator's label; its mark is in letters that there are."""
        mark, font = settings.mark.strip(), settings.font
        if mark and not _has(SHORT, font):  # it cannot be read
            font = None
        return cls(settings.label_producer, SHORT if mark and lacking(settings) else mark, font)

    def on(self, image: Image.Image) -> Image.Image:
        """Return a painted picture (RGB or RGBA) with the mark in its lower right corner, or itself without a mark.

        It covers what is under it, so a picture that bears it already stays as it is.
        """
        return self._drawn(image) if self.mark else image

    def _drawn(self, image: Image.Image) -> Image.Image:
        high = max(LEAST_PX, math.ceil(LEAST_SHARE * min(image.size)))
        text, font = self.mark, self._font(self.mark, high)
        pad = max(1, high // 3)
        if font.getbbox(text)[2] + 4 * pad > image.width:
            text, font = SHORT, self._font(SHORT, high)
        left, top, right, bottom = font.getbbox(text)
        width, height = round(right - left) + 2 * pad, round(bottom - top) + 2 * pad
        x, y = image.width - width - pad, image.height - height - pad
        marked = image.copy()
        draw = ImageDraw.Draw(marked)
        channels = len(image.getbands())
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=_PAPER[:channels])
        draw.text((x + pad - left, y + pad - top), text, fill=_INK[:channels], font=font)
        return marked

    def _font(self, text: str, high: int) -> ImageFont.FreeTypeFont:
        """Return a font in which the text is at least so many pixels high."""
        _, top, _, bottom = font_for(text, self.font, _TRIED_PX).getbbox(text)
        size = high * _TRIED_PX / max(1, bottom - top)
        while True:
            font = font_for(text, self.font, round(size))
            _, top, _, bottom = font.getbbox(text)
            if bottom - top >= high:
                return font
            size += 1


def lacking(settings: Settings) -> str | None:
    """Return a sentence where no font of this server has all letters of STUDIO_MARK."""
    mark = settings.mark.strip()
    if not mark or _has(mark, settings.font):
        return None
    return (
        f"STUDIO_MARK: no font of this server has all letters of '{mark}', so pictures are marked '{SHORT}'; name a "
        "font in STUDIO_FONT that has them"
    )


def _has(text: str, font: Path | None) -> bool:
    try:
        font_for(text, font, _TRIED_PX)
    except ValueError:
        return False
    return True
