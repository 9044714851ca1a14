"""Images painted by Qwen-Image models: an inference server with durable jobs, and a class for notebooks and scripts."""

from typing import TYPE_CHECKING

__all__ = ["QwenImageGenerator", "__version__"]
__version__ = "0.3.0"

if TYPE_CHECKING:
    from qwen_image_studio.local.generator import QwenImageGenerator
else:

    def __getattr__(name: str) -> object:
        """Import the class when it is asked for, since it brings torch: the web process does without."""
        if name != "QwenImageGenerator":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from qwen_image_studio.local.generator import QwenImageGenerator

        return QwenImageGenerator
