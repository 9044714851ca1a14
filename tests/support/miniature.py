"""The miniature, and an engine that holds it, for the tests of a session."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qwen_image_studio.models.table import MODELS, Model

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
