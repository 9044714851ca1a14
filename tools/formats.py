"""Formats of files by their first bytes, whatever name or type came along."""

import re
from collections.abc import Sequence

_TAKEN: Sequence[tuple[str, str]] = (
    (r"\x89PNG\r\n\x1a\n", "image/png"),
    (r"\xff\xd8\xff", "image/jpeg"),
    (r"RIFF.{4}WEBP", "image/webp"),
    (r"GIF8[79]a", "image/gif"),
    (r"BM.{4}\0{4}", "image/bmp"),
    (r"II\*\0|MM\0\*|II\+\0|MM\0\+", "image/tiff"),
    (r".{4}ftyp(?:avif|avis)", "image/avif"),
    (r".{4}ftyp(?:hei[cxms]|hev[cx]|mif1|msf1)", "image/heic"),
)
"""Patterns of the formats that the server reads, and their media types."""

_REFUSED: Sequence[tuple[str, str, str]] = (
    (r"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*(?i:<svg\b)", "an SVG drawing",
     "Export it as PNG"),
    (r"%PDF-", "a PDF document", "Export the page as PNG"),
    (r"8BPS", "a Photoshop file", "Export it as PNG"),
    (r"\0\0\x01\0", "an icon file (ICO)", "Save it as PNG"),
    (r"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture", "Save it as PNG or JPEG"),
    (r"\xff\x4f\xff\x51|\0\0\0\x0cjP  ", "a JPEG 2000 picture", "Save it as PNG or JPEG"),
    (r".{4}ftyp|\x1a\x45\xdf\xa3", "a video", "Send a frame of it as PNG or JPEG"),
    (r"PK\x03\x04", "a ZIP archive or an office document", "Send the pictures themselves"),
)  # fmt: skip
"""Patterns of formats that are not read: their names, and what to do."""


def media_type(content: bytes) -> str | None:
    """Return the media type of an image that the server reads; None for any other content."""
    return next((kind for pattern, kind in _TAKEN if _begins(pattern, content)), None)


def suffix(kind: str) -> str:
    """Return the suffix of a file of a media type, without the dot."""
    return kind.removeprefix("image/")


def refusal_of(content: bytes, what: str) -> str:
    """Return why a content of a known format is refused and what to do; empty where the format is unknown."""
    for pattern, name, remedy in _REFUSED:
        if _begins(pattern, content):
            return f"{what} is {name}, which is not read. {remedy}, and send that."
    return ""


def _begins(pattern: str, content: bytes) -> bool:
    return re.match(pattern.encode("latin-1"), content[:1024], re.DOTALL) is not None
