"""Offers: what a worker can paint, by the keys of variants."""

import pytest

from qwen_image_studio.contract.words import Precision, Tier
from qwen_image_studio.planning.offers import ModelOffer, Offer, read_offer
from qwen_image_studio.planning.plan import Variant

OFFER = Offer(
    {"Qwen-Image": ModelOffer(frozenset({"quality", "turbo"}), frozenset({"bf16"}), frozenset({"ink", "x" * 64}))}
)
LONG = "+".join(f"{letter * 64}" for letter in "abcd")


@pytest.mark.parametrize(
    ("variant", "taken"),
    [
        (Variant("Qwen-Image", Tier.QUALITY, Precision.BF16), True),
        (Variant("Qwen-Image", Tier.DRAFT, Precision.BF16), False),
        (Variant("Qwen-Image", Tier.QUALITY, Precision.FP8), False),
        (Variant("Qwen-Image-2512", Tier.QUALITY, Precision.BF16), False),
        (Variant("Qwen-Image", Tier.TURBO, Precision.BF16, "ink"), True),
        (Variant("Qwen-Image", Tier.TURBO, Precision.BF16, f"ink+{'x' * 64}"), True),
        (Variant("Qwen-Image", Tier.TURBO, Precision.BF16, "ink+oil"), False),
        (Variant("Qwen-Image", Tier.TURBO, Precision.BF16, LONG), True),
    ],
)
def test_a_variant_is_taken_where_all_of_it_is_offered(variant: Variant, taken: bool) -> None:
    assert OFFER.takes(str(variant)) is taken
    assert read_offer(OFFER.as_row()).takes(str(variant)) is taken
    assert not read_offer(None).takes(str(variant))


def test_of_a_key_that_is_no_variants_the_model_counts() -> None:
    assert OFFER.takes("Qwen-Image")
    assert not OFFER.takes("other")
