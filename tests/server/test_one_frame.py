"""The VAE for one frame: the same pictures with a third of the work, at every tier but quality, for the call alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d, QwenImageRMS_norm
from PIL import Image

from qwen_image_studio.contract.words import Operation, Tier, Way
from qwen_image_studio.models.table import Model
from qwen_image_studio.models.tiers import Recipe
from qwen_image_studio.painting.qwen import QwenEngine
from tests.server.test_engine import part
from tests.support.pictures import picture
from tests.support.plans import a_plan, painted

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def engine(miniature: Model) -> QwenEngine:
    """An engine whose tiers differ in their names alone."""
    row = replace(miniature, input_pixels=64 * 64, tiers=dict.fromkeys(Tier, Recipe(2, 3.0)))
    return QwenEngine({row.name: row}, "cpu")


@pytest.mark.parametrize("images", [(), (picture(),)], ids=["generate", "edit"])
def test_pictures_are_the_same_but_for_rounding(engine: QwenEngine, images: tuple[Image.Image, ...]) -> None:
    way = Way.EDIT if images else Way.GENERATE
    quality, turbo = (next(engine.paint(a_plan(tier=tier, way=way), images)) for tier in (Tier.QUALITY, Tier.TURBO))
    off = np.abs(np.asarray(quality.image, int) - np.asarray(turbo.image, int))
    assert off.max() <= 1
    assert off.mean() < 0.01


def test_frames_before_the_picture_are_spared_at_every_tier_but_quality(engine: QwenEngine) -> None:
    engine.load("miniature")
    kernels = [one for one in part(engine, "vae", "miniature").modules() if isinstance(one, QwenImageCausalConv3d)]
    whole = list[int]()
    hooks = [one.register_forward_pre_hook(lambda one, _: whole.append("forward" not in vars(one))) for one in kernels]
    spared = {}
    for tier in Tier:
        whole.clear()
        painted(engine, tier=tier)
        spared[tier] = len(whole) - sum(whole)
    for hook in hooks:
        hook.remove()
    assert spared == {tier: 0 if tier is Tier.QUALITY else spared[Tier.TURBO] for tier in Tier}
    assert spared[Tier.TURBO] > 10
    assert not any("forward" in vars(one) for one in part(engine, "vae", "miniature").modules())


@pytest.mark.parametrize("tier", Tier)
def test_norms_take_lengths_from_squares_at_every_tier_but_quality(engine: QwenEngine, tier: Tier) -> None:
    engine.load("miniature")
    norms = [one for one in part(engine, "vae", "miniature").modules() if isinstance(one, QwenImageRMS_norm)]
    own = list[bool]()
    hooks = [one.register_forward_pre_hook(lambda one, _: own.append("forward" not in vars(one))) for one in norms]
    painted(engine, tier=tier)
    for hook in hooks:
        hook.remove()
    assert len(own) > 10
    assert set(own) == {tier is Tier.QUALITY}


def test_films_are_decoded_as_before(engine: QwenEngine) -> None:
    vae = part(engine, "vae", "miniature")
    film = torch.randn(1, 16, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    found = list[torch.Tensor]()

    def decode(phase: str, step: int, steps: int) -> None:
        if phase == "denoising" and step == 1:
            with torch.no_grad():
                found.append(vae.decode(film).sample)

    for tier in (Tier.QUALITY, Tier.TURBO):
        list(engine.paint(a_plan(tier=tier), (), decode))
    whole, within = found
    assert torch.allclose(whole, within, atol=1e-4)


def test_quality_stays_what_it_was_within_and_after_other_calls(engine: QwenEngine) -> None:
    before, within = painted(engine, tier=Tier.QUALITY), list[str]()

    def paint(phase: str, step: int, steps: int) -> None:
        if (phase, step) == ("denoising", 1):
            within.extend(painted(engine, tier=Tier.QUALITY))

    list(engine.paint(a_plan(tier=Tier.TURBO), (), paint))
    assert (within, painted(engine, tier=Tier.QUALITY)) == (before, before)


def test_an_error_leaves_the_vae_as_it_was(engine: QwenEngine) -> None:
    before = painted(engine, tier=Tier.QUALITY)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(engine.paint(a_plan(tier=Tier.DRAFT, operation=Operation.GENERATE), (), fail))
    assert painted(engine, tier=Tier.QUALITY) == before
