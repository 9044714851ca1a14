"""The letters of watermarks: which font has all of them."""

import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

OWN_FONT = Path(__file__).with_name("watermark.ttf")
"""Font that comes with the server, for the European languages (licence: watermark.txt)."""
_TRIED_SIZE = 24
_NO_LETTER = "\U0010ffff"  # in no font, so it shows the glyph of letters that are missing (.notdef)
_INVISIBLE = {"Cf", "Zs", "Zl", "Zp", "Cc"}
_MOST_SHOWN = 8


def font_for(text: str, named: Path | None, size: float) -> ImageFont.FreeTypeFont:
    """Return the operator's font, or else the server's own, whichever has all letters of the text.

    Raises ValueError that names the missing letters, or where the operator's font cannot be read.
    """
    fonts = [each for each in (named, OWN_FONT) if each is not None]
    missing = [_missing(text, _opened(file, _TRIED_SIZE)) for file in fonts]
    for file, letters in zip(fonts, missing, strict=True):
        if not letters:
            return _opened(file, size)
    shown = " ".join(min(missing, key=len)[:_MOST_SHOWN])
    raise ValueError(
        f"no font of this server has the watermark's {shown} ; leave that out, or have the operator name a font in "
        "STUDIO_FONT that has it"
    )


def _missing(text: str, font: ImageFont.FreeTypeFont) -> list[str]:
    """Return the letters that the font shows as it shows any that it has not."""
    none = _drawn(font, _NO_LETTER)
    letters = dict.fromkeys(each for each in text if unicodedata.category(each) not in _INVISIBLE)
    return [each for each in letters if _drawn(font, each) == none]


def _drawn(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@lru_cache(maxsize=16)
def _opened(file: Path, size: float) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(str(file), size)
    except OSError as error:
        raise ValueError("the font of STUDIO_FONT cannot be read; the operator has to correct it") from error
