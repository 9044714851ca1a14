"""Texts for the pipelines of these families: each text is encoded once, by processors that need no torchvision."""

from functools import cache
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwen_image_studio.models.embeddings import Embeddings


class EncodesOnce:
    """A pipeline that encodes a text once, and once more where other pictures are seen with it."""

    text_encoder: Any
    embeddings: "Embeddings"
    """What remembers the encodings; whoever opens the pipeline sets it."""

    def _get_qwen_prompt_embeds(self, *others: Any, **named: Any) -> Any:
        encode = super()._get_qwen_prompt_embeds  # type: ignore[misc]
        given = signature(encode).bind(*others, **named).arguments
        return self.embeddings.of(self.text_encoder, type(self), given, lambda: encode(*others, **named))


class PillowProcessor:
    """A processor that uses Pillow and is built from its files, so that it is the same with and without torchvision."""

    def check_argument_for_proper_class(self, name: str, argument: object) -> type:
        """Accept None for the video processor, which transformers demands and which would need torchvision."""
        return type(argument)

    @classmethod
    def from_pretrained(cls, folder: Path, *, subfolder: str, local_files_only: bool) -> Any:
        """Read the processor from `folder`/`subfolder`; its tokenizer is there or in `folder`/tokenizer."""
        from transformers import Qwen2Tokenizer
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        own = folder / subfolder
        place = own if (own / "tokenizer_config.json").is_file() else folder / "tokenizer"
        tokenizer = Qwen2Tokenizer.from_pretrained(place, local_files_only=local_files_only)
        images = Qwen2VLImageProcessorPil.from_pretrained(own, local_files_only=local_files_only)
        settings, _ = cls.get_processor_dict(own, local_files_only=local_files_only)  # type: ignore[attr-defined]
        template = settings.get("chat_template") or tokenizer.chat_template
        return cls(images, tokenizer, None, chat_template=template)  # type: ignore[call-arg]


@cache
def with_mixin(mixin: type, base: Any) -> Any:
    """Return a class named as `base`, with the mixin's methods before those of `base`."""
    return type(base.__name__, (mixin, base), {"__module__": mixin.__module__})
