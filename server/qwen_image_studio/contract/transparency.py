"""Transparency of painted pictures, by the parameter that image APIs have for it."""

from enum import StrEnum


class Background(StrEnum):
    """What lies behind what is painted."""

    AUTO = "auto"
    """As the model paints it."""
    OPAQUE = "opaque"
    TRANSPARENT = "transparent"
    """Nothing: the picture has alpha, so its format is PNG or WebP."""
