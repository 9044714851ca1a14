"""What the text encoder has to be told that the pipelines do not tell it."""

from typing import Any

import torch


def name_image_tokens(
    encoder: Any, args: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Tell the text encoder which tokens are pictures, where the pipeline has dropped that.

    diffusers 0.42's edit pipelines pass on only some of the processor's outputs; without ``mm_token_type_ids``
    transformers 5 silently gives pictures the positions of plain text (huggingface/diffusers issue 14194).
    """
    if named.get("pixel_values") is not None and named.get("mm_token_type_ids") is None:
        named["mm_token_type_ids"] = (named["input_ids"] == encoder.config.image_token_id).to(torch.int32)
    return args, named
