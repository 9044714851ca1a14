"""The rotary embedding in real numbers, for one transformer at a time.

diffusers turns pairs of channels by multiplying complex numbers, for which inductor makes no kernels. The same products
and sums of real numbers are equal to the bit where nothing is compiled.
"""

from typing import Any

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from diffusers.models.transformers.transformer_qwenimage import QwenDoubleStreamAttnProcessor2_0
from torch import nn

NATIVE = AttentionBackendName.NATIVE
"""The kernel that torch chooses by itself."""


class JointAttention(QwenDoubleStreamAttnProcessor2_0):  # type: ignore[misc]
    """The attention of a block's texts and pictures to one another, whose positions come as real numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = NATIVE
        """What computes it where nothing is masked; masks are refused by some kernels, so they go to `NATIVE`."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_mask: torch.Tensor | None,
        attention_mask: None,
        image_rotary_emb: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what pictures and texts have gathered, each in the shape in which it came, (1, tokens, width).

        `image_rotary_emb` is what `use_real_rope` makes the transformer hand down, (tokens, 1, half a head, 2);
        `attention_mask` is what no block sets.
        """
        words, shape = encoder_hidden_states.shape[1], (-1, attn.inner_dim // attn.heads)
        of_texts, of_pictures = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj), (attn.to_q, attn.to_k, attn.to_v)
        texts = [torch.unflatten(layer(encoder_hidden_states), -1, shape) for layer in of_texts]
        pictures = [torch.unflatten(layer(hidden_states), -1, shape) for layer in of_pictures]
        query = torch.cat([attn.norm_added_q(texts[0]), attn.norm_q(pictures[0])], dim=1)
        key = torch.cat([attn.norm_added_k(texts[1]), attn.norm_k(pictures[1])], dim=1)
        value = torch.cat([texts[2], pictures[2]], dim=1)
        mask = _joint_mask(encoder_hidden_states_mask, hidden_states)
        mixed = dispatch_attention_fn(
            rotate(query, image_rotary_emb),
            rotate(key, image_rotary_emb),
            value,
            attn_mask=mask,
            backend=self.kernel if mask is None else NATIVE,
        )
        mixed = mixed.flatten(2, 3).to(query.dtype)
        text, picture = mixed[:, :words].contiguous(), mixed[:, words:].contiguous()
        return attn.to_out[1](attn.to_out[0](picture)), attn.to_add_out(text)


def use_real_rope(transformer: Any) -> JointAttention:
    """Have a QwenImageTransformer2DModel turn by real numbers from now on; return what its blocks attend with.

    What the model's own ``pos_embed`` remembers of sizes stays as it is.
    """
    attention = JointAttention()
    for block in transformer.transformer_blocks:
        block.attn.set_processor(attention)
    transformer.pos_embed.register_forward_hook(_joined)
    return attention


def rotate(heads: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn each pair of channels of (1, tokens, heads, channels) by its angle.

    `turns` are cosine and sine, (tokens, 1, half the channels, 2), in float32, in which it is reckoned.
    """
    even, odd = torch.unflatten(heads.float(), -1, (-1, 2)).unbind(-1)
    cos, sin = turns.unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(3).type_as(heads)


def _joined(_: nn.Module, given: Any, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return the turns of texts and then pictures in real numbers, in the order in which blocks join them."""
    pictures, texts = turns
    return torch.view_as_real(torch.cat([texts, pictures]))[:, None]


def _joint_mask(of_texts: torch.Tensor | None, pictures: torch.Tensor) -> torch.Tensor | None:
    """Return which tokens may be attended to, (pictures at once, 1, 1, tokens); None for all."""
    if of_texts is None:
        return None
    seen = torch.ones(pictures.shape[:2], dtype=torch.bool, device=pictures.device)
    return torch.cat([of_texts, seen], dim=1)[:, None, None]
