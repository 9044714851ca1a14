"""The miniature's parts: the classes of the large models at very small sizes, with random weights to start from.

Sizes and wiring are final; training replaces the numbers only.
"""

import math
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from torch import nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

HIDDEN = 192  # width of the text encoder's output, which the transformer attends to
LATENT_CHANNELS = 16
LOG_VARIANCE = -5.0


def build_vae(channels: int = 3) -> AutoencoderKLQwenImage:
    """Build the VAE: pictures (`channels` x H x W, -1 to 1) to latents (16 x H/8 x W/8) and back; 2.6 million
    parameters. A fourth channel is alpha.
    """
    vae = AutoencoderKLQwenImage(
        input_channels=channels,
        base_dim=16,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
    )
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            resampling = name.endswith("resample.1")
            _unit_gain(module, gain=0.2 if name.endswith("conv2") or resampling else 1.0)
            if resampling and isinstance(module, nn.Conv2d):
                _pass_on(module)
    with torch.no_grad():  # latents start almost without noise
        vae.quant_conv.weight[LATENT_CHANNELS:] *= 0.1
        vae.quant_conv.bias[LATENT_CHANNELS:] = LOG_VARIANCE
    return vae


def _pass_on(conv: nn.Conv2d) -> None:
    """Start a resampling as plain means: of 2 x 2 pixels going down, of two channels going up."""
    with torch.no_grad():
        for channel in range(conv.out_channels):
            if conv.in_channels == conv.out_channels:
                conv.weight[channel, channel, :2, :2] += 0.25
            else:
                conv.weight[channel, 2 * channel : 2 * channel + 2, 1, 1] += math.sqrt(0.5)


def _unit_gain(conv: nn.Conv2d | nn.Conv3d, gain: float) -> None:
    """Keep the variance of what passes through. A single picture meets only the last tap in time; the rest are zero."""
    taps = conv.weight.shape[2:]
    space = math.prod(taps[-2:])
    with torch.no_grad():
        last = torch.randn_like(conv.weight[:, :, -1] if len(taps) == 3 else conv.weight)
        last *= gain / math.sqrt(conv.in_channels * space)
        conv.weight.zero_()
        (conv.weight[:, :, -1] if len(taps) == 3 else conv.weight).copy_(last)
        if conv.bias is not None:
            conv.bias.zero_()


def build_text_encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """Build the text encoder: tokens and pictures (patches of 14 pixels) to 192 numbers each; 1.8 million weights."""
    ids: dict[str, Any] = {
        name: tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in {
            "image_token_id": "image_pad",
            "video_token_id": "video_pad",
            "vision_start_token_id": "vision_start",
            "vision_end_token_id": "vision_end",
        }.items()
    }
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": HIDDEN,
            "intermediate_size": 512,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "max_position_embeddings": 4096,
            # Positions in time, height and width; together half a head's 32 numbers.
            "rope_parameters": {"mrope_section": [4, 6, 6], "rope_type": "default", "rope_theta": 10000.0},
            "tie_word_embeddings": True,
            "initializer_range": 0.07,  # about 1/sqrt(192), as unit gain asks
            "bos_token_id": end,
            "eos_token_id": end,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_heads": 3,
            "patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [1],
            "out_hidden_size": HIDDEN,
            "initializer_range": 0.1,
        },
        tie_word_embeddings=True,
        **ids,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def build_transformer(*, layered: bool = False) -> QwenImageTransformer2DModel:
    """Build the transformer, which predicts the flow of packed latents (tokens x 64); 5.7 million parameters. With
    `layered` it is told which layer a token is of, and whether it paints transparency.
    """
    return QwenImageTransformer2DModel(
        use_layer3d_rope=layered,
        use_additional_t_cond=layered,
        patch_size=2,
        in_channels=4 * LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=6,
        attention_head_dim=32,
        num_attention_heads=5,
        joint_attention_dim=HIDDEN,
        axes_dims_rope=(8, 12, 12),
    )


def build_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Build the scheduler, with the large models' own schedule."""
    return FlowMatchEulerDiscreteScheduler(
        base_image_seq_len=256,
        base_shift=0.5,
        max_image_seq_len=8192,
        max_shift=0.9,
        shift_terminal=0.02,
        time_shift_type="exponential",
        use_dynamic_shifting=True,
    )


def build_image_processor() -> Qwen2VLImageProcessorPil:
    """Build the processor that resizes an edit's pictures to about 112 x 112 pixels for the text encoder: 16 tokens."""
    return Qwen2VLImageProcessorPil(size={"shortest_edge": 112 * 112, "longest_edge": 13000}, patch_size=14)
