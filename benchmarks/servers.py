"""The servers that ``make bench`` measures in turns: ours, that of an earlier commit, and the simplest one."""

import itertools
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import requests

from benchmarks.calls import ROOT
from tests.support.studio import free_port

MIB = 2**20
PROMPT = "蓝色背景上的红苹果"
START_S = 600.0
"""Longest wait for a server to be ready, in seconds; a busy machine imports torch for minutes."""
ANSWER_S = 600.0
"""Longest wait for an answer, in seconds."""
OURS = f"{ROOT}{os.pathsep}{ROOT / 'server'}"
"""Where Python finds the code of this checkout."""
KINDER = ("nice", "-n", "5")
"""Starts what paints as our own worker is started, so that a busy machine slows both alike."""


BY_ROUTE = 1_000_000
"""Added to the seeds of OpenAI's route, since a picture of a job with that seed would answer it."""


class Server:
    """A server in processes of its own, with its folder and port; use it as a context manager."""

    def __init__(
        self, name: str, folder: Path, command: Callable[[int], list[str]], environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder, self._command, self._environment = folder / name, command(self.port), environment
        self._folder.mkdir()
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Server":
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env={**kept, **self._environment}, cwd=self._folder, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise RuntimeError(f"{self.name} did not start:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def family(self) -> list[psutil.Process]:
        """Its processes, parents first."""
        assert self._process is not None
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds of all its processes until now."""
        return sum(sum(process.cpu_times()[:2]) for process in self.family())

    def memory_mib(self) -> float:
        """Memory in MiB that the server alone takes: what its processes allocated, and each file that they map once.

        Unlike USS it does not depend on who else has the same libraries mapped, and counts what they share only once.
        """
        allocated, files = 0, dict[str, int]()
        for process in self.family():
            rolled_up = Path(f"/proc/{process.pid}/smaps_rollup").read_text().split("Pss_Anon:")[1]
            allocated += int(rolled_up.split()[0]) * 1024
            for part in process.memory_maps():
                if part.path.startswith("/"):
                    files[part.path] = max(files.get(part.path, 0), part.rss - part.anonymous)
        return (allocated + sum(files.values())) / MIB

    @property
    def headers(self) -> dict[str, str]:
        """What is sent with each request."""
        return {}

    def generate(self, seed: int) -> None:
        """Have a picture painted by OpenAI's route, to its bytes."""
        body = {"prompt": PROMPT, "size": "128x128", "seed": BY_ROUTE + seed}
        assert self._post("/v1/images/generations", body)["data"][0]["b64_json"]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a body and return the answer; where the server is too busy just then, send it again as it says."""
        send = partial(requests.post, f"{self.url}{path}", json=body, headers=self.headers, timeout=ANSWER_S)
        while (answer := send()).status_code == 503:
            time.sleep(int(answer.headers["Retry-After"]))
        assert answer.ok, answer.text
        return dict(answer.json())

    def _stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)

    def _is_ready(self) -> bool:
        try:
            health = requests.get(f"{self.url}/v1/health", timeout=20)
        except requests.RequestException:
            return False
        return health.status_code == 404 or health.json()["state"] in {
            "ready",
            "busy",
        }  # the simplest has no such route


class Studio(Server):
    """A server of this project, at this commit or another."""

    api_key = ""
    """The key that its callers send; empty where it has none."""
    wishes: Iterator[dict[str, Any]] = itertools.repeat({})
    """What else each submit asks for."""

    @property
    def headers(self) -> dict[str, str]:
        """What is sent with each request."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    @property
    def data_dir(self) -> Path:
        """Its data folder."""
        return self._folder / "data"

    def submit(self, **params: Any) -> str:
        """Submit a job; its id."""
        body = {"operation": "generate", "prompt": PROMPT, "width": 128, "height": 128, **next(self.wishes), **params}
        return str(self._post("/v1/jobs", body)["id"])

    def job(self, job_id: str, wait: float = 0) -> dict[str, Any]:
        """Look at a job."""
        answer = requests.get(
            f"{self.url}/v1/jobs/{job_id}", params={"wait": wait}, headers=self.headers, timeout=ANSWER_S
        )
        assert answer.ok, answer.text
        return dict(answer.json())

    def ended(self, job_id: str) -> dict[str, Any]:
        """Wait by long polls until a job has ended."""
        while (job := self.job(job_id, wait=20))["state"] not in {"succeeded", "failed", "cancelled"}:
            pass
        return job

    def paint(self, seed: int) -> None:
        """Have a picture painted as a job, to its link."""
        job = self.ended(self.submit(seed=seed))
        assert job["images"][0]["url"], job

    def cancel(self, job_id: str) -> None:
        """Cancel a job, if it has not ended."""
        requests.post(f"{self.url}/v1/jobs/{job_id}/cancel", headers=self.headers, timeout=ANSWER_S)


def ours(folder: Path, name: str = "ours", **settings: str) -> Studio:
    """The server of this checkout."""
    return _studio(name, folder, "qwen_image_studio", OURS, settings)


def earlier(folder: Path, commit: str, **settings: str) -> Studio | None:
    """The server of an earlier commit, in the same environment; None where the checkout has no history."""
    git = shutil.which("git")
    if git is None:
        return None
    packed = subprocess.run([git, "archive", commit, "server"], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode != 0:
        return None
    source = folder / "source"
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(source, filter="data")
    package = "qwen_image_studio"  # before 0.2.0 the package was the folder server/ itself
    path, module = (source / "server", package) if (source / "server" / package).is_dir() else (source, "server")
    return _studio(commit, folder, module, f"{path}{os.pathsep}{ROOT}", settings)


def naive(folder: Path) -> Server:
    """The simplest server."""
    command = [*KINDER, sys.executable, "-m", "benchmarks.naive"]
    return Server("naive", folder, lambda port: [*command, str(port)], {"PYTHONPATH": OURS})


def _studio(name: str, folder: Path, module: str, path: str, more: Mapping[str, str]) -> Studio:
    settings = {"PYTHONPATH": path, "STUDIO_MODELS": "miniature", "STUDIO_DEVICES": "cpu", "STUDIO_QUEUE_LIMIT": "1000"}
    settings |= more
    studio = Studio(name, folder, lambda _port: [sys.executable, "-m", module, "serve"], settings)
    settings |= {"STUDIO_PORT": str(studio.port), "STUDIO_DATA_DIR": str(folder / name / "data")}
    return studio
