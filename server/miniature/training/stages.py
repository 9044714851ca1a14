"""The stages by name, in the order in which they are trained."""

from pathlib import Path

from server.engine import MODELS
from server.miniature.data.scenes import TOKEN, Layout
from server.miniature.data.sprites import NOTO, Atlas, load_atlas
from server.miniature.data.things import THINGS
from server.miniature.training.editing import EditStage, FormatStage
from server.miniature.training.encoder import EncoderStage
from server.miniature.training.eyes import EyesStage
from server.miniature.training.flow import FlowStage
from server.miniature.training.run import Stage
from server.miniature.training.table import changed_world, open_table, world
from server.miniature.training.vae import VaeStage

STEPS = {"vae": 3000, "text_encoder": 600, "transformer": 4000, "eyes": 800, "edit": 4000, "formats": 2000}
"""How long the recipe trains each stage."""
SQUARE = (8, 8)  # width and height in tokens
OTHER_PAIRS = 1000  # scenes with two objects in each other size


def drawings(cache: Path) -> Atlas:
    """Every object's drawing."""
    return load_atlas(cache, NOTO, [thing.icon for thing in THINGS])


def open_stage(name: str, run: Path, cache: Path, seed: int, steps: int) -> Stage:
    """The stage as it begins; `run` holds the stages before it."""
    if name == "text_encoder":
        return EncoderStage(run, seed, steps)
    atlas = drawings(cache)
    if name == "vae":
        return VaeStage(atlas, seed, steps, fast=True)
    if name == "eyes":
        return EyesStage(run, atlas, world(SQUARE, (Layout.PAIR,)), seed, steps)
    table = open_table(run, atlas, world(SQUARE), "square")
    if name == "transformer":
        return FlowStage(run, table, seed, steps, fast=True)
    table = table.with_more(open_table(run, atlas, changed_world(SQUARE), "changed"))
    if name == "edit":
        return EditStage(run, table, atlas, seed, steps, fast=True)
    others = [open_table(run, atlas, world(size, pairs=OTHER_PAIRS), f"{size[0]}x{size[1]}") for size in other_sizes()]
    return FormatStage(run, table, others, atlas, seed, steps, fast=True)


def other_sizes() -> list[tuple[int, int]]:
    """Widths and heights in tokens of the miniature's other native sizes."""
    sizes = [(width // TOKEN, height // TOKEN) for width, height in MODELS["miniature"].sizes.values()]
    return [size for size in sizes if size != SQUARE]
