"""Pictures that are taken apart into layers: the limits that callers meet."""

from enum import IntEnum

MIN_LAYERS = 2
MAX_LAYERS = 8


class Resolution(IntEnum):
    """The side in pixels of a square with the area at which a picture is taken apart, of those that a model was trained
    at.
    """

    SMALL = 640
    LARGE = 1024
