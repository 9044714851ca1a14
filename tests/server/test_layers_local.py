"""Layers without a server: from the shell into a folder, and in a notebook."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from psd_tools import PSDImage

from qwen_image_studio.__main__ import cli
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.layers import ArchiveFormat
from qwen_image_studio.imaging import read_origin
from qwen_image_studio.local import files, generator
from qwen_image_studio.local.generator import QwenImageGenerator
from tests.support.engine import ScriptedEngine
from tests.support.layers import TAKES_APART, offer_layers, recomposed, toy_layers


@pytest.fixture(autouse=True)
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that takes pictures apart, in the table."""
    offer_layers({}, monkeypatch)
    monkeypatch.setenv("STUDIO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("STUDIO_ENGINE", "tests.support.engine:open_engine")
    (tmp_path / "data").mkdir()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A picture in a file."""
    Image.new("RGB", (96, 64), "red").save(tmp_path / "a.png")
    return tmp_path / "a.png"


def run(*asked: Any) -> Any:
    """What the shell says."""
    return CliRunner().invoke(cli, ["layers", *map(str, asked), "--model", TAKES_APART])


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures are equal."""
    return np.array_equal(np.asarray(one.convert("RGBA")), np.asarray(other.convert("RGBA")))


def test_the_shell_writes_a_folder_of_layers(image: Path, tmp_path: Path) -> None:
    ran = run(image, "--layers", 3, "--seed", 7, "--out", tmp_path / "apart")
    assert ran.exit_code == 0, ran.output
    names = ["01-background.png", "02-layer-1.png", "03-layer-2.png", "recomposed.png"]
    assert sorted(path.name for path in (tmp_path / "apart").iterdir()) == names
    made = toy_layers(3, (96, 64), 7)
    for name, layer in zip(names, [*made, recomposed(made)], strict=True):
        assert same(Image.open(tmp_path / "apart" / name), layer)
        assert name in ran.output
    facts = read_origin((tmp_path / "apart" / names[1]).read_bytes())
    assert (facts["layer"], facts["layers"], facts["seed"]) == (1, 3, 7)


def test_the_shell_writes_documents_beside_them(image: Path, tmp_path: Path) -> None:
    folder, documents = tmp_path / "apart", ("--document", "psd", "--document", "pptx")
    ran = run(image, "--seed", 7, "--format", "webp", *documents, "-o", folder)
    assert ran.exit_code == 0, ran.output
    layers = {"01-background.webp", "02-layer-1.webp", "03-layer-2.webp", "04-layer-3.webp", "recomposed.webp"}
    assert {path.name for path in folder.iterdir()} == {*layers, "layers.psd", "layers.pptx"}
    assert len(PSDImage.open(io.BytesIO((folder / "layers.psd").read_bytes()))) == 4


def test_the_shell_says_what_a_document_needs_before_it_paints(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "can_make", lambda kind: kind is ArchiveFormat.ZIP)
    ran = run(image, "--document", "psd", "--out", tmp_path / "apart")
    assert isinstance(ran.exception, StudioError)
    assert "qwen-image-studio[design]" in ran.exception.message
    assert not (tmp_path / "apart").exists()


def test_the_shell_takes_two_to_eight_layers(image: Path, tmp_path: Path) -> None:
    ran = run(image, "--layers", 9, "--out", tmp_path / "apart")
    assert isinstance(ran.exception, StudioError)
    assert ran.exception.param == "layers"


def test_the_notebook_gives_the_layers_and_what_they_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "QwenEngine", lambda *_asked, **_named: ScriptedEngine(TAKES_APART, "cpu"))
    apart = QwenImageGenerator(TAKES_APART, device="cpu").layers(Image.new("RGB", (96, 64), "red"), layers=3, seed=7)
    made = toy_layers(3, (96, 64), 7)
    assert len(apart.layers) == 3
    assert all(same(layer, own) for layer, own in zip(apart.layers, made, strict=True))
    assert same(apart.recomposed, recomposed(made))
    assert apart.recomposed.info["seed"] == 7
