"""The rotary embedding in real numbers: equal to the bit, for the one transformer that was given it."""

import math

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName

from qwen_image_studio.loading.rope import rotate, use_real_rope
from tests.support.transformers import SIZES, equal, forward, given, tiny

pytestmark = pytest.mark.usefixtures("one_thread")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


@DTYPES
@pytest.mark.parametrize("zero_cond_t", [False, True], ids=["2509", "2511"])
def test_real_numbers_turn_as_complex_ones_to_the_bit(dtype: torch.dtype, zero_cond_t: bool) -> None:
    stock, own = tiny(dtype, zero_cond_t=zero_cond_t), tiny(dtype, zero_cond_t=zero_cond_t)
    use_real_rope(own)
    asked = [{"size": size, "references": number, "words": 5 + number} for size in SIZES for number in range(4)]
    assert equal([forward(own, dtype, **each) for each in asked], [forward(stock, dtype, **each) for each in asked])


def test_a_turn_is_that_of_its_angle() -> None:
    cos, sin = math.cos(0.5), math.sin(0.5)
    turned = rotate(torch.tensor([[[[1.0, 0.0, 0.0, 2.0]]]]), torch.tensor([cos, sin]).expand(1, 1, 2, 2))
    wanted = [cos, sin, -2 * sin, 2 * cos]
    assert turned.flatten().tolist() == pytest.approx(wanted)


def test_what_the_model_remembers_of_sizes_goes_on_serving() -> None:
    own = tiny()
    use_real_rope(own)
    asked = (1, 5, 5, 0, torch.device("cpu"))
    known = own.pos_embed._compute_video_freqs(*asked)
    forward(own, size=(5, 5))
    assert own.pos_embed._compute_video_freqs(*asked) is known
    assert known.is_complex()


@DTYPES
@pytest.mark.parametrize("kernel", [AttentionBackendName.NATIVE, AttentionBackendName._NATIVE_FLASH], ids=str)
def test_masked_texts_are_not_attended_to_by_any_kernel(dtype: torch.dtype, kernel: AttentionBackendName) -> None:
    stock, own = tiny(dtype), tiny(dtype)
    use_real_rope(own).kernel = kernel  # flash refuses masks
    mask = torch.tensor([[True, True, False, True, False, False, False]])
    with torch.no_grad():
        answers = [each(**given(dtype), encoder_hidden_states_mask=mask)[0] for each in (own, stock)]
    assert torch.equal(*answers)
    assert not torch.equal(answers[0], forward(stock, dtype))
