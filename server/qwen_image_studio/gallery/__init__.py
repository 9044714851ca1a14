"""The stored pictures, and the only code that names files. Rows tell which pictures exist, and under which keys."""

from qwen_image_studio.gallery.gallery import STORES, Gallery, check_store, open_files, open_gallery

__all__ = ["STORES", "Gallery", "check_store", "open_files", "open_gallery"]
