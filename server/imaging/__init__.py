"""Untrusted bytes in, encoded pictures out. In between a picture is an upright 8-bit RGB ``PIL.Image`` in sRGB."""

from server.imaging.adjusting import adjust, check_adjustments
from server.imaging.encoding import encode, store_copy, thumbnail
from server.imaging.facts import Facts, read_facts
from server.imaging.opening import open_image

__all__ = ["Facts", "adjust", "check_adjustments", "encode", "open_image", "read_facts", "store_copy", "thumbnail"]
