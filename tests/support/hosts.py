"""Several hosts of one server: each has a data folder and starts its processes one by one, without a supervisor."""

import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qwen_image_studio.contract.limits import NO_LIMITS, KeyLimits
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import PATIENCE_S, until


class Host(Studio):
    """One host."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        folder.mkdir()
        super().__init__(folder, **settings)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        """Its processes, by their commands."""

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a process of its own."""
        self.running[command[0]] = self.spawn(*command)
        return self.running[command[0]]

    def end(self, command: str, how: signal.Signals = signal.SIGTERM) -> int:
        """End a process, and return its exit code."""
        process = self.running.pop(command)
        process.send_signal(how)
        return process.wait(PATIENCE_S)


class Fleet:
    """The hosts, which have database, pictures and secret key in common; use it as a context manager."""

    def __init__(self, folder: Path, database_url: str, **settings: Any) -> None:
        self._folder, self._database_url = folder, database_url
        self._settings = {
            **SCRIPTED,
            "database_url": database_url,
            "storage_url": f"file://{folder}/pictures",
            "secret_key": "the same on all hosts, and long enough",
            "public_url": "http://studio.test",
            "lease_s": 8,  # a loaded machine renews it in time
            **settings,
        }
        self.hosts: dict[str, Host] = {}
        self.api_key = self.add_key("tests")

    def add_key(self, name: str, limits: KeyLimits = NO_LIMITS) -> str:
        """Make an API key."""
        settings = Settings(_env_file=None, data_dir=self._folder / "keys", database_url=self._database_url)
        database = open_database(settings, "migrate")
        try:
            return KeyStore(database).add(name, limits=limits)
        finally:
            database.close()

    def add_host(self, name: str, *commands: str, **settings: Any) -> Host:
        """Add a host that runs these commands."""
        host = Host(self._folder / name, **{**self._settings, "worker_name": name, **settings})
        host.api_key = self.api_key
        self.hosts[name] = host
        for command in commands:
            host.run(command)
        return host

    def wait_for(self, host: Host, painters: int) -> None:
        """Wait until a host's web process sees so many workers that are ready to paint, of all hosts."""

        def seen() -> bool:
            for name, process in host.running.items():
                assert process.poll() is None, f"{name} ended\n{host.log.read_text()[-3000:]}"
            workers: list[dict[str, Any]] = host.wait_for_state("ready", "busy", "starting", "failed", "degraded")[
                "workers"
            ]
            up = [worker for worker in workers if worker["state"] in {"ready", "busy"}]
            return [worker["device"] for worker in up].count("cpu") == painters

        until(seen)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = [process for host in self.hosts.values() for process in host.running.values()]
        for process in running:
            process.terminate()
        for process in running:
            process.wait(PATIENCE_S)
