"""Redis, which keeps nothing over a restart."""

import subprocess
from typing import ClassVar

from tests.support.servers import Server, command, says


class Redis(Server):
    """One Redis."""

    name: ClassVar[str] = "redis"

    def __init__(self) -> None:
        self._command = command("redis-server")
        super().__init__()

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"redis://127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        """Return whether it answers a ping."""
        return says(self.port, b"PING\r\n", b"+PONG")

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it."""
        keeps_nothing = ("--save", "", "--appendonly", "no")
        here = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        return self.run([self._command, *here, *keeps_nothing])

    def empty(self) -> None:
        """Delete all that it holds."""
        assert says(self.port, b"FLUSHALL\r\n", b"+OK")
