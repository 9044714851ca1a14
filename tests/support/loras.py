"""LoRAs for tests: offered for the miniature, in files that tests write."""

from pathlib import Path
from typing import Any

from qwen_image_studio.models.loras import Lora

ENTRY = """
[[loras]]
name = "Ink-Wash"
models = ["miniature"]
file = "ink.safetensors"
scale = 0.8
max_scale = 1.2
licence = "CC0-1.0"
about = { en = "Brush and ink.", zh = "水墨画。" }
words = { en = ["ink wash"], zh = ["水墨"] }
"""
"""An entry of an allow-list, with all that may be said without a repository and keys."""


def allow_list(folder: Path, *more: str) -> Path:
    """A file of loras with ENTRY and `more` entries, in that folder."""
    file = folder / "loras.toml"
    file.write_text("\n".join([ENTRY, *more]), encoding="utf-8")
    return file


def a_lora(name: str = "ink", **fields: Any) -> Lora:
    """A LoRA that is offered, of a file that need not be there."""
    words = {"en": "Brush and ink.", "zh": "水墨画。"}
    usual: dict[str, Any] = {"models": ("miniature",), "file": f"/none/{name}.safetensors", "licence": "CC0-1.0"}
    return Lora.model_validate({"name": name, "about": words, **usual, **fields})
