"""A toy that takes pictures apart: its family, its row of the table, and the layers that it makes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from qwen_image_studio.contract.words import Way
from qwen_image_studio.models.families import FAMILIES
from qwen_image_studio.models.families.qwen_image_edit import QwenImageEdit
from qwen_image_studio.models.table import MODELS, Model

TAKES_APART = "takes-apart"
"""Name of the toy model and of its family."""


class TakesApart(QwenImageEdit):
    """A family with layers; nobody paints with it."""

    layers = True
    alpha = True


def offer_layers(models: Mapping[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer the toy beside what a server offers; it is in the table, too."""
    monkeypatch.setitem(FAMILIES, TAKES_APART, TakesApart())
    row = replace(
        MODELS["miniature"],
        name=TAKES_APART,
        families={Way.LAYERS: TAKES_APART},
        max_pixels=512 * 512,
        stands_in=False,
        aliases=(),
    )
    for table in (MODELS, models):
        monkeypatch.setitem(_changeable(table), TAKES_APART, row)


def _changeable(models: Mapping[str, Model]) -> Any:
    return models


def toy_layers(count: int, size: tuple[int, int], seed: int) -> list[Image.Image]:
    """So many layers: an opaque ground, and on it squares with soft edges that lie partly on one another."""
    width, height = size
    made = [Image.new("RGBA", size, (seed % 256, 90, 160, 255))]
    for number in range(1, count):
        side = max(4, min(size) // 3)
        square = Image.new("RGBA", (side, side), (40 * number % 256, 200 - 20 * number, 30, 128))
        square.paste((40 * number % 256, 200 - 20 * number, 30, 255), (1, 1, side - 1, side - 1))
        layer = Image.new("RGBA", size, (0, 0, 0, 0))
        layer.paste(square, (number * (width - side) // count, number * (height - side) // count))
        made.append(layer)
    return made


def recomposed(layers: Sequence[Image.Image]) -> Image.Image:
    """The layers laid one on the other."""
    whole = layers[0]
    for layer in layers[1:]:
        whole = Image.alpha_composite(whole, layer)
    return whole
