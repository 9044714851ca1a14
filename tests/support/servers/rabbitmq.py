"""RabbitMQ, with a node name, ports and an epmd (Erlang's table of nodes) of its own."""

import os
import shutil
import subprocess
from types import TracebackType
from typing import ClassVar

from tests.support.servers import Server, command, private_port, says

_DEBIAN = "/usr/lib/rabbitmq/bin"  # the command on PATH changes the user, and wants to be root's
_GREETING = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"


class RabbitMQ(Server):
    """One RabbitMQ; it keeps what is durable over a restart."""

    name: ClassVar[str] = "rabbitmq"

    def __init__(self) -> None:
        self._command, self._epmd_command = command("rabbitmq-server", _DEBIAN), command("epmd")
        super().__init__()
        self._node_port, self._epmd_port = private_port(), private_port()
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def answers(self) -> bool:
        """Return whether it greets a client."""
        return says(self.port, _GREETING, _METHOD_FRAME)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it; what it would start once for all of the machine is ours, and ends with us."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))},
            "HOME": str(self.folder),  # for the cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"studio{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "kept"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "no-environment"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "no-configuration"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "no-plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",  # a small machine's share, and no busy waits
        }
        if self._epmd is None:
            self._epmd = self.run([self._epmd_command, "-port", str(self._epmd_port)], environment)
        return self.run([self._command], environment)

    def empty(self) -> None:
        """Delete all that it holds: kill -9, and a start from nothing."""
        self.kill()
        shutil.rmtree(self.folder / "kept")
        self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
