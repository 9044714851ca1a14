"""A real server for tests: ``qwen-image-studio serve`` as a process group of its own, on a private port and folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import requests

from qwen_image_studio.database.connection import open_database
from qwen_image_studio.gallery.common import STORE_KEY
from qwen_image_studio.gallery.names import INSTALLATION_KEY
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.support import ROOT
from tests.support.database import environment
from tests.support.waiting import PATIENCE_S, runs, until_ended

SCRIPTED: dict[str, Any] = {"engine": "tests.support.engine:open_engine", "lease_s": 20, "models": "miniature"}
"""Settings of a server that starts in a second, paints plain colours and fails on cue."""


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stored_pictures(data_dir: Path) -> list[Path]:
    """The files of pictures in a server's storage."""
    files = (path for path in (data_dir / "images").rglob("*") if path.is_file())
    return sorted(path for path in files if path.name not in {INSTALLATION_KEY, STORE_KEY})


class Studio:
    """One server under test; use it as a context manager."""

    def __init__(self, folder: Path, *, with_key: bool = False, **settings: object) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")},
            "STUDIO_PORT": str(self.port),
            "STUDIO_DATA_DIR": str(folder / "data"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'server'}",
            "STUDIO_MODELS": "miniature",
            "STUDIO_DEVICES": "cpu",
            **environment(folder / "data"),
            **{f"STUDIO_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.api_key = ""
        if with_key:
            self.api_key = KeyStore(open_database(Settings(data_dir=folder / "data"))).add("tests")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *command: str) -> "Studio":
        """Start ``qwen-image-studio COMMAND`` (serve by default) and wait until it can paint."""
        if self.process is not None:
            self.process.wait(PATIENCE_S)
        self.process = self.spawn(*(command or ("serve",)))
        self.wait_for_state("ready", "busy")
        return self

    def spawn(self, *command: str) -> subprocess.Popen[bytes]:
        """Start one command of the server; its output goes to the log."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "qwen_image_studio", *command],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_for_state(self, *states: str, timeout: float = 240) -> dict[str, Any]:
        """Wait until health tells one of these states."""
        deadline = time.monotonic() + timeout
        health: dict[str, Any] = {}
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the server ended:\n{self.log.read_text()[-3000:]}")
            try:
                health = requests.get(f"{self.url}/v1/health", timeout=60).json()
            except requests.ConnectionError:
                health = {}
            if health.get("state") in states:
                return health
            time.sleep(0.2)
        raise AssertionError(f"never {states}: {health}\n{self.log.read_text()[-3000:]}")

    def family(self) -> list[psutil.Process]:
        """The server's processes that run, the supervisor first."""
        assert self.process is not None
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *(child for child in supervisor.children(recursive=True) if runs(child))]

    def processes(self, command: str) -> list[psutil.Process]:
        """The processes that run one command (web, worker) of this server, parents first."""
        return [process for process in self.family() if command in process.cmdline()[3:4]]

    def stop(self) -> int:
        """Stop it as Ctrl-C would; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill_one(self, command: str) -> bool:
        """Kill -9 of one process by its command (web, worker, light), and return whether there was one; ``serve`` takes
        the others with it, and is started again.
        """
        family = self.family()
        victims = family[:1] if command == "serve" else self.processes(command)[:1]
        for victim in victims:
            victim.kill()
            until_ended([victim])
        if command == "serve":
            until_ended(family)
            self.start()
        return bool(victims)

    def kill(self) -> None:
        """Kill -9 of the supervisor, the web processes and the workers; nothing of them stays."""
        family = self.family()
        for process in family:
            process.kill()
        until_ended(family)

    def __enter__(self) -> "Studio":
        try:
            return self.start()
        except AssertionError:
            if self.process is not None and self.process.poll() is None:
                self.kill()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    # -- the API, as a caller would use it ---------------------------------------------------------------------------

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request with the server's key."""
        headers: Mapping[str, str] = options.pop("headers", {})
        if self.api_key and "Authorization" not in headers:
            headers = {**headers, "Authorization": f"Bearer {self.api_key}"}
        return requests.request(method, f"{self.url}{path}", headers=headers, timeout=70, **options)

    def submit(self, **params: Any) -> dict[str, Any]:
        """Submit a job as JSON; a generate job unless told otherwise."""
        answer = self.request("POST", "/v1/jobs", json={"operation": "generate", "prompt": "a cup", **params})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def edit(self, *files: bytes, **params: Any) -> requests.Response:
        """Submit an edit of files as multipart."""
        body = {"operation": "edit", "prompt": "make it green", **params}
        parts = [("image[]", (f"{index}.png", data, "image/png")) for index, data in enumerate(files)]
        return self.request("POST", "/v1/jobs", data={"params": json.dumps(body)}, files=parts)

    def job(self, job_id: str, wait: float = 0) -> dict[str, Any]:
        """Look at a job."""
        answer = self.request("GET", f"/v1/jobs/{job_id}", params={"wait": wait})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def finished(self, job_id: str, timeout: float = 240) -> dict[str, Any]:
        """Wait until a job has ended; a server that is being restarted is waited for."""
        deadline = time.monotonic() + timeout
        job: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                job = self.job(job_id, wait=5)
            except requests.ConnectionError:
                time.sleep(0.1)
                continue
            if job["state"] in {"succeeded", "failed", "cancelled"}:
                return job
        raise AssertionError(f"job still {job}\n{self.log.read_text()[-3000:]}")
