"""The layered miniature's VAE: the miniature's own, which learns transparency as a fourth channel.

Latents of opaque pictures stay what they were, so that what the transformer knows of them still holds. How clear a
pixel is counts for itself and in pictures laid over random grounds; which colour a clear pixel has hardly counts.
Method of the fourth channel: Yin et al., "Qwen-Image-Layered: Towards Inherent Editability via Layer Decomposition",
2025.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageResidualBlock
from torch import nn

from training import parts
from training.data.layers import Canvas, Layer, to_layer
from training.data.scenes import MATERIALS, TOKEN, made_of
from training.data.sprites import Atlas
from training.data.tensors import to_tensor
from training.stages.muon import Muon
from training.stages.run import DEVICE, Mean, compile_blocks, decayed, descend, fast_numbers, random_of, torch_random_of
from training.stages.vae import busy, flatten, moments_of, pictures_of, size_of

RATES = (0.006, 1e-3)  # of Muon and of AdamW
KEPT_WEIGHT = 1.0  # of the change of opaque pictures' latents
NEAR_WEIGHT = 0.02  # of the distance of clear pictures' latents from those of the same on white
CLEAR_WEIGHT = 0.1  # of the colours of what is clear
SIDES = (96, 64, 64, 64, 48, 48, 32)  # of the objects, in pixels


def alpha_vae(weights: Path) -> AutoencoderKLQwenImage:
    """Return the VAE of these weights with a fourth channel, which it ignores so far and in which all is opaque."""
    own = AutoencoderKLQwenImage.from_pretrained(weights / "vae", torch_dtype=torch.float32, local_files_only=True)
    vae = parts.build_vae(channels=4)
    vae.register_to_config(**{name: own.config[name] for name in ("latents_mean", "latents_std")})
    values = own.state_dict()
    for name, value in vae.state_dict().items():
        if value.shape == values[name].shape:
            continue
        wider = torch.zeros_like(value)
        known = values[name]
        wider[tuple(slice(size) for size in known.shape)] = known
        if name == "decoder.conv_out.bias":
            wider[3] = 1.0
        values[name] = wider
    vae.load_state_dict(values)
    return vae


class AlphaStage:
    """Opaque pictures and cut-out objects, brought to latents and back."""

    name = "alpha"

    def __init__(
        self, weights: Path, atlas: Atlas, seed: int, steps: int, *, batch: int = 12, side: int = 64, fast: bool = False
    ) -> None:
        """`weights` are the miniature's; `fast` compiles the residual blocks."""
        self._atlas = atlas
        self._seed, self._steps, self._batch, self._side = seed, steps, batch, side
        own = AutoencoderKLQwenImage.from_pretrained(weights / "vae", torch_dtype=torch.float32, local_files_only=True)
        self._own = flatten(own).eval().requires_grad_(False).to(DEVICE)
        self.vae = flatten(alpha_vae(weights)).to(DEVICE)
        if fast:
            compile_blocks(self.vae, QwenImageResidualBlock)
        kernels = [value for value in self.vae.parameters() if value[0].numel() > 1]
        others = [value for value in self.vae.parameters() if value[0].numel() == 1]
        self._optimizers: tuple[torch.optim.Optimizer, ...] = (
            Muon(kernels, lr=RATES[0]),
            torch.optim.AdamW(others, lr=RATES[1], betas=(0.9, 0.99), weight_decay=0.0),
        )
        self.mean = Mean(self.vae, 0.995)

    def step(self, number: int) -> Mapping[str, float]:
        """Learn from one batch of pictures, two thirds of them with transparency."""
        rng = random_of(self._seed, self.name, number)
        opaque = self._batch // 3
        pictures = np.stack(
            [opaque_layer(busy(rng, self._atlas, self._side)) for _ in range(opaque)]
            + [cut_outs(rng, self._atlas, self._side) for _ in range(self._batch - opaque)]
        )
        wanted = to_tensor(pictures).to(DEVICE)
        ground = torch.from_numpy(rng.uniform(-1, 1, (len(wanted), 3, 1, 1))).float().to(DEVICE)
        noise = torch_random_of(rng)
        with fast_numbers(), torch.no_grad():
            before = moments_of(self._own, wanted[:, :3]).float().chunk(2, dim=1)[0]
        with fast_numbers():
            mean, logvar = moments_of(self.vae, wanted).float().chunk(2, dim=1)
            logvar = logvar.clamp(-20, 10)
            latents = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=noise).to(DEVICE)
            got = pictures_of(self.vae, latents).float()
        off = laid_over(got, ground) - laid_over(wanted, ground)
        alpha = got[:, 3:] - wanted[:, 3:]
        clear = (got[:, :3] - wanted[:, :3]) * (wanted[:, 3:] < -0.99)
        error = size_of(off) + size_of(alpha) + CLEAR_WEIGHT * clear.abs().mean()
        moved = (mean - before).square().mean(dim=(1, 2, 3))
        kept = KEPT_WEIGHT * moved[:opaque].mean() + NEAR_WEIGHT * moved[opaque:].mean()
        spread = (logvar.exp() - 1 - logvar).mean()
        torch.autograd.backward(error + kept + 1e-4 * spread)
        nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        descend(self._optimizers, RATES, decayed(number, self._steps))
        self.mean.update(self.vae, number)
        with torch.no_grad():
            seen, there = got[opaque:, 3] > 0, wanted[opaque:, 3] > 0
            common = (seen & there).sum() / (seen | there).sum()
            decibels = -10 * torch.log10(off.square().mean() / 4)
        return {
            "loss": error.item(),
            "psnr": decibels.item(),
            "iou": common.item(),
            "moved": moved[:opaque].mean().item(),
        }

    def state(self) -> dict[str, Any]:
        """See Stage."""
        return {
            "vae": self.vae.state_dict(),
            "mean": self.mean.values,
            "optimizers": [one.state_dict() for one in self._optimizers],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See Stage."""
        self.vae.load_state_dict(state["vae"])
        self.mean.restore(state["mean"])
        for optimizer, kept in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)


def laid_over(pictures: torch.Tensor, ground: torch.Tensor) -> torch.Tensor:
    """Return pictures laid over a ground. (n x 4 x h x w and n x 3 x 1 x 1, all from -1 to 1, to n x 3 x h x w)"""
    alpha = (pictures[:, 3:] + 1) / 2
    return alpha * pictures[:, :3] + (1 - alpha) * ground


def opaque_layer(picture: Layer) -> Layer:
    """Return a picture (h x w x 3) with an alpha channel."""
    return np.concatenate([picture, np.full_like(picture[..., :1], 255)], axis=2)


def cut_outs(rng: np.random.Generator, atlas: Atlas, side: int) -> Layer:
    """Return a square of up to three objects on clear ground, anywhere, seldom none, some in gold or silver."""
    canvas: Canvas = np.zeros((side, side, 4), dtype=np.float32)
    names = atlas.names
    for _ in range(int(rng.choice([0, 1, 1, 1, 1, 1, 1, 2, 2, 3]))):
        size = int(SIDES[rng.integers(len(SIDES))])
        sprite = atlas.sprite(names[rng.integers(len(names))], size)
        if rng.random() < 0.15:
            sprite = made_of(list(MATERIALS)[int(rng.integers(len(MATERIALS)))], sprite)
        x, y = rng.integers(-size // 2, side - size // 2, 2)
        if rng.random() < 0.6:
            x, y = x // TOKEN * TOKEN, y // TOKEN * TOKEN
        top, left, bottom, right = max(0, -y), max(0, -x), min(size, side - y), min(size, side - x)
        here = canvas[y + top : y + bottom, x + left : x + right]
        cut = sprite[top:bottom, left:right]
        here *= 1 - cut[..., 3:]
        here += cut
    return to_layer(canvas)


def flat_vae(state: Mapping[str, torch.Tensor], weights: Path) -> AutoencoderKLQwenImage:
    """Return the flat VAE of the stage's running means."""
    vae = flatten(alpha_vae(weights)).eval().requires_grad_(False)
    with torch.no_grad():
        for name, value in vae.named_parameters():
            value.copy_(state[name])
    return vae
