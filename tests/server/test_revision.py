"""Revisions of weights: what changes them, what does not, and where there is none yet."""

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from qwen_image_studio.models import revision
from qwen_image_studio.models.folders import WEIGHED
from qwen_image_studio.models.revision import revision_of
from qwen_image_studio.models.table import MODELS

LARGE = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def _small_and_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are large from 1001 bytes on, and there is no network."""
    monkeypatch.setattr(revision, "MOST_READ", 1000)

    def refuse(*_: object) -> None:
        raise AssertionError("it went out")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def fill(folder: Path) -> Path:
    """A folder with the files of a model, the transformer's large."""
    for part in WEIGHED:
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
        name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        (folder / part / f"{name}.safetensors").write_bytes(b"w" * 100)
    (folder / LARGE).write_bytes(b"w" * 1001)
    (folder / "model_index.json").write_text("{}")
    return folder


def of(folder: Path) -> str | None:
    """The revision of a model in that folder."""
    return revision_of(replace(MODELS["miniature"], repository=str(folder)))


@pytest.fixture
def copies(tmp_path: Path) -> Callable[[], Path]:
    """A new copy of one model, files' times included, at each call."""
    first, number = fill(tmp_path / "first"), iter(range(1, 100))

    def copy() -> Path:
        return Path(shutil.copytree(first, tmp_path / str(next(number))))

    return copy


def test_the_same_files_are_the_same_revision_wherever_they_lie(copies: Callable[[], Path]) -> None:
    one, other = of(copies()), of(copies())
    assert one == other
    assert one is not None
    assert len(one) == 64


CHANGES: dict[str, Callable[[Path], object]] = {
    "a byte of a small file": lambda at: (at / "vae/diffusion_pytorch_model.safetensors").write_bytes(b"v" * 100),
    "a setting": lambda at: (at / "text_encoder/config.json").write_text('{"a": 1}'),
    "a file more": lambda at: (at / "transformer/more.json").write_text("{}"),
    "a name": lambda at: (at / "model_index.json").rename(at / "index.json"),
    "the size of a large file": lambda at: grown(at / LARGE),
    "the time of a large file": lambda at: os.utime(at / LARGE, ns=(1, 1)),
}


def grown(path: Path) -> None:
    """One byte more at the same time."""
    times = path.stat()
    path.write_bytes(b"w" * (times.st_size + 1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_is_another_revision(copies: Callable[[], Path], change: Callable[[Path], object]) -> None:
    before, changed = of(copies()), copies()
    change(changed)
    assert of(changed) not in {before, None}


KEPT: dict[str, Callable[[Path], object]] = {
    "the time of a small file": lambda at: os.utime(at / "vae/config.json", ns=(1, 1)),
    "a downloader's notes": lambda at: (at / ".gitattributes").write_text("1"),
}


@pytest.mark.parametrize("change", KEPT.values(), ids=KEPT)
def test_what_is_not_of_the_weights_changes_nothing(
    copies: Callable[[], Path], change: Callable[[Path], object]
) -> None:
    before, changed = of(copies()), copies()
    change(changed)
    assert of(changed) == before


def test_it_is_computed_once(copies: Callable[[], Path]) -> None:
    folder = copies()
    before = of(folder)
    (folder / "vae/config.json").write_text("other")
    assert of(folder) == before


def test_there_is_none_before_the_weights_are_whole(copies: Callable[[], Path]) -> None:
    folder = copies()
    shutil.move(folder / LARGE, folder / "elsewhere")
    assert of(folder) is None
    shutil.move(folder / "elsewhere", folder / LARGE)
    assert of(folder) is not None
    assert of(folder / "nowhere") is None


def test_a_repository_is_known_by_the_commit_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    model, cache = MODELS["Qwen-Image"], tmp_path / "models--Qwen--Qwen-Image"
    assert revision_of(model) is None
    old, new = "1" * 40, "2" * 40
    main = cache / "refs/main"
    main.parent.mkdir(parents=True)
    main.write_text(old)
    (cache / "snapshots" / old).mkdir(parents=True)
    assert revision_of(model) is None, "its weights are still on the way"
    fill(cache / "snapshots" / old)
    assert revision_of(model) == old
    fill(cache / "snapshots" / new)
    main.write_text(new)
    assert revision_of(model) == new, "what the next start loads"
    assert revision_of(MODELS["Qwen-Image-2512"]) is None


def test_a_name_that_the_hub_cannot_know_has_none() -> None:
    assert revision_of(replace(MODELS["Qwen-Image"], repository="no such/name/at all")) is None
