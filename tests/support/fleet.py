"""Several hosts of one fleet on this machine: each with a data folder and processes of its own, and one job store.

Their processes are started alone, as `web`, `worker` and `light`, and whoever ends is started again at once, as systemd
or Kubernetes would. A host may have a clock of its own (`ahead`), and a network of its own (`tests.support.network`).
"""

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from os import environ, pathsep
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import pytest
import requests

from tests.support import ROOT
from tests.support.studio import SCRIPTED, free_port
from tests.support.waiting import PATIENCE_S, runs, until, until_ended

_PATH = f"{ROOT}{pathsep}{ROOT / 'server'}"
_LIBRARIES, _CLOCK_AHEAD = Path("/usr/lib"), ROOT / "tests" / "support" / "clock_ahead"
_AGAIN_S = 0.2


def ahead(seconds: int) -> Mapping[str, str]:
    """Return the variables that set the clock of a host's processes ahead; what does not go back, stays as it is.

    Where Debian's faketime is not here, the test is skipped; in CI it fails.
    """
    library = next(_LIBRARIES.glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        message = "faketime is not here; `make test-services` installs it from Debian, as root"
        pytest.fail(message) if environ.get("CI") else pytest.skip(message)
    told = {"FAKETIME": f"+{seconds}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    return {"LD_PRELOAD": str(library), **told, "PYTHONPATH": pathsep.join([str(_CLOCK_AHEAD), _PATH])}


class Process:
    """One process of a host, which is started again whenever it has ended, until the host is closed."""

    def __init__(self, host: "Host", command: Sequence[str], port: int | None = None) -> None:
        self.host, self.name = host, command[0]
        self.url = "" if port is None else f"http://127.0.0.1:{port}"
        self._port, self._command = port, command
        self._lock = threading.Lock()
        self._runs = True
        self.starts = 0
        self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        own = {} if self._port is None else {"STUDIO_PORT": str(self._port)}
        with self.host.log.open("ab") as log:
            return subprocess.Popen(
                [*self.host.prefix, sys.executable, "-m", "qwen_image_studio", *self._command],
                env={**self.host.environment, **own},
                cwd=self.host.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def family(self) -> list[psutil.Process]:
        """Return its processes that run, such as gunicorn and its child."""
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._process.pid)
            return [each for each in (first, *first.children(recursive=True)) if runs(each)]
        return []

    def again(self) -> None:
        """Start it again, where it has ended."""
        with self._lock:
            if self._runs and self._process.poll() is not None:
                self._process = self._spawn()

    def kill(self) -> None:
        """Kill -9 of all its processes; it is started again."""
        with self._lock:
            self._kill()

    def _kill(self) -> None:
        family = self.family()
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.wait(PATIENCE_S)
        until_ended(family)

    def freeze(self) -> None:
        """Stop its processes where they are (SIGSTOP)."""
        for each in self.family():
            each.suspend()

    def thaw(self) -> None:
        """Let its processes go on after `freeze`."""
        for each in self.family():
            each.resume()

    def end(self) -> None:
        """Kill it for good."""
        with self._lock:
            self._runs = False
            self._kill()

    def answers(self) -> bool:
        """Return whether this web process answers."""
        try:
            return requests.get(f"{self.url}/v1/health/live", timeout=5).ok
        except requests.RequestException:
            return False


class Host:
    """One host: a data folder, variables of the environment, and processes."""

    def __init__(
        self,
        fleet: "Fleet",
        name: str,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        **settings: object,
    ) -> None:
        """`environment` has more variables than settings; `prefix` comes before each command."""
        self.name, self.prefix = name, prefix
        self.folder = fleet.folder / name
        self.folder.mkdir(parents=True)
        self.log = self.folder / "log"
        own = {"worker_name": name, "data_dir": self.folder / "data", **settings}
        self.environment = {**fleet.environment, **as_variables(own), **(environment or {})}
        self.processes: list[Process] = []

    def start(self, *command: str) -> Process:
        """Start a process by its command: `web`, `worker` with its options, or `light`."""
        process = Process(self, command, free_port() if command[0] == "web" else None)
        self.processes.append(process)
        return process

    def painted(self) -> int:
        """Return how many pictures its workers have really painted."""
        log = self.folder / "data" / "painted.log"
        return len(log.read_text().splitlines()) if log.exists() else 0


class Fleet:
    """Hosts that share a job store, a bell and the folder of the pictures; use it as a context manager."""

    def __init__(self, folder: Path, database_url: str, broker_url: str = "", **settings: object) -> None:
        self.folder = folder
        self.pictures = folder / "pictures"
        shared = {"database_url": database_url, "broker_url": broker_url, "storage_url": f"file://{self.pictures}"}
        shared |= {"secret_key": "one key for all hosts of the fleet", "devices": "cpu"}
        self.environment = {
            **{name: value for name, value in environ.items() if not name.startswith("STUDIO_")},
            "PYTHONPATH": _PATH,
            **as_variables({**SCRIPTED, **shared, **settings}),
        }
        self.hosts: list[Host] = []
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep_up, daemon=True, name="fleet")

    def host(self, name: str, **options: Any) -> Host:
        """Add a host; `options` are those of `Host`."""
        host = Host(self, name, **options)
        self.hosts.append(host)
        return host

    def processes(self, name: str) -> list[Process]:
        """Return the processes of a command, of all hosts."""
        return [process for host in self.hosts for process in host.processes if process.name == name]

    def migrate(self) -> None:
        """Make the tables."""
        environment = {**self.environment, **as_variables({"data_dir": self.folder / "migrate"})}
        command = [sys.executable, "-m", "qwen_image_studio", "migrate"]
        told = subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr

    def wait(self) -> Self:
        """Wait until all webs answer and a worker is ready."""
        until(lambda: all(web.answers() for web in self.processes("web")), patience_s=2 * PATIENCE_S)
        web = self.processes("web")[0]
        until(lambda: requests.get(f"{web.url}/v1/health", timeout=30).json()["state"] in {"ready", "busy"})
        return self

    def logs(self) -> Iterator[str]:
        """Yield the lines of all logs."""
        for host in self.hosts:
            yield from (f"{host.name}: {line}" for line in host.log.read_text(errors="replace").splitlines())

    def _keep_up(self) -> None:
        while not self._closing.wait(_AGAIN_S):
            for host in list(self.hosts):
                for process in list(host.processes):
                    process.again()

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._keeper.join()
        for host in self.hosts:
            for process in host.processes:
                process.end()


def as_variables(settings: Mapping[str, object]) -> dict[str, str]:
    """Return settings as variables of the environment."""
    return {f"STUDIO_{name.upper()}": str(value) for name, value in settings.items()}
