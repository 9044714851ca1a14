"""Contact sheets of the layered miniature, on a chequered ground, so that what is clear is seen."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import Way
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.painting.qwen import QwenEngine
from training.data.layers import draw_stack, over, taken_apart, to_layer
from training.data.sprites import Atlas, load_atlas
from training.evaluation.layers import NAME, engine_of, plan_of
from training.sheet import COLUMNS, SEED, SIDE, tile

LOGOS = (
    "an apple",
    "福",
    'the text "SALE"',
    "红苹果",
    "a golden crown",
    "a big cat",
    "文字“5折”",
    "a rocket",
    "a small star",
    "两只熊猫",
    'text "NEW"',
    "a tulip on the left",
    "a dog and a soccer ball",
    "喜",
    "a silver guitar",
    "灯笼",
    "three balloons",
    "新品",
    "a taxi at the bottom",
    "a cup of coffee",
    'text "HOT"',
    "龙",
    "a rose",
    "春",
)
PICTURES = 8  # that are taken apart
CHEQUER = 8  # pixels


def paint(kind: str, weights: Path, cache: Path, out: Path) -> Iterator[str]:
    """Draw a sheet of that kind; yields what was asked and where the picture is."""
    engine = engine_of(weights)
    if kind == "logos":
        pictures, asked, columns = [logo(engine, text) for text in LOGOS], list(LOGOS), COLUMNS
    else:
        pictures, asked, columns = _apart(engine, load_atlas(cache))
    tile([on_chequer(picture) for picture in pictures], columns).save(out)
    for index, text in enumerate(asked):
        yield f"row {index // columns + 1}, column {index % columns + 1}: {text}"


def logo(engine: QwenEngine, prompt: str, seed: int = SEED) -> Image.Image:
    """Return what the engine paints of a prompt on clear ground."""
    recipe = MODELS[NAME].recipe()
    plan = plan_of(0, (SIDE, SIDE), seed, prompt).model_copy(
        update={
            "way": Way.GENERATE,
            "background": Background.TRANSPARENT,
            "guidance_scale": recipe.guidance_scale,
        }
    )
    return next(iter(engine.paint(plan, []))).image


def _apart(engine: QwenEngine, atlas: Atlas) -> tuple[list[Image.Image], list[str], int]:
    """Return pictures of unseen pairs with three layers and what these make, what each is, and the columns."""
    rng = np.random.default_rng(SEED)
    pictures: list[Image.Image] = []
    asked: list[str] = []
    for number in range(PICTURES):
        stack = draw_stack(rng, unseen=True)
        picture = Image.fromarray(to_layer(over(taken_apart(stack, 3, atlas)))).convert("RGB")
        pictures += [picture, *(one.image for one in engine.paint(plan_of(3, picture.size, number), [picture]))]
        asked += ["the picture", "layer 0", "layer 1", "layer 2", "together"]
    return pictures, asked, 5


def on_chequer(picture: Image.Image) -> Image.Image:
    """Return the picture on a ground of light and less light squares."""
    rows, columns = np.indices(picture.size[::-1]) // CHEQUER
    ground = np.where((rows + columns) % 2, 255, 205).astype(np.uint8)
    laid = Image.merge("RGB", [Image.fromarray(ground)] * 3).convert("RGBA")
    return Image.alpha_composite(laid, picture.convert("RGBA")).convert("RGB")
