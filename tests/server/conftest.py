"""What tests of the server share: the miniature, an engine that holds it, and plans to paint."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from qwen_image_studio.contract.words import OutputFormat, Tier, Way
from qwen_image_studio.imaging.masks import Mask
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.operations.request import Given, ready, validated
from qwen_image_studio.planning.plan import PaintPlan

if TYPE_CHECKING:
    from qwen_image_studio.painting.qwen import QwenEngine


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The miniature's row, with weights: the ones in the tree, or else made for this session."""
    model = MODELS["miniature"]
    if not (Path(model.repository) / "model_index.json").is_file():
        from training.build import build

        folder = tmp_path_factory.mktemp("miniature") / "weights"
        build(folder)
        model = replace(model, repository=str(folder))
    return model


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Torch on one thread: where many processes share few cores, two threads wait for each other most of the time."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def engine(miniature: Model, one_thread: None) -> "QwenEngine":
    """An engine on the CPU with the miniature, whose sources are brought to 64 x 64; tests leave it usable."""
    from qwen_image_studio.painting.qwen import open_engine

    return open_engine({miniature.name: replace(miniature, input_pixels=64 * 64)}, "cpu")


def a_plan(**changed: Any) -> PaintPlan:
    """A plan that paints 64 x 64 pixels in two steps, with these fields changed."""
    fields: dict[str, Any] = {
        "model": "miniature",
        "tier": Tier.QUALITY,
        "prompt": "a red apple",
        "negative_prompt": " ",
        "width": 64,
        "height": 64,
        "paint_width": 64,
        "paint_height": 64,
        "steps": 2,
        "guidance_scale": 3.0,
        "seeds": (1,),
        "output_format": OutputFormat.PNG,
    }
    return PaintPlan(**{**fields, **changed})


def painted(engine: "QwenEngine", images: Sequence[Image.Image] = (), **changed: Any) -> list[str]:
    """Digest of each picture that the engine paints for that plan, in order; an edit where there are images."""
    if images:
        changed.setdefault("way", Way.EDIT)
    return [digest(one.image) for one in engine.paint(a_plan(**changed), images)]


def digest(image: Image.Image) -> str:
    """SHA-256 of mode, size and pixels."""
    return hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).hexdigest()


def picture(colour: str = "red", size: tuple[int, int] = (64, 64)) -> Image.Image:
    """A picture with a corner of another colour, so that turning it shows."""
    image = Image.new("RGB", size, colour)
    image.paste("white", (0, 0, size[0] // 2, size[1] // 4))
    return image


def plan_of(
    asked: Mapping[str, Any],
    models: Mapping[str, Model],
    inputs: Sequence[tuple[int, int]] = (),
    mask: Mask | None = None,
    *,
    has_font: bool = False,
) -> tuple[Any, list[str]]:
    """The plan that the recipe makes of these parameters, and its warnings."""
    given = Given(models, inputs=inputs, mask=mask, has_font=has_font)
    made = ready(validated(asked), given).plan(given)
    return made.plan, made.warnings
