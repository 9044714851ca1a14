"""What ``.difyignore`` lets into the package, and that this alone runs."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pathspec import GitIgnoreSpec

from tests.plugin.conftest import ROOT
from tests.plugin.daemon import Daemon

TOP = {
    *("manifest.yaml", "main.py", "requirements.txt", "PRIVACY.md", "LICENSE"),
    *("_assets", "provider", "tools"),
}
WRITTEN_ELSEWHERE = {"README.md", "readme"}
MAX_BYTES = 2_000_000


def packaged() -> Iterator[Path]:
    """Files of the package, found as Dify's packager finds them: everything that ``.difyignore`` does not exclude."""
    spec = GitIgnoreSpec.from_lines((ROOT / ".difyignore").read_text().splitlines())
    for folder, folders, files in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        folders[:] = [name for name in folders if not spec.match_file(f"{here / name}/")]
        yield from (here / name for name in files if not spec.match_file(str(here / name)))


@pytest.fixture(scope="module")
def package() -> list[Path]:
    """Files of the package, relative to its root."""
    return sorted(packaged())


def test_top_level_is_exactly_the_plugin(package: list[Path]) -> None:
    top = {path.parts[0] for path in package}
    assert top - WRITTEN_ELSEWHERE == TOP


def test_nothing_else_travels(package: list[Path]) -> None:
    suffixes = {path.suffix for path in package}
    assert suffixes <= {".py", ".yaml", ".txt", ".md", ".svg", ".png", ".jpg", ".webp", ""}
    assert not [path for path in package if path.name in {"pyproject.toml", ".env", "uv.lock"}]
    assert not [path for path in package if {"tests", "__pycache__", "server"} & set(path.parts)]


def test_size(package: list[Path]) -> None:
    assert sum((ROOT / path).stat().st_size for path in package) < MAX_BYTES


@pytest.mark.parametrize(
    "path",
    [
        "server/app.py",
        "tests/plugin/daemon.py",
        "docs/architecture.md",
        "examples/chatflow.yml",
        "benchmarks/load.py",
        "Makefile",
        "pyproject.toml",
        ".ci/run",
        ".git/HEAD",
        ".gitignore",
        ".venv/bin/python",
        ".venv-plugin/bin/python",
        ".env",
        "data/studio.sqlite",
        "demo/out.png",
        "dist/plugin.difypkg",
        ".mypy_cache/x",
        "tools/__pycache__/client.cpython-312.pyc",
    ],
)
def test_kept_out(path: str) -> None:
    spec = GitIgnoreSpec.from_lines((ROOT / ".difyignore").read_text().splitlines())
    assert spec.match_file(path)


def test_no_pattern_brings_back() -> None:
    """Dify's packager takes the first match that excludes; a later !line does nothing there (trap T6)."""
    assert not [line for line in (ROOT / ".difyignore").read_text().splitlines() if line.startswith("!")]


def test_the_package_runs_without_the_repository(package: list[Path], sdk_python: Path, tmp_path: Path) -> None:
    for path in package:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    with Daemon(sdk_python, tmp_path) as daemon:
        outcome = daemon.invoke("qwen_image", "image_edit", {"prompt": "x"}, {"server_url": "http://a"}, timeout=20)
    assert outcome.error is not None
    assert outcome.error.message.startswith("Give the image to edit")
    assert daemon.noise == []
