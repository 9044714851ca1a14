"""What a file may ask of a decoder, counted in its bytes before anything is decoded.

A small file can be made of so many pieces that a reader's loop over them takes minutes. Each count here stops at its
limit, so that no file costs more than some milliseconds to be refused.
"""

import re
import struct
from collections.abc import Iterator

from qwen_image_studio.imaging.formats import unsupported

MAX_PNG_CHUNKS = 20_000
"""Chunks of a PNG; one of 50 megapixels has some thousand."""
MAX_PNG_NOTES = 64
"""Compressed texts and profiles of a PNG, each of which may be unpacked into a megabyte."""
MAX_JPEG_SEGMENTS = 2000
"""Segments of a JPEG; a profile and a long XMP packet take some hundred."""
MAX_JPEG_STRAY = 1000
"""Bytes of a JPEG between two segments of its header that belong to none."""
MAX_JPEG_SCANS = 100  # cameras and editors write about ten; each scan costs a pass over the whole picture
MAX_SCANNED_PIXELS = 600_000_000
"""Scans of a JPEG, times its pixels: twelve passes over 50 megapixels."""
MAX_GIF_BLOCKS = 10_000
"""Blocks of a GIF before its first frame."""
_COUNTED_GIF_BLOCKS = 200_000
_MAX_TIFF_PAGES = 1000

# ITU-T T.81 B.1.1: within the coded data FF is followed by 00 or a restart marker, so the next other marker ends it.
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_JPEG_FILL = re.compile(rb"[^\xff]*\xff+")
_JPEG_PLAIN = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BMP_RUNS = {1, 2}


def check_bounds(data: bytes, name: str, param: str) -> int:
    """Return how many times a decoder goes over the picture: the scans of a JPEG, 1 for any other format.

    Raises StudioError ``unsupported_image`` where decoding the file would cost out of all proportion.
    """
    if name == "PNG":
        _check_png(data, param)
    elif name == "JPEG":
        _check_jpeg_header(data, param)
        return _jpeg_scans(data, param)
    elif name == "GIF":
        _check_gif(data, param)
    elif name == "BMP" and len(data) >= 34 and int.from_bytes(data[30:34], "little") in _BMP_RUNS:
        raise unsupported(param, "is a BMP with run-length encoding, which is not taken. Save it as PNG.")
    return 1


def frames(data: bytes, name: str) -> int:
    """Return the number of frames or pages of a PNG, GIF or TIFF; 1 where that cannot be told."""
    try:
        if name == "PNG":
            animated = next((start for kind, start, _ in png_chunks(data) if kind == b"acTL"), None)
            return 1 if animated is None else max(1, int.from_bytes(data[animated : animated + 4]))
        if name == "GIF":
            return max(1, sum(is_frame for is_frame in _gif_blocks(data)))
        return _tiff_pages(data) if name == "TIFF" else 1
    except (struct.error, IndexError):
        return 1


