"""Contact sheets: what the miniature paints, through the engine itself, to be looked at."""

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from PIL import Image

from server.engine.qwen import QwenImageGenerator
from server.miniature.data.edits import Kind, draw_edit, tell_edit
from server.miniature.data.prompts import LANGUAGES, tell
from server.miniature.data.scenes import Layout, compose, draw_scene
from server.miniature.data.sprites import Atlas

GENERATED = (
    "a red apple on a blue background",
    "蓝色背景上的红苹果",
    "a cat, yellow background",
    "黄色背景，一只猫",
    "a panda on a green background",
    "绿色背景上的熊猫",
    "a rocket on a black background",
    "黑色背景上的火箭",
    "a small star on pink",
    "粉色背景上的小小的星星",
    "a tulip on the left, white background",
    "郁金香在左边，白色背景",
    "a taxi at the bottom, gray background",
    "出租车在下面，灰色背景",
    "two cherries on a purple background",
    "两只熊猫，紫色背景",
    "three balloons on a cyan background",
    "三个气球，青色背景",
    "a dog and a soccer ball, orange background",
    "左边是狗，右边是足球，橙色背景",
)
COLUMNS = 8
SIDE = 128


def paint_sheet(folder: Path, out: Path, prompts: Sequence[str], seed: int = 7, steps: int | None = None) -> None:
    """Paint these prompts with the model in the folder, in reading order."""
    studio = QwenImageGenerator("miniature", device="cpu", model_path=folder)
    tile([studio.generate(prompt=prompt, seed=seed, num_inference_steps=steps)[0] for prompt in prompts]).save(out)


def paint_edits(folder: Path, out: Path, atlas: Atlas, count: int = 40, steps: int | None = None) -> list[str]:
    """Paint random edits of each kind, each after its picture or pictures; returns what was asked, twice for each."""
    studio = QwenImageGenerator("miniature", device="cpu", model_path=folder)
    rng = np.random.default_rng(2)
    pairs = [draw_scene(rng, [Layout.PAIR]) for _ in range(count)]
    kinds = list(Kind)
    pictures, told = [], []
    for index in range(count):
        edit = draw_edit(rng, pairs, [kinds[index // 2 % len(kinds)]])
        asked = tell_edit(rng, edit, LANGUAGES[index % 2])
        sources = [Image.fromarray(compose(scene, atlas)) for scene in edit.sources]
        pictures += [side_by_side(sources), studio.edit(sources, prompt=asked, seed=7, num_inference_steps=steps)[0]]
        told += [asked, asked]
    tile(pictures).save(out)
    return told


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Several pictures of one size as one."""
    width, height = pictures[0].size
    row = Image.new("RGB", (width * len(pictures), height))
    for index, picture in enumerate(pictures):
        row.paste(picture, (index * width, 0))
    return row


def unseen(count: int) -> list[str]:
    """Prompts for pairs of object and background that training never saw, in each language by turns."""
    rng = np.random.default_rng(1)
    layouts = [Layout.BIG, Layout.BIG, Layout.SMALL, Layout.LEFT, Layout.RIGHT]
    return [tell(rng, draw_scene(rng, layouts, unseen=True), LANGUAGES[index % 2]) for index in range(count)]


def tile(pictures: Sequence[Image.Image]) -> Image.Image:
    """The pictures in rows, each brought into a square."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (SIDE + 4), rows * (SIDE + 4)), "white")
    for index, picture in enumerate(pictures):
        small = picture.copy()
        small.thumbnail((SIDE, SIDE))
        sheet.paste(small, (index % COLUMNS * (SIDE + 4), index // COLUMNS * (SIDE + 4)))
    return sheet


def legend(prompts: Sequence[str]) -> None:
    """Tell which prompt is where."""
    for index, prompt in enumerate(prompts):
        click.echo(f"row {index // COLUMNS + 1}, column {index % COLUMNS + 1}: {prompt}")
