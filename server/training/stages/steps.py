"""The stages by name, in the order in which they are trained."""

from pathlib import Path

from training.data.edits import Stock
from training.data.scenes import Layout
from training.data.sprites import load_atlas
from training.stages.alpha import AlphaStage
from training.stages.distilling import DistilStage
from training.stages.editing import EditStage
from training.stages.encoder import EncoderStage
from training.stages.eyes import EyesStage
from training.stages.flow import FlowStage
from training.stages.judging import JudgeStage
from training.stages.layers import LayersStage
from training.stages.run import Stage
from training.stages.table import changed_world, open_table, world
from training.stages.vae import VaeStage

STEPS = {
    "vae": 2400,
    "text_encoder": 600,
    "transformer": 2400,
    "eyes": 3000,
    "edit": 5000,
    "judge": 2800,
    "distil": 480,
    "alpha": 800,
    "layers": 7500,
}
"""Number of steps for which the recipe trains each stage."""
TOY_STEPS = 2
TOY_STRIDE = 997  # at toy length one in this many scenes is encoded


def open_stage(name: str, run: Path, cache: Path, weights: Path, seed: int, steps: int, *, toy: bool = False) -> Stage:
    """Return the stage before its first step; `run` holds the earlier stages, and `weights` are those that the last
    stages begin from. With `toy` its batches are tiny.
    """
    batch = {"batch": 2} if toy else {}
    fast = not toy
    if name == "text_encoder":
        return EncoderStage(run, seed, steps, **batch)
    atlas = load_atlas(cache)
    if name == "vae":
        return VaeStage(atlas, seed, steps, fast=fast, **batch)
    if name == "judge":
        return JudgeStage(atlas, seed, steps, **batch)
    if name == "alpha":
        return AlphaStage(weights, atlas, seed, steps, fast=fast, **batch)
    if name == "layers":
        return LayersStage(run, weights, atlas, seed, steps, **({"tokens": 300} if toy else {}))
    if name == "distil":
        return DistilStage(run, weights, atlas, seed, steps, fast=fast, **batch)
    if name == "eyes":
        return EyesStage(run, atlas, Stock(world(layouts=(Layout.PAIR,))), seed, steps, **batch)
    scenes = world() + changed_world()
    table = open_table(run, atlas, scenes[::TOY_STRIDE] if toy else scenes)
    if name == "transformer":
        return FlowStage(run, table, seed, steps, fast=fast, **batch)
    return EditStage(run, table, atlas, seed, steps, fast=fast, **batch)