# -- PNG -----------------------------------------------------------------------------------------------------------


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, first byte and length of each chunk of a PNG, one chunk more than are taken at most."""
    position = 8
    for _ in range(MAX_PNG_CHUNKS + 1):
        if position + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, position + 8, length
        position += 12 + length


def png_notes(data: bytes) -> int:
    """Return the number of compressed texts and profiles of a PNG."""
    return sum(name in {b"zTXt", b"iTXt", b"iCCP"} for name, _, _ in png_chunks(data))


def _check_png(data: bytes, param: str) -> None:
    if sum(1 for _ in png_chunks(data)) > MAX_PNG_CHUNKS:
        raise unsupported(param, f"is a PNG of more than {MAX_PNG_CHUNKS} chunks. Save it again as a plain PNG.")
    if png_notes(data) > MAX_PNG_NOTES:
        raise unsupported(param, f"is a PNG with more than {MAX_PNG_NOTES} texts. Save it again without its metadata.")


# -- JPEG ----------------------------------------------------------------------------------------------------------


def _check_jpeg_header(data: bytes, param: str) -> None:
    """Refuse what lies between the segments before the first scan, and too many of these."""
    position, stray = 2, 0
    for _ in range(MAX_JPEG_SEGMENTS):
        filled = _JPEG_FILL.match(data, position, position + MAX_JPEG_STRAY)
        if filled is None or filled.end() >= len(data):
            if len(data) - position > MAX_JPEG_STRAY:
                break
            return  # cut off, which its reader says
        stray += filled.end() - position - 1
        if stray >= MAX_JPEG_STRAY - 1:
            break
        code = data[filled.end()]
        if code in {0xDA, 0xD9}:
            return
        length = 0 if code in _JPEG_PLAIN or code == 0 else int.from_bytes(data[filled.end() + 1 : filled.end() + 3])
        position = filled.end() + 1 + length
    raise unsupported(
        param,
        f"is a JPEG with more than {MAX_JPEG_SEGMENTS} segments, or filled up between them. Save it as a plain JPEG.",
    )


def _jpeg_scans(data: bytes, param: str) -> int:
    """Return the number of scans of a JPEG.

    Raises StudioError ``unsupported_image`` for more than 100, or for so many over so many pixels: a small file of them
    can keep a processor busy for minutes.
    """
    position = scans = segments = pixels = 0
    while segments <= MAX_JPEG_SEGMENTS and (marker := _JPEG_MARKER.search(data, position)):
        code = data[marker.end() - 1]
        if code == 0xD9:
            break
        scans += code == 0xDA
        segments += 1
        if code in _FRAMES:
            height, width = (int.from_bytes(data[marker.end() + at : marker.end() + at + 2]) for at in (3, 5))
            pixels = max(pixels, height * width)
        length = 0 if code in _JPEG_PLAIN else int.from_bytes(data[marker.end() : marker.end() + 2])
        position = marker.end() + length
    if scans > MAX_JPEG_SCANS or segments > MAX_JPEG_SEGMENTS:
        raise unsupported(param, f"is a JPEG of more than {MAX_JPEG_SCANS} scans. Save it again as a plain JPEG.")
    if scans > 1 and scans * pixels > MAX_SCANNED_PIXELS:
        raise unsupported(
            param,
            f"is a JPEG of {scans} scans, too many for its {pixels / 1e6:.0f} megapixels. Save it as a plain JPEG.",
        )
    return scans


# -- GIF and TIFF --------------------------------------------------------------------------------------------------


def _gif_blocks(data: bytes) -> Iterator[bool]:
    """Yield each block of a GIF, and within one each run of its bytes: whether it is the beginning of a frame."""
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    left = _COUNTED_GIF_BLOCKS
    while position < len(data) and left > 0:
        kind = data[position]
        if kind == 0x3B:
            return
        if kind == 0x2C:
            flags = data[position + 9]
            position += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        else:
            position += 2 if kind == 0x21 else 1
        yield kind == 0x2C
        left -= 1
        if kind not in {0x21, 0x2C}:
            continue
        while position < len(data) and (length := data[position]) and left > 0:
            position += 1 + length
            left -= 1
            yield False
        position += 1


def _check_gif(data: bytes, param: str) -> None:
    try:
        for count, is_frame in enumerate(_gif_blocks(data)):
            if is_frame:
                return
            if count > MAX_GIF_BLOCKS:
                break
        else:
            return
    except IndexError:  # cut off, which its reader says
        return
    raise unsupported(param, f"is a GIF of more than {MAX_GIF_BLOCKS} blocks before its first frame. Save it as PNG.")


def _tiff_pages(data: bytes) -> int:
    order = "<" if data[:2] == b"II" else ">"
    (place,) = struct.unpack_from(f"{order}I", data, 4)
    seen: set[int] = set()
    while place and place not in seen and len(seen) < _MAX_TIFF_PAGES:
        seen.add(place)
        (entries,) = struct.unpack_from(f"{order}H", data, place)
        (place,) = struct.unpack_from(f"{order}I", data, place + 2 + 12 * entries)
    return max(1, len(seen))
