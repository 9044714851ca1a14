"""The server as a package: one version, ranges that hold the pins, a wheel that runs where the repository is not."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import qwen_image_studio
import tools.versions
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.planning.engine import open_engine
from qwen_image_studio.settings import Settings
from tests.support import ROOT

SERVER = ROOT / "server"
VERSION = yaml.safe_load((ROOT / "manifest.yaml").read_text(encoding="utf-8"))["version"]
"""The manifest leads."""


# -- the version ---------------------------------------------------------------------------------------------------


def test_package_plugin_and_contract_have_the_manifests_version() -> None:
    assert qwen_image_studio.__version__ == VERSION
    assert tools.versions.VERSION == VERSION
    assert json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))["info"]["version"] == VERSION


@pytest.mark.parametrize("readme", [ROOT / "README.md", *sorted((ROOT / "readme").glob("*.md"))], ids=lambda p: p.name)
def test_a_readme_names_the_package_that_is_made(readme: Path) -> None:
    named = re.findall(r"qwen_image_studio-([\w.]+)\.difypkg", readme.read_text(encoding="utf-8"))
    assert set(named) <= {VERSION, f"{VERSION}.signed"}
    assert named[0] == VERSION


# -- what it needs -------------------------------------------------------------------------------------------------


def required(lines: list[str]) -> dict[str, Requirement]:
    """Requirements by the canonical name of what they name."""
    return {canonicalize_name(each.name): each for each in map(Requirement, lines)}


PROJECT = tomllib.loads((SERVER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RANGES = required([*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())])
PINS = required([line for line in (SERVER / "requirements.txt").read_text().splitlines() if line[0] not in "#-"])
ALL_PINS = required([line for line in (SERVER / "constraints.txt").read_text().splitlines() if line[0] not in "#-"])


def pinned(requirement: Requirement) -> str:
    """The one version that a pin allows."""
    [specifier] = requirement.specifier
    assert specifier.operator == "==", requirement
    return specifier.version


def test_the_ranges_and_the_pins_name_the_same_packages() -> None:
    assert RANGES.keys() == PINS.keys()


def test_a_pin_lies_within_its_range() -> None:
    for name, pin in PINS.items():
        version = pinned(pin)
        assert RANGES[name].specifier.contains(version), f"{version} of {name} is not in {RANGES[name]}"
        assert pinned(ALL_PINS[name]) == version, name


# -- the wheel -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the tree as it stands."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(SERVER))
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--target", str(folder), str(wheel))
    return folder


class Elsewhere:
    """Runs commands beside an installed package."""

    def __init__(self, installed: Path, folder: Path) -> None:
        self._installed, self.folder = installed, folder

    def run(self, *command: str) -> str:
        """Run a command; what it prints."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}
        environment = {**kept, "PYTHONPATH": str(self._installed), "STUDIO_DEVICES": "cpu"}
        answer = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def python(self, *arguments: str) -> str:
        """Run this Python; what it prints."""
        return self.run(sys.executable, *arguments)


@pytest.fixture
def elsewhere(installed: Path, tmp_path: Path) -> Elsewhere:
    """A folder in which the installed package runs; nothing of the tree is on its path."""
    return Elsewhere(installed, tmp_path)


def pip(*arguments: str) -> None:
    """Run pip, which asks no index."""
    command = [sys.executable, "-m", "pip", *arguments[:1], "--no-index", *arguments[1:]]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_the_wheel_holds_all_that_the_server_reads(wheel: Path) -> None:
    assert wheel.name.startswith(f"qwen_image_studio-{VERSION}-py3-none-any")
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if name.startswith("qwen_image_studio/")}
    package = SERVER / "qwen_image_studio"
    own = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert there == {path.relative_to(SERVER).as_posix() for path in own}
    weights = {"transformer/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"}
    needed = {f"miniature/weights/{name}" for name in weights}
    needed |= {
        "miniature/lora/turbo.safetensors",
        "py.typed",
        "prompts/templates.toml",
        "database/migrations/script.py.mako",
    }
    needed |= {f"database/migrations/versions/{path.name}" for path in package.glob("database/migrations/versions/0*")}
    assert {f"qwen_image_studio/{name}" for name in needed} <= there


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {
        "qwen_image_studio",
        f"qwen_image_studio-{VERSION}.dist-info",
    }
    parts = {part for name in names for part in name.split("/")}
    assert not parts & {"training", "tests", "judge.safetensors", "__pycache__"}


def test_the_installed_package_runs_from_its_own_folder(elsewhere: Elsewhere, installed: Path) -> None:
    where = elsewhere.python("-c", "import qwen_image_studio; print(qwen_image_studio.__file__)").strip()
    assert Path(where) == installed / "qwen_image_studio/__init__.py"
    command = installed / "bin/qwen-image-studio"
    assert elsewhere.run(str(command), "--version").split()[-1] == VERSION


def test_the_installed_package_paints(elsewhere: Elsewhere) -> None:
    few = ("-o", "a.png", "--steps", "2", "--size", "64x64")
    said = elsewhere.python("-m", "qwen_image_studio", "generate", "a red apple", *few)
    assert said.startswith("a.png  64x64")
    with Image.open(elsewhere.folder / "a.png") as made:
        assert (made.format, made.size) == ("PNG", (64, 64))


def test_the_installed_package_migrates_a_database(elsewhere: Elsewhere) -> None:
    elsewhere.python("-m", "qwen_image_studio", "keys", "add", "dify")
    assert (
        elsewhere.python("-m", "qwen_image_studio", "keys", "list") == "dify\tdify\tactive\tgenerate,edit\tno limits\n"
    )


# -- what 0.1.0 was called -----------------------------------------------------------------------------------------


def test_the_former_command_goes_on_in_the_repository() -> None:
    command = [sys.executable, "-m", "server", "--version"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == f"qwen-image-studio, version {VERSION}\n"


def test_the_former_name_of_the_engine_opens_it() -> None:
    settings = Settings(engine="server.engine.qwen:open_engine")
    engine = open_engine(settings, {"miniature": MODELS["miniature"]}, "cpu")
    assert (type(engine).__name__, engine.device, engine.loaded) == ("QwenEngine", "cpu", None)
