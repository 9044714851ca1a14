"""Previews: from latents to colours by what one chart teaches, and from two steps to where they lead."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from qwen_image_studio.contract.words import OutputFormat, Tier, Way
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.painting import preview
from qwen_image_studio.painting.qwen import open_engine
from qwen_image_studio.planning.plan import PaintPlan
from tests.support.plans import a_plan


class LinearVae(torch.nn.Module):
    """Its latents are a linear function of the colours, eight times smaller: exactly what a preview assumes."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.mix = torch.nn.Parameter(torch.randn(16, 3, generator=generator))
        self.config = SimpleNamespace(latents_mean=[0.1] * 16, latents_std=[2.0] * 16)

    def encode(self, image: torch.Tensor) -> Any:
        """(1, 3, 1, height, width) in -1..1 to a distribution with a mode."""
        small = torch.nn.functional.avg_pool2d(image[:, :, 0], 8)
        latents = torch.einsum("oc,bchw->bohw", self.mix, small)[:, :, None]
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents))


def test_the_chart_teaches_the_colours() -> None:
    vae = LinearVae()
    colours = preview.measure_colours(vae)
    wanted = torch.tensor([0.9, 0.3, 0.1])
    flat = (wanted * 2 - 1)[None, :, None, None, None].expand(1, 3, 1, 64, 96)
    latents = (vae.encode(flat).latent_dist.mode()[0, :, 0] - 0.1) / 2.0
    picture = preview.picture(latents.detach(), colours)
    assert picture.size == (256, 171)
    red, green, blue = picture.resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert (red, green, blue) == pytest.approx((230, 76, 26), abs=2)


def test_two_steps_tell_where_they_lead() -> None:
    clean, noise = torch.full((1, 4, 64), 3.0), torch.randn(1, 4, 64)
    at = [(1 - sigma) * clean + sigma * noise for sigma in (0.8, 0.5)]
    assert torch.allclose(preview.heading_for(at[0], at[1], 0.8, 0.5), clean, atol=1e-5)


@pytest.mark.parametrize("way", [Way.GENERATE, Way.EDIT])
def test_the_engine_shows_previews_and_paints_the_same(
    way: Way, miniature: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "PACE_S", 0.0)
    engine = open_engine({"miniature": MODELS["miniature"]}, "cpu")
    plan = PaintPlan(
        way=way, model="miniature", tier=Tier.QUALITY, prompt="red", negative_prompt=" ", width=96,
        height=64, paint_width=96, paint_height=64, steps=4, guidance_scale=3.0, seeds=(1,),
        output_format=OutputFormat.PNG,
    )  # fmt: skip
    inputs = [Image.new("RGB", (64, 64), "red")] if way is Way.EDIT else []
    shown: list[Image.Image] = []
    with_previews = next(engine.paint(plan, inputs, show=shown.append)).image
    without = next(engine.paint(plan, inputs)).image
    assert with_previews.tobytes() == without.tobytes()
    assert len(shown) == 3  # from the second step on
    assert {picture.size for picture in shown} == {(256, 171)}
    assert len({picture.tobytes() for picture in shown}) == 3


def test_a_quick_job_has_none(miniature: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "PACE_S", 3600.0)  # quick, however loaded the machine is
    engine = open_engine({"miniature": MODELS["miniature"]}, "cpu")
    engine.load("miniature")
    shown: list[Image.Image] = []
    next(engine.paint(a_plan(), (), show=shown.append))
    assert shown == []
