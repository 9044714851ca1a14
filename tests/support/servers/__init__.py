"""Real servers of other people for tests, as Debian packages them: each on a private port, in a folder of its own.

A server is a context manager; within the block it can be stopped, killed with -9, frozen and started again. The
fixtures (`fixtures`) start one of each kind for a test process; who stops or kills a server makes one of its own.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import psutil
import pytest

from tests.support.waiting import runs, until, until_ended

_PORTS = range(15_000, 32_000)
"""Below those that systems hand out: nobody takes the port of a server while it is down."""
_ANSWER_S = 2.0


def private_port() -> int:
    """Return a port that nobody listens on, and that no system hands out by itself."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def command(name: str, *folders: str) -> str:
    """Return the path of a command, which may lie in folders that are not on PATH.

    Where it is not here, what needs it is skipped; in CI it fails.
    """
    path = os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    if found is not None:
        return found
    message = f"{name} is not here; `make test-services` installs it from Debian, as root"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


class Server:
    """A server with the processes that it starts; `spawn`, `url` and `answers` are its kind's own."""

    name: ClassVar[str]
    ends_by: ClassVar[signal.Signals] = signal.SIGTERM
    """What stops it in order."""
    user: ClassVar[str | None] = None
    """Whose process it is; None for that of the tests."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"studio-{self.name}-"))
        self.port = private_port()
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is reached, as the server's settings take it."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Return whether it does what it is for just now."""
        raise NotImplementedError

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start its process."""
        raise NotImplementedError

    def run(self, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own, which writes to the log; for `spawn`."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                arguments, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **self._of_user(),
            )  # fmt: skip

    def _of_user(self) -> dict[str, Any]:
        return {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}

    def start(self) -> Self:
        """Start it with what it has kept, and wait until it answers."""
        assert self.process is None, "it runs already"
        self.process = self.spawn()
        try:
            until(lambda: not self.is_running or self.answers())
            assert self.is_running, f"{self.name} ended"
        except AssertionError as error:
            told = self.log.read_text(errors="replace")[-3000:]
            self.kill()
            raise AssertionError(f"{error}\n{told}") from error
        return self

    @property
    def is_running(self) -> bool:
        """Whether its process runs, frozen or not."""
        return self.process is not None and self.process.poll() is None

    def family(self) -> list[psutil.Process]:
        """Return its processes that run, the first one first."""
        if not self.is_running or self.process is None:
            return []
        first = psutil.Process(self.process.pid)
        return [first, *(each for each in first.children(recursive=True) if runs(each))]

    def stop(self) -> None:
        """Stop it in order; callers that are connected are cut off."""
        assert self.process is not None
        family = self.family()
        self.process.send_signal(self.ends_by)
        self._ended(family)

    def kill(self) -> None:
        """Kill -9 of all its processes; it can be started again."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)  # from here on it starts nothing that we would not see
        family = self.family()
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._ended(family)

    def _ended(self, family: Sequence[psutil.Process]) -> None:
        if self.process is not None:
            self.process.wait(60)
        until_ended(family)
        self.process = None

    def restart(self) -> None:
        """Stop it in order, and start it again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop all its processes where they are (SIGSTOP): connections stay open, and nothing answers."""
        for each in self.family():
            with suppress(psutil.NoSuchProcess):
                each.suspend()

    def thaw(self) -> None:
        """Let its processes go on after `freeze`."""
        for each in self.family():
            with suppress(psutil.NoSuchProcess):
                each.resume()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:  # also where what it needs is not here, and its test is skipped
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def says(port: int, asked: bytes, expected: bytes) -> bool:
    """Return whether who listens on a port answers this with something that begins so."""
    try:
        with socket.create_connection(("127.0.0.1", port), _ANSWER_S) as connection:
            connection.settimeout(_ANSWER_S)
            connection.sendall(asked)
            return connection.recv(64).startswith(expected)
    except OSError:
        return False
