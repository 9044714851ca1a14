"""The miniature and an engine that holds it, as the server's tests have them, and toy runs of the trainer."""

import colorsys
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from qwen_image_studio.models.table import MODELS
from tests.support.miniature import engine, miniature, one_thread
from training.data.edits import Stock
from training.data.scenes import TOKEN, Layout
from training.data.sprites import Atlas
from training.data.things import THINGS
from training.stages.encoder import EncoderStage
from training.stages.flow import FlowStage
from training.stages.judging import JudgeStage
from training.stages.run import Stage, train
from training.stages.table import Table, changed_world, encoder_of, open_table, world
from training.stages.vae import VaeStage

__all__ = ["engine", "miniature", "one_thread"]

SIZES = [(width // TOKEN, height // TOKEN) for width, height in MODELS["miniature"].sizes.values()]
STOCK = Stock(world((8, 8), (Layout.PAIR,), pairs=60))
TOYS = ("vae", "text_encoder", "transformer", "judge")


def quiet(line: str) -> None:
    """An echo that says nothing."""


@pytest.fixture(scope="package")
def atlas() -> Atlas:
    """A disc of its own colour for every object; the apple's is red."""
    drawings = {}
    for index, thing in enumerate(THINGS):
        red, green, blue = (int(255 * one) for one in colorsys.hsv_to_rgb(index / len(THINGS), 0.8, 0.9))
        drawing = Image.new("RGBA", (96, 96))
        ImageDraw.Draw(drawing).ellipse((8, 8, 88, 88), (red, green, blue, 255))
        drawings[thing.icon] = drawing
    return Atlas(drawings)


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory, atlas: Atlas) -> Path:
    """A run whose stages were all trained for two steps."""
    folder = tmp_path_factory.mktemp("run")
    for name in TOYS:
        train(open_toy(name, folder, atlas), folder, 2, echo=quiet)
    return folder


def open_toy(name: str, folder: Path, atlas: Atlas) -> Stage:
    """A stage with tiny batches, planned for four steps."""
    if name == "vae":
        return VaeStage(atlas, 0, 4, batch=2, side=32)
    if name == "text_encoder":
        return EncoderStage(folder, 0, 4, batch=4)
    if name == "judge":
        return JudgeStage(atlas, 0, 4, batch=4)
    return FlowStage(folder, toy_table(folder, atlas), 0, 4, batch=2)


def toy_table(folder: Path, atlas: Atlas) -> Table:
    """A few scenes as latents."""
    return open_table(folder, atlas, world((8, 8), (Layout.BIG,))[:3], "toy")


@pytest.fixture(scope="package")
def table(run: Path, atlas: Atlas) -> Table:
    """Every square scene that an edit may need, with latents that are not worth the work of a VAE."""
    scenes = [*world((8, 8), pairs=60), *changed_world((8, 8))]
    latents = torch.randn(8, 16, 16, 16, generator=torch.Generator().manual_seed(0)).half()
    return Table(scenes, latents[torch.arange(len(scenes)) % 8], encoder_of(run, atlas))
