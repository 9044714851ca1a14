"""The VAE's stage. A single picture meets only the last tap in time of its kernels, so flat ones are trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import (
    QwenImageCausalConv3d,
    QwenImageResidualBlock,
    QwenImageRMS_norm,
)
from torch import nn

from training import parts
from training.data.scenes import LUMA, TOKEN, Pixels, paste, to_bytes
from training.data.sprites import Atlas
from training.data.tensors import to_tensor
from training.data.things import COLOURS
from training.stages.muon import Muon
from training.stages.run import DEVICE, Mean, compile_blocks, decayed, descend, fast_numbers, random_of, torch_random_of

KL_WEIGHT = 2e-4
RATES = (0.02, 2e-3)  # of Muon and of AdamW
SIDES = (128, 96, 96, 96, 96, 64, 64, 64, 64, 48, 32)  # of the objects, in pixels


class FlatConv(nn.Conv2d):
    """A causal kernel's last tap, for one moment in time: batch x channels x 1 x height x width."""

    def forward(self, x: torch.Tensor, cache_x: Any = None) -> torch.Tensor:
        """As the causal kernel with nothing before."""
        return super().forward(x[:, :, 0]).unsqueeze(2)


class FlatNorm(nn.Module):
    """The VAE's norm, over channels, without its detour: a third faster in bfloat16."""

    def __init__(self, gamma: nn.Parameter) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Bring the mean square over the channels (the second axis) to gamma squared."""
        scale = torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-12)
        return x * scale.to(x.dtype) * self.gamma.to(x.dtype)


def flatten(vae: AutoencoderKLQwenImage) -> AutoencoderKLQwenImage:
    """Put flat kernels in place of the causal ones; kernels over time alone, which one picture never meets, go."""
    for path, module in list(vae.named_modules()):
        parent, _, name = path.rpartition(".")
        flat: nn.Module = nn.Identity()
        if isinstance(module, QwenImageRMS_norm):
            flat = FlatNorm(module.gamma)
        elif not isinstance(module, QwenImageCausalConv3d):
            continue
        elif not path.endswith("time_conv"):
            flat = FlatConv(module.in_channels, module.out_channels, module.kernel_size[1:], padding=module._padding[0])
            flat.load_state_dict({"weight": module.weight[:, :, -1], "bias": module.bias})
        setattr(vae.get_submodule(parent), name, flat)
    return vae


def inflate(values: Mapping[str, torch.Tensor], channels: int = 3) -> AutoencoderKLQwenImage:
    """Return a whole VAE from a flat one's parameters."""
    vae = parts.build_vae(channels)
    whole = vae.state_dict()
    for name, value in whole.items():
        if name not in values:
            value.zero_()
        elif value.dim() == values[name].dim() + 1:
            value.zero_()
            value[:, :, -1] = values[name]
        else:
            value.copy_(values[name])
    vae.load_state_dict(whole)
    return vae


class VaeStage:
    """Pictures of a few objects on plain, named and shaded backgrounds, brought to latents and back."""

    name = "vae"

    def __init__(
        self, atlas: Atlas, seed: int, steps: int, *, batch: int = 16, side: int = 128, fast: bool = False
    ) -> None:
        """`fast` compiles the residual blocks: half a minute first, then twice as fast."""
        self._atlas = atlas
        self._seed, self._steps, self._batch, self._side = seed, steps, batch, side
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.vae = flatten(parts.build_vae())
        self.vae.to(DEVICE)
        if fast:
            compile_blocks(self.vae, QwenImageResidualBlock)
        kernels = [value for value in self.vae.parameters() if value[0].numel() > 1]
        others = [value for value in self.vae.parameters() if value[0].numel() == 1]
        self._optimizers: tuple[torch.optim.Optimizer, ...] = (
            Muon(kernels, lr=RATES[0]),
            torch.optim.AdamW(others, lr=RATES[1], betas=(0.9, 0.99), weight_decay=0.0),
        )
        self.mean = Mean(self.vae, 0.998)

    def step(self, number: int) -> Mapping[str, float]:
        """Return one batch of pictures."""
        rng = random_of(self._seed, self.name, number)
        pictures = np.stack([busy(rng, self._atlas, self._side) for _ in range(self._batch)])
        wanted = to_tensor(pictures).to(DEVICE)
        noise = torch_random_of(rng)
        with fast_numbers():
            moments = moments_of(self.vae, wanted).float()
            mean, logvar = moments.chunk(2, dim=1)
            logvar = logvar.clamp(-20, 10)
            latents = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=noise).to(DEVICE)
            got = pictures_of(self.vae, latents).float()
        off = got - wanted
        error = size_of(off)
        spread = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        torch.autograd.backward(error + KL_WEIGHT * spread)
        descend(self._optimizers, RATES, decayed(number, self._steps))
        self.mean.update(self.vae, number)
        decibels = -10 * torch.log10(off.detach().square().mean() / 4)  # of a range of two
        return {"loss": error.item(), "psnr": decibels.item(), "kl": spread.item()}

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


