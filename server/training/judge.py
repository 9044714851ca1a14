"""A small judge of the miniature's pictures, trained apart on rendered ones: what stands where, on which background.

It has never seen a picture by the miniature. It learns on all pairs of object and background, those that the miniature
is never shown included, and on pictures made worse in ways of every kind, so that it does not take blur for an object.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from safetensors.torch import load_file, save_file
from torch import nn

from training.data.edits import SQUARE
from training.data.scenes import TOKEN, Effect, Layout, Pixels
from training.data.tensors import CLASSES, ICONS, NONE, to_tensor
from training.data.things import COLOURS

HOME = Path(__file__).parent
FILE = "judge.safetensors"
"""Name of its weights: in HOME for the weights of the repository, else in the folder of those that it judges."""
SIDE = SQUARE[0] * TOKEN
TOLERANCE = 24
"""Largest distance of each channel of a background from its named colour, of 255. The nearest two named colours are 64
apart in at least one channel."""


@dataclass(frozen=True)
class Seen:
    """The judge's answers about one picture."""

    icons: tuple[str, ...]
    """Names of the different objects, from left to right."""
    colour: str
    layout: Layout
    effect: Effect


class Judge(nn.Module):
    """Square pictures (n x 3 x 128 x 128, -1 to 1) to scores for the classes of each question. 0.8 million numbers."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 128, 128)
        strides = (2, 2, 2, 2, 1)
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.look = nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128 * 16, 192), nn.ReLU())
        self.answers = nn.ModuleDict({name: nn.Linear(192, count) for name, count in CLASSES.items()})

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scores by question. (n x classes)"""
        seen = self.look(pictures)
        return {name: answer(seen) for name, answer in self.answers.items()}

    @torch.no_grad()
    def see(self, picture: Image.Image) -> Seen:
        """Return what the picture shows; a picture that is not square is padded to a square with its own edge."""
        scores = self(to_tensor(square(picture)[None]))
        best = {name: int(score[0].argmax()) for name, score in scores.items()}
        icons = tuple(ICONS[best[name]] for name in ("object", "second") if best[name] != NONE)
        return Seen(
            icons, list(COLOURS)[best["background"]], list(Layout)[best["layout"]], list(Effect)[best["effect"]]
        )


def load_judge(folder: Path = HOME) -> Judge:
    """Load the judge that was built with the weights in the folder, or else the one of this repository."""
    judge = Judge()
    file = folder / FILE
    judge.load_state_dict(load_file(file if file.is_file() else HOME / FILE))  # in half precision there, in single here
    return judge.eval()


def save_judge(values: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write the state of a trained judge."""
    small = {name: value.half() if value.is_floating_point() else value for name, value in values.items()}
    save_file({name: value.contiguous() for name, value in sorted(small.items())}, folder / FILE)


def square(picture: Image.Image) -> Pixels:
    """Return the picture in the middle of a square of 128 pixels, filled up with the picture's own edge."""
    pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    side = max(height, width)
    above, left = (side - height) // 2, (side - width) // 2
    padded = np.pad(pixels, ((above, side - height - above), (left, side - width - left), (0, 0)), mode="edge")
    return np.asarray(Image.fromarray(padded).resize((SIDE, SIDE), Image.Resampling.BOX)) if side != SIDE else padded


def background_of(picture: Image.Image) -> tuple[float, float, float]:
    """Median red, green and blue along the picture's four edges, two pixels deep."""
    pixels = np.asarray(picture.convert("RGB")).astype(np.float32)
    edge = [pixels[:2], pixels[-2:], pixels[:, :2].swapaxes(0, 1), pixels[:, -2:].swapaxes(0, 1)]
    red, green, blue = np.median(np.concatenate([one.reshape(-1, 3) for one in edge]), axis=0)
    return float(red), float(green), float(blue)


def is_on(picture: Image.Image, colour: str) -> bool:
    """Return whether the background is that colour, within the tolerance in every channel."""
    return max(abs(one - two) for one, two in zip(background_of(picture), COLOURS[colour].rgb, strict=True)) < TOLERANCE


def worsened(rng: np.random.Generator, pixels: Pixels, *, gently: bool = False) -> Pixels:
    """Return the picture blurred, noisy, shifted, recoloured or squeezed a little, as painted ones may be.

    `gently`, only blurred and noisy: about as much as the VAE does.
    """
    picture = Image.fromarray(pixels)
    if gently:
        blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.7))).astype(np.float32)
        noisy = blurred + 4 * rng.standard_normal(blurred.shape, dtype=np.float32)
        seen: Pixels = np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
        return seen
    if rng.random() < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.6)))
    if rng.random() < 0.3:
        small = int(rng.integers(SIDE // 2, SIDE))
        picture = picture.resize((small, small), Image.Resampling.BILINEAR).resize((SIDE, SIDE))
    if rng.random() < 0.3:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
        picture = Image.open(buffer)
    worse: NDArray[np.float32] = np.asarray(picture).astype(np.float32)
    if rng.random() < 0.5:
        worse = np.roll(worse, rng.integers(-4, 5, 2), axis=(0, 1))
    if rng.random() < 0.5:
        shift = rng.uniform(-12, 12, 3).astype(np.float32)
        worse = (worse - 128) * np.float32(rng.uniform(0.85, 1.15)) + 128 + shift
    if rng.random() < 0.5:
        coarse = rng.standard_normal((SIDE // 4, SIDE // 4, 3), dtype=np.float32) * np.float32(rng.uniform(2, 16))
        worse = worse + coarse.repeat(4, axis=0).repeat(4, axis=1)
    if rng.random() < 0.4:
        worse = worse + rng.standard_normal(worse.shape, dtype=np.float32) * np.float32(rng.uniform(1, 12))
    clipped: Pixels = np.clip(worse + 0.5, 0, 255).astype(np.uint8)
    return clipped
