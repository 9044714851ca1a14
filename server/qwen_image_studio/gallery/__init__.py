"""The stored pictures: the only code that names files. Rows say what there is; files are kept under the rows' keys."""

from qwen_image_studio.gallery.gallery import STORES, Gallery, open_gallery

__all__ = ["STORES", "Gallery", "open_gallery"]
