"""The script that the Dockerfile's RUN lines call, run in an empty folder: what it installs serves and paints.

No image was built here, since there is no Docker; this is what is in one, but for the packages of the distribution.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.studio import Studio
from tests.support.waiting import until

# Packages of more than a gigabyte are unpacked.
pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

PROBE = "qwen_image_studio.host.probe"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PACKAGES = ("deploy/install.sh", "server/requirements.txt", "server/constraints.txt")
"""What decides which packages are installed."""


class Installed(Studio):
    """A server that was installed by the script; nothing of the repository is on its path."""

    def __init__(self, folder: Path, prefix: Path) -> None:
        super().__init__(folder)
        self._prefix = prefix
        for name in ("PYTHONPATH", "STUDIO_MODELS", "VIRTUAL_ENV"):
            self.environment.pop(name, None)
        self.environment["PATH"] = f"{prefix / 'bin'}:{os.environ['PATH']}"

    def spawn(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start it as the image's entry point does."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [self._prefix / "bin/qwen-image-studio", *command],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run its Python with the server's settings."""
        return subprocess.run(
            [self._prefix / "bin/python", *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the Dockerfile copies, and nothing else."""
    folder = tmp_path_factory.mktemp("build")
    for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE):
        *names, _ = line.split()
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, folder / name)
    return folder


def step(build: Path, *arguments: str | Path) -> str:
    """Run a step of the script as a RUN line does; what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("STUDIO_", "PYTHON"))}
    answer = subprocess.run(
        ["/bin/sh", build / "deploy/install.sh", *arguments],
        env={**environment, "PYTHON": sys.executable},
        cwd=build,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-3000:]
    return answer.stdout


@pytest.fixture(scope="module")
def prefix(build: Path) -> Path:
    """Where the script has installed the server: the packages once for each version of their lists, as a layer is."""
    digest = hashlib.sha256(sys.version.encode())
    for name in PACKAGES:
        digest.update((ROOT / name).read_bytes())
    folder = ROOT / ".cache/image" / digest.hexdigest()[:16]
    if not (folder / "complete").exists():
        shutil.rmtree(folder.parent, ignore_errors=True)  # of earlier lists, too
        step(build, "packages", folder)
        (folder / "complete").touch()
    assert "qwen-image-studio, version" in step(build, "server", folder)
    return folder


def test_what_is_installed_serves_paints_and_ends_by_sigterm(prefix: Path, tmp_path: Path) -> None:
    studio = Installed(tmp_path, prefix)
    with studio:
        told = studio.python("-c", "import qwen_image_studio as s; print(s.__file__)")
        assert Path(told.stdout.strip()).is_relative_to(prefix), told.stderr
        job = studio.finished(studio.submit(prompt="a red apple", steps=2)["id"])
        assert (job["state"], job["model"]) == ("succeeded", "miniature"), job
        picture = studio.request("GET", f"/v1/images/{job['images'][0]['id']}/content")
        assert (picture.status_code, picture.content[:4]) == (200, b"\x89PNG")
        for role in ("web", "worker", "light"):
            until(partial(is_ready, studio, role))  # a beat comes every 5 s
        assert studio.stop() == 0


def is_ready(studio: Installed, role: str) -> bool:
    """Whether a process of this role says so to the probe."""
    return studio.python("-m", PROBE, role, "--ready").returncode == 0


def test_a_step_that_there_is_not_is_refused(build: Path) -> None:
    for arguments in ([], ["packages"], ["sever", "here"]):
        answer = subprocess.run(
            ["/bin/sh", build / "deploy/install.sh", *arguments], capture_output=True, text=True, check=False
        )
        assert answer.returncode != 0
        assert "packages" in answer.stderr
