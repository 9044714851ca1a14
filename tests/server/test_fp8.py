"""Linear layers in fp8: which they are, what they lose, and LoRAs and compilers on top of them."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import QwenImageTransformer2DModel
from torch import nn

from benchmarks.fp8_ablation import Asked, table
from qwen_image_studio.loading import fp8
from qwen_image_studio.loading.fp8 import E4M3, Fp8Linear, in_blocks, multiplies_fp8, to_fp8
from qwen_image_studio.models.table import Model

pytestmark = pytest.mark.usefixtures("one_thread")
BOTH = pytest.mark.parametrize("rounds", [True, False], ids=["tokens rounded", "weights alone"])
Inputs = Mapping[str, Any]


@pytest.fixture(scope="module")
def wide(miniature: Model) -> QwenImageTransformer2DModel:
    """The trained miniature's transformer; tests change copies of it."""
    found = QwenImageTransformer2DModel.from_pretrained(miniature.repository, subfolder="transformer")
    return found.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """What a forward pass over 8 x 8 tokens is given."""
    random = torch.Generator().manual_seed(0)
    return {
        "hidden_states": torch.randn(1, 64, 64, generator=random),
        "encoder_hidden_states": torch.randn(1, 12, 192, generator=random),
        "timestep": torch.tensor([0.5]),
        "img_shapes": [[(1, 8, 8)]],
        "return_dict": False,
    }


