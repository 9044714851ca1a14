"""Untrusted bytes in, encoded files out. In between, a picture is an upright 8-bit ``PIL.Image`` in sRGB: RGBA where a
pixel is not opaque, else RGB.
"""

from qwen_image_studio.imaging.encoding import encode, store_copy, thumbnail
from qwen_image_studio.imaging.opening import open_image
from qwen_image_studio.imaging.origin import Origin, read_origin

__all__ = ["Origin", "encode", "open_image", "read_origin", "store_copy", "thumbnail"]
