"""Colour spaces that a file names by numbers, written as ICC profiles, so that all colours are converted in one way.

PNG has gAMA and cHRM (PNG, third edition, 11.3.2) and cICP; AVIF has nclx, the same code points (ITU-T H.273).
"""

import math
import struct
from collections.abc import Callable, Sequence

Primaries = tuple[float, ...]
"""x and y of white, red, green and blue (CIE 1931)."""
_D65 = (0.3127, 0.3290)
SRGB_PRIMARIES: Primaries = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES: dict[int, Primaries] = {
    1: SRGB_PRIMARIES,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_SDR_WHITE = 203.0  # cd/m2 (ITU-R BT.2408): what is brighter is clipped
_USUAL_GAMMA, _NEAR = 0.45455, 0.05
_ENTRIES = 256  # of a curve: one for each level of 8 bits, so that none is interpolated
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))

_Matrix = Sequence[Sequence[float]]
Curve = Callable[[float], float]


def from_code_points(primaries: int, transfer: int) -> bytes | None:
    """Return the profile of two code points of H.273; None where it is sRGB, or one of them is not known."""
    curve = _CURVES.get(transfer)
    if primaries not in _PRIMARIES or curve is None or (primaries == 1 and curve is _srgb):
        return None
    return _profile(_PRIMARIES[primaries], curve)


def from_gamma(gamma: float | None, primaries: Primaries | None) -> bytes | None:
    """Return the profile of a PNG's gAMA (such as 0.45455) and cHRM; None where it is sRGB or makes no sense.

    The usual 0.45455 stands for sRGB's own curve, as those who write it mean it.
    """
    if gamma is not None and not 0.1 <= gamma <= 10:
        return None
    usual = gamma is None or abs(gamma / _USUAL_GAMMA - 1) < _NEAR
    if usual and primaries is None:
        return None
    curve: Curve = _srgb if usual or gamma is None else _power(1 / gamma)
    try:
        return _profile(primaries or SRGB_PRIMARIES, curve)
    except (ArithmeticError, ValueError, struct.error):  # numbers that are no colours
        return None


# -- curves: from a file's value to light, both 0 to 1 -------------------------------------------------------------


def _power(exponent: float) -> Curve:
    return lambda value: float(value**exponent)


def _srgb(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else math.pow((value + 0.055) / 1.055, 2.4)


def _pq(value: float) -> float:
    root = value ** (1 / 78.84375)
    light = 10_000 * (max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    return min(1.0, float(light) / _SDR_WHITE)


def _hlg(value: float) -> float:
    scene = value * value / 3 if value <= 0.5 else (math.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return min(1.0, 1000 * math.pow(scene, 1.2) / _SDR_WHITE)


# 1, 6, 14 and 15 are the curves of cameras for video; they are shown as sRGB.
_CURVES: dict[int, Curve] = {
    **dict.fromkeys((1, 6, 13, 14, 15), _srgb),
    **{4: _power(2.2), 5: _power(2.8), 8: _power(1.0), 16: _pq, 18: _hlg},
}


# -- profile -------------------------------------------------------------------------------------------------------


def _profile(primaries: Primaries, curve: Curve) -> bytes:
    """Return an ICC profile (ICC.1:2001-04): three colorants and one curve for all channels."""
    levels = [round(65535 * min(1.0, max(0.0, curve(index / (_ENTRIES - 1))))) for index in range(_ENTRIES)]
    tone = b"curv\0\0\0\0" + struct.pack(f">I{_ENTRIES}H", _ENTRIES, *levels)
    columns = _colorants(primaries)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 6) + b"named\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": _xyz(_D50),
        **{name: _xyz([row[index] for row in columns]) for index, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        b"rTRC": tone,
        b"gTRC": tone,
        b"bTRC": tone,
    }
    place, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, place + len(body), len(content))
        body += content
    size = place + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + _xyz(_D50)[8:]
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def _colorants(primaries: Primaries) -> _Matrix:
    """Return the matrix from light in these primaries to CIE XYZ under D50."""
    white, *corners = [(x / y, 1.0, (1 - x - y) / y) for x, y in zip(primaries[::2], primaries[1::2], strict=True)]
    rows = [[corner[axis] for corner in corners] for axis in range(3)]
    strengths = _times(_inverse(rows), [[each] for each in white])
    to_xyz = [[row[index] * strengths[index][0] for index in range(3)] for row in rows]
    before, after = (_times(_BRADFORD, [[each] for each in point]) for point in (white, _D50))
    scaled = [[each * after[row][0] / before[row][0] for each in _BRADFORD[row]] for row in range(3)]
    return _times(_inverse(_BRADFORD), _times(scaled, to_xyz))


def _times(one: _Matrix, other: _Matrix) -> list[list[float]]:
    return [
        [sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*other, strict=True)] for row in one
    ]


def _inverse(matrix: _Matrix) -> list[list[float]]:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    minors = [[e * i - f * h, c * h - b * i, b * f - c * e], [f * g - d * i, a * i - c * g, c * d - a * f]]
    minors.append([d * h - e * g, b * g - a * h, a * e - b * d])
    size = a * minors[0][0] + b * minors[1][0] + c * minors[2][0]
    return [[each / size for each in row] for row in minors]
