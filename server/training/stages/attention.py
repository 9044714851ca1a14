"""The transformer as it is fastest to train: attention and rope in plain real numbers, which compile well."""

from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformerBlock
from torch import nn

from training.stages.run import compile_blocks

Angles = tuple[torch.Tensor, torch.Tensor]
"""Cosine and sine of each position, tokens x half a head's width."""
FAR = -1e4  # added to the score of a token that is not there


class PlainAttention:
    """Joint attention of text and picture, equal to the model's own."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_mask: torch.Tensor | None = None,
        attention_mask: None = None,
        image_rotary_emb: tuple[Angles, Angles] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Picture (n x tokens x width) and text (likewise) to the same; the mask says which text is there."""
        if image_rotary_emb is None:
            raise ValueError("attention without positions")
        width = attn.inner_dim // attn.heads
        picture, text = image_rotary_emb
        sides = []
        for states, projections, norms, angles in (
            (encoder_hidden_states, (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj), _added_norms(attn), text),
            (hidden_states, (attn.to_q, attn.to_k, attn.to_v), (attn.norm_q, attn.norm_k), picture),
        ):
            query, key, value = (project(states).unflatten(-1, (-1, width)) for project in projections)
            query, key = (turn(norm(one), angles) for norm, one in zip(norms, (query, key), strict=True))
            sides.append((query, key, value))
        query, key, value = (torch.cat(both, dim=1).transpose(1, 2) for both in zip(*sides, strict=True))
        scores = query @ key.transpose(2, 3) * width**-0.5
        if encoder_hidden_states_mask is not None:
            there = nn.functional.pad(encoder_hidden_states_mask, (0, hidden_states.shape[1]), value=True)
            scores = scores + (~there).to(scores.dtype)[:, None, None] * FAR
        mixed = (scores.softmax(-1).to(value.dtype) @ value).transpose(1, 2).flatten(2)
        cut = encoder_hidden_states.shape[1]
        return attn.to_out[0](mixed[:, cut:]), attn.to_add_out(mixed[:, :cut])


def _added_norms(attn: Any) -> tuple[nn.Module, nn.Module]:
    return attn.norm_added_q, attn.norm_added_k


def turn(x: torch.Tensor, angles: Angles) -> torch.Tensor:
    """Rotary positions (Su et al., "RoFormer", 2021) on neighbouring numbers. (n x tokens x heads x width)"""
    cosine, sine = (one[None, :, None] for one in angles)
    even, odd = x.float().reshape(*x.shape[:-1], -1, 2).unbind(-1)
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(3).type_as(x)


class RealAngles(nn.Module):
    """The model's positions as cosines and sines instead of complex numbers."""

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self._own = own

    def forward(self, *args: Any, **named: Any) -> tuple[Angles, Angles]:
        """As the model's own."""
        picture, text = self._own(*args, **named)
        return (picture.real.contiguous(), picture.imag.contiguous()), (text.real.contiguous(), text.imag.contiguous())


class FlatPatches(nn.Module):
    """The text encoder's first look at patches, whose kernel covers each whole: a product of matrices does the same."""

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.proj: nn.Conv3d = own.proj

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """As the model's own. (n x 1176 to n x 96)"""
        return nn.functional.linear(patches, self.proj.weight.flatten(1))


def make_seeing(encoder: Any) -> None:
    """Give the text encoder's eye the faster kernel; the names of its parameters stay."""
    encoder.model.visual.patch_embed = FlatPatches(encoder.model.visual.patch_embed)


def make_trainable(transformer: QwenImageTransformer2DModel, *, fast: bool) -> None:
    """Give the model plain attention, and with `fast` compile its blocks."""
    transformer.set_attn_processor(PlainAttention())
    transformer.pos_embed = RealAngles(transformer.pos_embed)
    if fast:
        compile_blocks(transformer, QwenImageTransformerBlock)


def start_from_nothing(transformer: QwenImageTransformer2DModel) -> None:
    """Make every block of a fresh model begin as if it were not there (adaLN-zero).

    Method: Peebles and Xie, "Scalable Diffusion Models with Transformers", 2022.
    """
    zero = [transformer.norm_out.linear, transformer.proj_out]
    for block in transformer.transformer_blocks:
        zero += [block.img_mod[1], block.txt_mod[1]]
    for layer in zero:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
