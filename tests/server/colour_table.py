"""Small files of every mode, depth, profile, format and kind of transparency, each with the colour that is right.

What is right is worked out here from the standards, with none of the product's code: PNG (third edition), ICC.1, ITU-T
H.273, ITU-R BT.2100, IEC 61966-2-1. ``python -m tests.server.colour_table`` prints the table of docs/pictures.md.
"""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
Colour = tuple[int, int, int, int]
Curve = Callable[[float], float]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One file."""

    name: str
    data: bytes
    right: Colour
    """Red, green, blue and alpha of every pixel."""
    shown: str
    """What is done with it, for people."""
    within: int = 2
    """Levels by which a result may differ: rounding, and what a lossy format loses."""


# -- what is right -------------------------------------------------------------------------------------------------

D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_xyz(primaries: Sequence[tuple[float, float]]) -> Floats:
    """The matrix from linear light in these primaries, white D65, to XYZ."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    white = np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]])
    return columns * np.linalg.solve(columns, white)


def srgb_light(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def srgb_value(light: float) -> float:
    light = min(max(light, 0.0), 1.0)
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


def pq_light(value: float) -> float:
    """SMPTE ST 2084, as a share of the 203 cd/m2 of BT.2408's white, clipped there."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = value ** (1 / m2)
    return min(1.0, float(10_000 * (max(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) / 203))


def hlg_light(value: float) -> float:
    """BT.2100 HLG on a display of 1000 cd/m2 (system gamma 1.2), channel by channel, clipped at 203 cd/m2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = value**2 / 3 if value <= 0.5 else (np.exp((value - c) / a) + b) / 12
    return min(1.0, float(1000 * scene**1.2 / 203))


def linear(value: float) -> float:
    return value


def power(exponent: float) -> Curve:
    return lambda value: value**exponent


def right(
    colour: Sequence[float], curve: Curve, primaries: Sequence[tuple[float, float]] = SRGB, alpha: int = 255
) -> Colour:
    """A colour of 0 to 255 in such a space, in sRGB."""
    light = np.array([curve(each / 255) for each in colour])
    red, green, blue = np.linalg.solve(to_xyz(SRGB), to_xyz(primaries) @ light)
    return (*(round(255 * srgb_value(float(each))) for each in (red, green, blue)), alpha)  # type: ignore[return-value]


# -- files ---------------------------------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(colour: int, depth: int, *samples: int, extra: bytes = b"") -> bytes:
    """A PNG of one colour: type 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    if depth == 16:
        row = struct.pack(f">{len(samples)}H", *samples) * SIDE
    elif depth == 8:
        row = bytes(samples) * SIDE
    else:
        row = bytes([sum(samples[0] << shift for shift in range(0, 8, depth))]) * (SIDE * depth // 8)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress((b"\0" + row) * SIDE))
    return b"\x89PNG\r\n\x1a\n" + header + extra + body + chunk(b"IEND", b"")


def icc(space: bytes, curve: Curve, primaries: Sequence[tuple[float, float]] = SRGB, name: bytes = b"table") -> bytes:
    """A profile of one curve, and for RGB of three colorants adapted to D50 (ICC.1:2001)."""
    levels = [round(65535 * min(1.0, max(0.0, curve(index / 1023)))) for index in range(1024)]
    tone = b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *levels)
    pcs = (0.9642, 1.0, 0.8249)
    described = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + b"\0" + bytes(78)
    tags = [(b"desc", described), (b"cprt", b"text\0\0\0\0none\0\0\0\0"), (b"wtpt", xyz(pcs))]
    if space == b"GRAY":
        tags.append((b"kTRC", tone))
    else:
        white = BRADFORD @ to_xyz(primaries).sum(axis=1)
        adapted = np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ np.array(pcs) / white) @ BRADFORD @ to_xyz(primaries)
        tags += [(each, xyz(adapted[:, index])) for index, each in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
        tags += [(each, tone) for each in (b"rTRC", b"gTRC", b"bTRC")]
    start, index, body = 132 + 12 * len(tags), b"", b""
    for tag, content in tags:
        content += bytes(-len(content) % 4)
        index += tag + struct.pack(">II", start + len(body), len(content))
        body += content
    head = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x02400000, b"mntr", space, b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + xyz(pcs)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + body


def xyz(values: Sequence[float] | Floats) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(each) * 65536) for each in values))


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"table\0\0" + zlib.compress(profile))


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


def chrm(primaries: Sequence[tuple[float, float]]) -> bytes:
    numbers = [round(each * 100_000) for pair in (D65, *primaries) for each in pair]
    return chunk(b"cHRM", struct.pack(">8I", *numbers))


def cicp(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


def saved(mode: str, colour: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (SIDE, SIDE), colour).save(file, kind, **options)
    return file.getvalue()


ORANGE, GREY = (200, 120, 40), 90
PALETTE = chunk(b"PLTE", bytes([*ORANGE, 0, 0, 255]))
OPAQUE: Colour = (*ORANGE, 255)
PLAIN_GREY: Colour = (GREY, GREY, GREY, 255)
LIGHT_GREY = right([GREY] * 3, linear)
P3_ORANGE = right(ORANGE, srgb_light, P3)
_P3 = icc(b"RGB ", srgb_light, P3)
_LINEAR = icc(b"RGB ", linear, name=b"GIMP built-in Linear sRGB")
_LINEAR_GREY = icc(b"GRAY", linear)
_SRGB = icc(b"RGB ", srgb_light, name=b"anything")
CONVERTED, AS_IT_IS, KEPT = "converted to sRGB", "as it is", "alpha kept"


def rows() -> list[Row]:
    """All files."""
    return [*_modes(), *_profiles(), *_numbers(), *_formats()]


def _modes() -> list[Row]:
    deep = (200 * 257, 120 * 257, 40 * 257)
    return [
        Row("PNG grey, 1 bit", png(0, 1, 1), (255, 255, 255, 255), AS_IT_IS),
        Row("PNG grey, 2 bits", png(0, 2, 1), (85, 85, 85, 255), AS_IT_IS),
        Row("PNG grey, 4 bits", png(0, 4, 5), (85, 85, 85, 255), AS_IT_IS),
        Row("PNG grey, 8 bits", png(0, 8, GREY), PLAIN_GREY, AS_IT_IS),
        Row("PNG grey, 16 bits", png(0, 16, GREY * 257), PLAIN_GREY, "scaled to 8 bits"),
        Row("PNG grey, 2 bits, tRNS of its value", png(0, 2, 1, extra=chunk(b"tRNS", b"\0\1")), (85, 85, 85, 0), KEPT),
        Row(
            "PNG grey, 1 bit, tRNS of its value", png(0, 1, 1, extra=chunk(b"tRNS", b"\0\1")), (255, 255, 255, 0), KEPT
        ),
        Row(
            "PNG grey, 8 bits, tRNS of its value", png(0, 8, 90, extra=chunk(b"tRNS", b"\0\x5a")), (90, 90, 90, 0), KEPT
        ),
        Row("PNG grey, 8 bits, tRNS of another", png(0, 8, 90, extra=chunk(b"tRNS", b"\0\x5b")), PLAIN_GREY, "opaque"),
        Row(
            "PNG grey, 16 bits, tRNS of its value",
            png(0, 16, 90 * 257, extra=chunk(b"tRNS", struct.pack(">H", 90 * 257))),
            (90, 90, 90, 0),
            KEPT,
        ),
        Row(
            "PNG grey, 16 bits, tRNS of the next value",
            png(0, 16, 90 * 257, extra=chunk(b"tRNS", struct.pack(">H", 90 * 257 + 1))),
            PLAIN_GREY,
            "opaque: all 16 bits are compared",
        ),
        Row("PNG grey and alpha, 8 bits", png(4, 8, GREY, 128), (GREY, GREY, GREY, 128), KEPT),
        Row("PNG grey and alpha, 16 bits", png(4, 16, GREY * 257, 128 * 257), (GREY, GREY, GREY, 128), KEPT),
        Row("PNG RGB, 8 bits", png(2, 8, *ORANGE), OPAQUE, AS_IT_IS, 0),
        Row("PNG RGB, 16 bits", png(2, 16, *deep), OPAQUE, "scaled to 8 bits"),
        Row("PNG RGB, 8 bits, tRNS of its colour", png(2, 8, *ORANGE, extra=_trns(200, 120, 40)), (*ORANGE, 0), KEPT),
        Row("PNG RGB, 16 bits, tRNS of its colour", png(2, 16, *deep, extra=_trns(*deep)), (*ORANGE, 0), KEPT),
        Row(
            "PNG RGB, 16 bits, tRNS of the next colour",
            png(2, 16, *deep, extra=_trns(deep[0], deep[1], deep[2] + 1)),
            OPAQUE,
            "opaque: all 16 bits are compared",
        ),
        Row("PNG RGBA, 8 bits", png(6, 8, *ORANGE, 128), (*ORANGE, 128), KEPT, 0),
        Row("PNG RGBA, 16 bits", png(6, 16, *deep, 128 * 257), (*ORANGE, 128), KEPT),
        Row("PNG RGBA, all opaque", png(6, 8, *ORANGE, 255), OPAQUE, "as RGB", 0),
        Row("PNG palette, 8 bits", png(3, 8, 0, extra=PALETTE), OPAQUE, AS_IT_IS, 0),
        Row("PNG palette, 2 bits, tRNS", png(3, 2, 0, extra=PALETTE + chunk(b"tRNS", b"\x40")), (*ORANGE, 64), KEPT, 0),
    ]


def _trns(*colour: int) -> bytes:
    return chunk(b"tRNS", struct.pack(">3H", *colour))


def _profiles() -> list[Row]:
    return [
        Row("PNG RGB, profile Display P3", png(2, 8, *ORANGE, extra=iccp(_P3)), P3_ORANGE, CONVERTED),
        Row(
            'PNG RGB, profile called "GIMP built-in Linear sRGB"',
            png(2, 8, *ORANGE, extra=iccp(_LINEAR)),
            right(ORANGE, linear),
            "converted to sRGB: what counts is its numbers",
        ),
        Row("PNG RGB, profile sRGB", png(2, 8, *ORANGE, extra=iccp(_SRGB)), OPAQUE, "bit for bit: nothing moves", 0),
        Row(
            "PNG RGB, profile Adobe RGB (1998)",
            png(2, 8, *ORANGE, extra=iccp(icc(b"RGB ", power(563 / 256), ADOBE))),
            right(ORANGE, power(563 / 256), ADOBE),
            CONVERTED,
        ),
        Row(
            "PNG RGBA, profile Display P3",
            png(6, 8, *ORANGE, 128, extra=iccp(_P3)),
            right(ORANGE, srgb_light, P3, 128),
            f"{CONVERTED}, {KEPT}",
        ),
        Row("PNG palette, profile Display P3", png(3, 8, 0, extra=iccp(_P3) + PALETTE), P3_ORANGE, CONVERTED),
        Row("PNG grey, grey profile", png(0, 8, GREY, extra=iccp(_LINEAR_GREY)), LIGHT_GREY, CONVERTED),
        Row("PNG grey 16 bits, grey profile", png(0, 16, GREY * 257, extra=iccp(_LINEAR_GREY)), LIGHT_GREY, CONVERTED),
        Row(
            "PNG grey and alpha, grey profile",
            png(4, 8, GREY, 128, extra=iccp(_LINEAR_GREY)),
            right([GREY] * 3, linear, alpha=128),
            f"{CONVERTED}, {KEPT}",
        ),
        Row("PNG grey, RGB profile", png(0, 8, GREY, extra=iccp(_LINEAR)), LIGHT_GREY, CONVERTED),
        Row(
            "PNG RGB, grey profile",
            png(2, 8, *ORANGE, extra=iccp(_LINEAR_GREY)),
            OPAQUE,
            "profile ignored: it does not fit",
        ),
        Row("PNG RGB, broken profile", png(2, 8, *ORANGE, extra=iccp(_P3[:200])), OPAQUE, "profile ignored"),
    ]


def _numbers() -> list[Row]:
    def of(extra: bytes) -> bytes:
        return png(2, 8, *ORANGE, extra=extra)

    return [
        Row("PNG gAMA 1.0", of(gama(1.0)), right(ORANGE, linear), CONVERTED),
        Row("PNG gAMA 0.45455", of(gama(0.45455)), OPAQUE, "taken for sRGB", 0),
        Row(
            "PNG gAMA 0.55556, cHRM of Display P3",
            of(gama(0.55556) + chrm(P3)),
            right(ORANGE, power(1.8), P3),
            CONVERTED,
        ),
        Row("PNG sRGB and gAMA 1.0", of(chunk(b"sRGB", b"\0") + gama(1.0)), OPAQUE, "sRGB goes first", 0),
        Row("PNG profile and gAMA 1.0", of(iccp(_P3) + gama(1.0)), P3_ORANGE, "the profile goes first"),
        Row("PNG grey gAMA 1.0", png(0, 8, GREY, extra=gama(1.0)), LIGHT_GREY, CONVERTED),
        Row("PNG cICP Display P3", of(cicp(12, 13)), P3_ORANGE, CONVERTED),
        Row("PNG cICP sRGB and profile Display P3", of(cicp(1, 13) + iccp(_P3)), OPAQUE, "cICP goes first", 0),
        Row("PNG cICP BT.2020, linear", of(cicp(9, 8)), right(ORANGE, linear, BT2020), CONVERTED),
        Row(
            "PNG cICP BT.2100 PQ",
            of(cicp(9, 16)),
            right(ORANGE, pq_light, BT2020),
            "converted, clipped at 203 cd/m²",
            3,
        ),
        Row(
            "PNG cICP BT.2100 HLG",
            of(cicp(9, 18)),
            right(ORANGE, hlg_light, BT2020),
            "converted, clipped at 203 cd/m²",
            3,
        ),
        Row("PNG cICP of no known code", of(cicp(2, 2)), OPAQUE, AS_IT_IS, 0),
    ]


def _formats() -> list[Row]:
    p3, grey = {"icc_profile": _P3}, {"icc_profile": _LINEAR_GREY}
    return [
        Row("JPEG, profile Display P3", saved("RGB", ORANGE, "JPEG", quality=100, **p3), P3_ORANGE, CONVERTED, 4),
        Row("JPEG grey, grey profile", saved("L", GREY, "JPEG", quality=100, **grey), LIGHT_GREY, CONVERTED, 3),
        Row(
            "JPEG CMYK without a profile",
            saved("CMYK", (0, 255, 255, 0), "JPEG", quality=100),
            (255, 0, 0, 255),
            "by the plain formula",
            3,
        ),
        Row(
            "WebP with alpha, profile Display P3",
            saved("RGBA", (*ORANGE, 128), "WEBP", lossless=True, **p3),
            right(ORANGE, srgb_light, P3, 128),
            f"{CONVERTED}, {KEPT}",
        ),
        Row(
            "AVIF with alpha",
            saved("RGBA", (*ORANGE, 128), "AVIF", quality=100, subsampling="4:4:4"),
            (*ORANGE, 128),
            KEPT,
            4,
        ),
        Row(
            "AVIF, profile Display P3",
            saved("RGB", ORANGE, "AVIF", quality=100, subsampling="4:4:4", **p3),
            P3_ORANGE,
            CONVERTED,
            4,
        ),
        Row("TIFF with alpha", saved("RGBA", (*ORANGE, 128), "TIFF"), (*ORANGE, 128), KEPT, 0),
        Row("TIFF, profile Display P3", saved("RGB", ORANGE, "TIFF", **p3), P3_ORANGE, CONVERTED),
        Row("TIFF grey, 16 bits", saved("I;16", GREY * 257, "TIFF"), PLAIN_GREY, "scaled to 8 bits"),
        Row("BMP, 32 bits", saved("RGBA", (*ORANGE, 0), "BMP"), OPAQUE, "opaque: its fourth byte is no alpha", 0),
        Row("GIF with a transparent colour", saved("P", 0, "GIF", transparency=0), (0, 0, 0, 0), KEPT, 0),
    ]


def table() -> str:
    """The rows as Markdown."""
    lines = ["| file | what is done | what comes of it (red, green, blue, alpha) |", "|---|---|---|"]
    lines += [f"| {row.name} | {row.shown} | {', '.join(map(str, row.right))} |" for row in rows()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
