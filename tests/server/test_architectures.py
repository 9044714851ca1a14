"""What is counted of the networks, against the networks themselves at full size, built without memory."""

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    AutoencoderKLQwenImage21,
    QwenImage21Transformer2DModel,
    QwenImageTransformer2DModel,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from qwen_image_studio.models.architectures import (
    MINIATURE,
    QWEN_IMAGE,
    QWEN_IMAGE_21,
    DoubleStream,
    Encoder,
    SingleStream,
    Transformer,
    Vae,
)

QWEN25_7B = {
    "text_config": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
    },
}
QWEN3_8B = {
    "text_config": {
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
    },
    "vision_config": {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "out_hidden_size": 4096,
    },
}
"""Sizes from the encoders' config.json."""


@contextmanager
def without_memory() -> Iterator[None]:
    """Build networks in bf16 that have shapes and no numbers."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def counted(network: Any) -> Counter[str]:
    """The parameters of a transformer by what they do."""
    found: Counter[str] = Counter()
    for name, weights in network.named_parameters():
        kinds = ("_mod.", "modulation"), ("attn.",), ("mlp.",)
        kind = next((kind[0] for kind in kinds if any(word in name for word in kind)), "rest")
        found[kind] += weights.numel()
        found["biases"] += weights.numel() if kind in {"attn.", "mlp."} and weights.dim() == 1 else 0
    return found


@pytest.mark.parametrize(
    ("net", "kind", "config"),
    [
        (QWEN_IMAGE.transformer, QwenImageTransformer2DModel, {}),
        (QWEN_IMAGE_21.transformer, QwenImage21Transformer2DModel, {}),
        (
            MINIATURE.transformer,
            QwenImageTransformer2DModel,
            {"num_layers": 6, "num_attention_heads": 5, "attention_head_dim": 32, "joint_attention_dim": 192},
        ),
    ],
    ids=["qwen-image", "qwen-image-2.1", "miniature"],
)
def test_the_parameters_of_a_transformer_are_counted_by_what_they_do(
    net: Transformer, kind: Any, config: dict[str, Any]
) -> None:
    with without_memory():
        found = counted(kind(**config))
    assert found == {
        "attn.": net.attention,
        "mlp.": net.feed_forward,
        "_mod.": net.modulation,
        "rest": net.rest,
        "biases": net.biases,
    }


@pytest.mark.parametrize(
    ("encoder", "kind", "config"),
    [
        (QWEN_IMAGE.encoder, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig(**QWEN25_7B)),
        (QWEN_IMAGE_21.encoder, Qwen3VLForConditionalGeneration, Qwen3VLConfig(**QWEN3_8B)),
    ],
    ids=["qwen2.5-vl-7b", "qwen3-vl-8b"],
)
def test_the_parameters_of_a_text_encoder_are_counted(encoder: Encoder, kind: Any, config: Any) -> None:
    with without_memory():
        built = kind(config)
    assert sum(weights.numel() for weights in built.parameters()) == encoder.parameters
    assert built.lm_head.weight.numel() == encoder.head
    assert built.get_input_embeddings().weight.numel() == encoder.words


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the memory of all tensors that are made and still there, in bytes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.highest = 0
        self.there: set[int] = set()

    def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), named: Any = None) -> Any:
        made = function(*args, **(named or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and id(tensor.untyped_storage()) not in self.there:
                storage = tensor.untyped_storage()
                self.there.add(id(storage))
                self.now += storage.nbytes()
                self.highest = max(self.highest, self.now)
                weakref.finalize(storage, self.forget, id(storage), storage.nbytes())
        return made

    def forget(self, storage: int, size: int) -> None:
        self.there.discard(storage)
        self.now -= size


@pytest.fixture
def linear_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention that keeps no table of all pairs of tokens, as the kernels of cards."""
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda query, *_, **__: torch.empty_like(query)
    )


@pytest.mark.usefixtures("linear_attention")
@pytest.mark.parametrize(
    ("vae", "kind", "channels", "scale"),
    [(QWEN_IMAGE.vae, AutoencoderKLQwenImage, 16, 8), (QWEN_IMAGE_21.vae, AutoencoderKLQwenImage21, 64, 16)],
    ids=["qwen-image", "qwen-image-2.1"],
)
def test_the_work_of_a_vae_takes_so_much_memory(vae: Vae, kind: Any, channels: int, scale: int) -> None:
    side = 512
    with without_memory():
        built = kind().eval()
        assert sum(weights.numel() for weights in built.parameters()) == vae.parameters
        latents = torch.empty(1, channels, 1, side // scale, side // scale)
        picture = torch.empty(1, 3 if channels == 16 else 4, 1, side, side)
        with Peak() as decoding:
            built.decode(latents, return_dict=False)
        with Peak() as encoding:
            built.encode(picture)
    assert decoding.highest / side**2 == pytest.approx(vae.decoding, rel=0.02)
    assert encoding.highest / side**2 == pytest.approx(vae.encoding, rel=0.02)


@pytest.mark.usefixtures("linear_attention")
def test_a_forward_pass_takes_so_much_memory_for_each_token() -> None:
    with without_memory():
        built = QwenImageTransformer2DModel(num_layers=2).eval()
        taken = []
        for side in (64, 128):
            turns = torch.empty(side**2, 64, dtype=torch.complex64), torch.empty(64, 64, dtype=torch.complex64)
            built.pos_embed.forward = lambda *_, turns=turns, **__: turns
            with Peak() as peak:
                built(torch.empty(1, side**2, 64), torch.empty(1, 64, 3584), None, torch.empty(1), [(1, side, side)])
            taken.append(peak.highest)
    more = taken[1] - taken[0]
    assert 0.93 < more / QWEN_IMAGE.transformer.working_bytes(128**2 - 64**2) <= 1


# -- work ----------------------------------------------------------------------------------------------------------


def flops_of(run: Any) -> float:
    """What torch counts while something runs."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return float(counter.get_total_flops())


def test_the_work_of_a_double_stream_is_what_torch_counts() -> None:
    net = DoubleStream(layers=4, heads=8, head_dim=64, text_width=64)
    with torch.device("meta"), torch.no_grad():
        built = QwenImageTransformer2DModel(
            num_layers=4, num_attention_heads=8, attention_head_dim=64, joint_attention_dim=64
        )
        tokens = 32 * 32
        turns = torch.empty(tokens, 32, dtype=torch.complex64), torch.empty(16, 32, dtype=torch.complex64)
        built.pos_embed.forward = lambda *_, **__: turns
        given = torch.empty(1, tokens, 64), torch.empty(1, 16, 64), None, torch.empty(1), [(1, 32, 32)]
        spent = flops_of(lambda: built(*given))
    assert spent == pytest.approx(net.flops(tokens + 16), rel=0.01)


def test_the_work_of_a_single_stream_is_what_torch_counts() -> None:
    net = SingleStream(layers=4, heads=8, head_dim=64, text_width=64)
    with torch.device("meta"), torch.no_grad():
        built = QwenImage21Transformer2DModel(
            num_layers=4,
            num_attention_heads=8,
            attention_head_dim=64,
            context_in_dim=64,
            axes_dims_rope=(16, 24, 24),
            causal_condition=False,
        )
        block = built.transformer_blocks[0]
        spent = flops_of(lambda: block(torch.empty(1, 1024, 512), torch.empty(1, 4 * 512)))
    assert spent == net.flops(1024) / net.layers
