"""The families of models that the product knows, by the names that the table of models uses."""

from qwen_image_studio.models.families.family import Family, Sources
from qwen_image_studio.models.families.qwen_image import QwenImage
from qwen_image_studio.models.families.qwen_image_21 import QwenImage21
from qwen_image_studio.models.families.qwen_image_alpha import QwenImageAlpha
from qwen_image_studio.models.families.qwen_image_edit import QwenImageEdit
from qwen_image_studio.models.families.qwen_image_layered import QwenImageLayered

FAMILIES: dict[str, Family] = {
    "qwen-image": QwenImage(),
    "qwen-image-alpha": QwenImageAlpha(),
    "qwen-image-edit": QwenImageEdit(),
    "qwen-image-layered": QwenImageLayered(),
    "qwen-image-2.1": QwenImage21(),
}
"""Families by name."""

__all__ = ["FAMILIES", "Family", "Sources"]