def size_of(off: torch.Tensor) -> torch.Tensor:
    """Size of a difference of pictures (n x c x h x w); that of neighbours counts besides and keeps edges sharp."""
    edges = (off[..., 1:] - off[..., :-1]).abs().mean() + (off[..., 1:, :] - off[..., :-1, :]).abs().mean()
    size: torch.Tensor = off.abs().mean() + 0.5 * off.square().mean() + 0.5 * edges
    return size


def moments_of(vae: AutoencoderKLQwenImage, pictures: torch.Tensor) -> torch.Tensor:
    """Mean and log variance of the latents, by a flat VAE. (n x 3 x h x w to n x 32 x h/8 x w/8)"""
    moments: torch.Tensor = vae.quant_conv(vae.encoder(pictures.unsqueeze(2)))
    return moments[:, :, 0]


def pictures_of(vae: AutoencoderKLQwenImage, latents: torch.Tensor) -> torch.Tensor:
    """Pictures from latents, by a flat VAE. (n x 16 x h/8 x w/8 to n x 3 x h x w)"""
    pictures: torch.Tensor = vae.decoder(vae.post_quant_conv(latents.unsqueeze(2)))
    return pictures[:, :, 0]


def busy(rng: np.random.Generator, atlas: Atlas, side: int) -> Pixels:
    """Return a square picture richer than the scenes, with shades, any place and gray, so that the VAE learns more."""
    names = atlas.names
    canvas = np.empty((side, side, 3), dtype=np.float32)
    kind = rng.random()
    named = [colour.rgb for colour in COLOURS.values()]
    if kind < 0.6:
        canvas[:] = named[rng.integers(len(named))]
    else:
        ends = rng.uniform(0, 255, (2, 1, 1, 3)) if kind < 0.8 else np.repeat(rng.uniform(0, 255, (1, 1, 1, 3)), 2, 0)
        along = np.linspace(0, 1, side).reshape((side, 1, 1) if rng.random() < 0.5 else (1, side, 1))
        canvas[:] = ends[0] + (ends[1] - ends[0]) * along
    for _ in range(rng.integers(1, 4)):
        size = int(min(side, SIDES[rng.integers(len(SIDES))]))
        corner = rng.integers(-size // 4, side - size // 2, 2)
        if rng.random() < 0.75:
            corner = corner // TOKEN * TOKEN
        paste(canvas, atlas, names[rng.integers(len(names))], (int(corner[0]), int(corner[1])), size)
    if rng.random() < 0.08:
        canvas[:] = canvas @ LUMA[:, None]
    if rng.random() < 0.3:
        canvas = canvas[:, ::-1]
    return np.ascontiguousarray(to_bytes(canvas))


def statistics(vae: AutoencoderKLQwenImage, pictures: torch.Tensor) -> tuple[list[float], list[float]]:
    """Mean and deviation of each latent channel over these pictures, by a flat VAE."""
    with torch.no_grad():
        means = moments_of(vae, pictures).chunk(2, dim=1)[0]
    return means.mean(dim=(0, 2, 3)).tolist(), means.std(dim=(0, 2, 3)).tolist()
