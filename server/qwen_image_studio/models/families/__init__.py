"""The families of models that the product knows, by the names that the table of models uses."""

from qwen_image_studio.models.families.family import Family, Sources
from qwen_image_studio.models.families.qwen_image import QwenImage
from qwen_image_studio.models.families.qwen_image_21 import QwenImage21
from qwen_image_studio.models.families.qwen_image_edit import QwenImageEdit

FAMILIES: dict[str, Family] = {
    "qwen-image": QwenImage(),
    "qwen-image-edit": QwenImageEdit(),
    "qwen-image-2.1": QwenImage21(),
}
"""Families by name."""

__all__ = ["FAMILIES", "Family", "Sources"]
