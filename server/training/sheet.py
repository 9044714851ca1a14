"""Contact sheets: what the miniature paints, through the engine itself, to be looked at."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from qwen_image_studio.local.generator import QwenImageGenerator, one
from qwen_image_studio.models.table import MODELS
from training.data.edits import Kind, Stock, draw_edit, tell_edit
from training.data.prompts import LANGUAGES, tell
from training.data.scenes import TOKEN, Layout, compose, draw_scene
from training.data.sprites import Atlas, load_atlas

TOLD = (
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
    "a golden car on a black background",
    "黑色背景上的金色的汽车",
    "a silver crown on purple",
    "银色的吉他，红色背景",
    'the text "SALE" on a yellow background',
    "红色背景上的福字",
    "text '福', red background",
    "文字“5折”，黄色背景",
    "a red lantern and a firecracker on a yellow background",
    "灯笼和龙，红色背景",
    "a handbag on white",
    "粉色背景上的口红",
)
OF_EACH_KIND = 4  # edits
OF_EACH_SIZE = 2  # pictures
TIERS: tuple[Literal["quality", "turbo"], ...] = ("quality", "turbo")
OF_TIERS = (18, 12)  # prompts and edits that are painted in both tiers
TIERS_COLUMNS = 6
COLUMNS = 8
SIDE = 128
SEED = 7


def paint(kind: str, weights: Path, cache: Path, out: Path) -> Iterator[str]:
    """Paint a sheet of that kind; yields what was asked and where the picture is."""
    studio = QwenImageGenerator("miniature", device="cpu", model_path=weights)
    if kind == "edits":
        pictures, asked = edited(studio, load_atlas(cache))
    elif kind == "sizes":
        pictures, asked = of_other_sizes(studio)
    elif kind == "tiers":
        pictures, asked = in_tiers(studio, load_atlas(cache))
    else:
        asked = list(TOLD) if kind == "told" else unseen(40)
        pictures = [one(studio.generate(prompt=prompt, seed=SEED)) for prompt in asked]
    columns = TIERS_COLUMNS if kind == "tiers" else COLUMNS
    tile(pictures, columns).save(out)
    for index, prompt in enumerate(asked):
        yield f"row {index // columns + 1}, column {index % columns + 1}: {prompt}"


def edited(studio: QwenImageGenerator, atlas: Atlas) -> tuple[list[Image.Image], list[str]]:
    """Random edits of each kind, of pairs that training never saw: what was there, and the result."""
    rng = np.random.default_rng(2)
    kinds = list(Kind)
    pictures, asked = [], []
    for index in range(OF_EACH_KIND * len(kinds)):
        edit = draw_edit(rng, Stock(unseen=True), [kinds[index // OF_EACH_KIND]])
        prompt = tell_edit(rng, edit, LANGUAGES[index % 2])
        sources = [Image.fromarray(compose(scene, atlas)) for scene in edit.sources]
        pictures += [side_by_side(sources), one(studio.edit(sources, prompt=prompt, seed=SEED))]
        asked += [f"before: {prompt}", f"after: {prompt}"]
    return pictures, asked


def of_other_sizes(studio: QwenImageGenerator) -> tuple[list[Image.Image], list[str]]:
    """Pictures of each native size, and each of them edited."""
    rng = np.random.default_rng(3)
    pictures, asked = [], []
    for index, (width, height) in enumerate([*MODELS["miniature"].sizes.values()] * OF_EACH_SIZE):
        scene = draw_scene(rng, [Layout.BIG, Layout.LEFT, Layout.PAIR], (width // TOKEN, height // TOKEN), unseen=True)
        prompt = tell(rng, scene, LANGUAGES[index % 2])
        picture = one(studio.generate(prompt=prompt, seed=SEED, width=width, height=height))
        changed = ("make the background black", "把背景改成黑色")[index % 2]
        pictures += [picture, one(studio.edit(picture, prompt=changed, seed=SEED))]
        asked += [f"{width}x{height}: {prompt}", changed]
    return pictures, asked


def in_tiers(studio: QwenImageGenerator, atlas: Atlas) -> tuple[list[Image.Image], list[str]]:
    """Prompts in quality and in turbo, with the same seed, then edits: what was there, quality, turbo."""
    rng = np.random.default_rng(4)
    pictures, asked = [], []
    told, edits = OF_TIERS
    for prompt in unseen(told):
        for tier in TIERS:
            pictures.append(one(studio.generate(prompt=prompt, seed=SEED, tier=tier)))
            asked.append(f"{tier}: {prompt}")
    kinds = list(Kind)
    for index in range(edits):
        edit = draw_edit(rng, Stock(unseen=True), [kinds[index % len(kinds)]])
        prompt = tell_edit(rng, edit, LANGUAGES[index % 2])
        sources = [Image.fromarray(compose(scene, atlas)) for scene in edit.sources]
        pictures.append(side_by_side(sources))
        pictures += [one(studio.edit(sources, prompt=prompt, seed=SEED, tier=tier)) for tier in TIERS]
        asked += [f"{name}: {prompt}" for name in ("before", *TIERS)]
    return pictures, asked


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return several pictures of one size as one."""
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


def tile(pictures: Sequence[Image.Image], columns: int = COLUMNS) -> Image.Image:
    """Return the pictures in rows, each brought into a square."""
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (SIDE + 4), rows * (SIDE + 4)), "white")
    for index, picture in enumerate(pictures):
        small = picture.copy()
        small.thumbnail((SIDE, SIDE))
        sheet.paste(small, (index % columns * (SIDE + 4), index // columns * (SIDE + 4)))
    return sheet