@torch.no_grad()
def answer(transformer: nn.Module, inputs: Inputs) -> torch.Tensor:
    found: torch.Tensor = transformer(**inputs)[0]
    return found


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference, divided by that of what is expected."""
    return float((found - expected).norm() / expected.norm())


def narrowed(wide: nn.Module, *, rounds: bool) -> nn.Module:
    found = copy.deepcopy(wide)
    to_fp8(found, rounds=rounds)
    return found


def linear(rows: int = 48, columns: int = 32, dtype: torch.dtype = torch.float32, *, bias: bool = True) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Linear(columns, rows, bias=bias, dtype=dtype).requires_grad_(False)


# One layer


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_answers_almost_as_the_wide_one(rounds: bool, dtype: torch.dtype, bias: bool) -> None:
    layer = linear(dtype=dtype, bias=bias)
    tokens = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(2)).to(dtype)
    tokens[0, 0] *= 1000  # an outlier costs no other token its precision
    found, expected = Fp8Linear(layer, rounds=rounds)(tokens), layer(tokens)
    assert (found.shape, found.dtype) == (expected.shape, dtype)
    for token, right in zip(found.flatten(0, 1).float(), expected.flatten(0, 1).float(), strict=True):
        assert off(token, right) < 0.06


def test_each_row_has_its_own_scale() -> None:
    layer = linear()
    layer.weight[3] *= 1e-4
    layer.weight[4] = 0
    small = Fp8Linear(layer, rounds=True)
    assert small.weight.dtype is E4M3
    for found, expected in zip(small.wide(), layer.weight, strict=True):
        assert torch.allclose(found, expected, rtol=0.07, atol=float(expected.abs().max()) / 400)


def test_rounding_tokens_equals_the_product_of_what_was_rounded() -> None:
    layer = linear()
    tokens = torch.randn(7, 32, generator=torch.Generator().manual_seed(2))
    small, scale = fp8.quantised(tokens)
    found = Fp8Linear(layer, rounds=True)(tokens)
    expected = (small.float() * scale) @ Fp8Linear(layer, rounds=True).wide().t() + layer.bias
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_cast_moves_the_layer_and_leaves_its_formats() -> None:
    small = Fp8Linear(linear(), rounds=True)
    before = small(torch.ones(1, 32))
    small.to(torch.bfloat16)
    assert (small.weight.dtype, small.scale.dtype) == (E4M3, torch.float32)
    assert torch.equal(small(torch.ones(1, 32)), before)
    assert small.to("meta").weight.device.type == "meta"


def test_sides_that_no_kernel_takes_are_widened() -> None:
    layer = linear(rows=20)
    small = Fp8Linear(layer, rounds=True)
    assert not small.rounds
    assert off(small(torch.ones(1, 32)), layer(torch.ones(1, 32))) < 0.06


@pytest.mark.parametrize(
    ("capability", "multiplies"), [((8, 0), False), ((8, 6), False), ((8, 9), True), ((9, 0), True)]
)
def test_cards_from_8_9_on_multiply_fp8(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], multiplies: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert multiplies_fp8("cuda:1") is multiplies
    assert not multiplies_fp8("cpu")


# A transformer


@pytest.mark.parametrize(("rounds", "most"), [(True, 0.08), (False, 0.05)], ids=["tokens rounded", "weights alone"])
def test_a_forward_pass_of_the_miniature_is_off_by_little(
    wide: nn.Module, inputs: Inputs, rounds: bool, most: float
) -> None:
    assert 0.01 < off(answer(narrowed(wide, rounds=rounds), inputs), answer(wide, inputs)) <= most


def test_sensitive_layers_stay_as_they_are(wide: nn.Module) -> None:
    found = narrowed(wide, rounds=True)
    for name, part in found.named_modules():
        if isinstance(part, nn.Linear):
            of_block = name.startswith("transformer_blocks.") and not name.startswith("transformer_blocks.5.")
            stays = "_mod." in name or ".to_out." in name or not of_block
            assert isinstance(part, Fp8Linear) is not stays, name
            assert stays is (part.weight.dtype is torch.float32), name
            if stays:
                assert torch.equal(part.weight, wide.get_parameter(f"{name}.weight")), name


def test_which_layers_stay_wide_is_data(wide: Any) -> None:
    found = copy.deepcopy(wide)
    assert to_fp8(found, in_blocks(found, [*fp8.MODULATION, "*.img_mlp.net.2"]), rounds=True) == 11 * 6
    assert type(found.get_submodule("transformer_blocks.0.img_mlp.net.2")) is nn.Linear


def test_by_default_less_is_lost_than_with_all_matrices_in_fp8(wide: Any, inputs: Inputs) -> None:
    every, expected = copy.deepcopy(wide), answer(wide, inputs)
    to_fp8(every, in_blocks(every, fp8.MODULATION), rounds=True)
    assert off(answer(narrowed(wide, rounds=True), inputs), expected) < 0.8 * off(answer(every, inputs), expected)


def test_layers_of_any_module_are_changed_by_choice_and_once() -> None:
    encoder = nn.ModuleDict({"words": nn.Embedding(8, 32), "up": linear(), "head": linear(rows=64)})
    for count in (1, 0):
        assert to_fp8(encoder, lambda name, part: name != "head" and part.out_features < 64, rounds=False) == count
    assert [type(part) for part in encoder.values()] == [nn.Embedding, Fp8Linear, nn.Linear]


def test_the_device_decides_whether_tokens_are_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for multiplies in (True, False):
        monkeypatch.setattr(fp8, "multiplies_fp8", lambda device, multiplies=multiplies: multiplies)
        module = nn.Sequential(linear())
        to_fp8(module, lambda *_: True)
        [layer] = module
        assert isinstance(layer, Fp8Linear)
        assert layer.rounds is multiplies


@BOTH
def test_compiled_blocks_have_one_graph_and_the_same_answer(wide: nn.Module, inputs: Inputs, rounds: bool) -> None:
    torch._dynamo.reset()
    small: Any = narrowed(wide, rounds=rounds)
    expected = answer(small, inputs)
    small.compile_repeated_blocks(fullgraph=True, dynamic=True, backend="eager")
    assert torch.equal(answer(small, inputs), expected)


# LoRAs on top


def lora(scale: float = 0.08) -> dict[str, torch.Tensor]:
    """A LoRA of rank 4 for some layers in fp8 and one that stays wide, as files have them."""
    random = torch.Generator().manual_seed(3)
    found = {}
    for name, rows, columns in (
        ("transformer_blocks.0.attn.to_q", 160, 160),
        ("transformer_blocks.4.img_mlp.net.2", 160, 640),
        ("transformer_blocks.2.img_mod.1", 960, 160),
    ):
        found[f"{name}.lora_A.weight"] = torch.randn(4, columns, generator=random) * scale
        found[f"{name}.lora_B.weight"] = torch.randn(rows, 4, generator=random)
    return found


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_lora_on_fp8_stays_wide_and_does_what_it_does_on_wide_layers(
    wide: nn.Module, inputs: Inputs, rounds: bool, dtype: torch.dtype
) -> None:
    base: Any = copy.deepcopy(wide).to(dtype)
    given = {name: value.to(dtype) if name.endswith("states") else value for name, value in inputs.items()}
    small: Any = copy.deepcopy(base)
    to_fp8(small, rounds=rounds)
    plain = answer(small, given)
    for model in (base, small):
        model.load_lora_adapter(lora(), adapter_name="one", prefix=None)
    added = small.get_submodule("transformer_blocks.0.attn.to_q")
    assert isinstance(added.base_layer, Fp8Linear)
    assert {part.dtype for name, part in small.named_parameters() if "lora_" in name} == {dtype}
    full = answer(small, given)
    assert off(full, plain) > 0.2, "the LoRA does much"
    assert off(full, answer(base, given)) < 0.09, "and the same on fp8"
    small.set_adapters("one", 0.5)
    half = answer(small, given)
    assert not torch.equal(half, full)
    small.disable_lora()
    assert torch.equal(answer(small, given), plain)
    small.enable_lora()
    small.set_adapters("one", 1.0)
    assert torch.equal(answer(small, given), full)
    small.delete_adapters("one")
    assert torch.equal(answer(small, given), plain)


def test_the_ablation_measures_each_kind_and_leaves_the_layers_wide(wide: nn.Module, inputs: Inputs) -> None:
    before = {name: id(part) for name, part in wide.named_modules()}
    head, every, default, *kinds = table(wide, [Asked(dict(inputs), answer(wide, inputs))])
    assert head.split()[:2] == ["in", "fp8"]
    assert len(kinds) == 12 + 2
    assert (every.split()[1], default.split()[-4]) == ("72", "55")
    assert all(0 < float(line.split()[-2]) < float(every.split()[-1]) for line in kinds)
    assert {name: id(part) for name, part in wide.named_modules()} == before
