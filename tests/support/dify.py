"""What Dify calls the plugin with. Standard library only."""

from typing import Any

PROVIDER = "qwen_image"
CANARY = "canary-key-7b1f"
"""An API key that must be seen nowhere but in the header."""


def dify_file(url: str) -> dict[str, Any]:
    """A file parameter in the shape in which Dify sends it; the type is what agents send."""
    known = {"mime_type": None, "filename": "私人 photo.png", "extension": ".png", "size": -1, "type": "custom"}
    return {"dify_model_identity": "__dify__file__", "url": url, **known}
