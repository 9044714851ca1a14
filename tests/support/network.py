"""A network on this machine: a switch, and hosts in network namespaces whose cables can be pulled."""

import os
import random
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import pytest

_IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""


class Network:
    """A switch with an address of this machine's own; use it as a context manager.

    Where this user may make no namespaces, the test is skipped.
    """

    def __init__(self) -> None:
        self._number = f"{random.randrange(16**4):04x}"
        self._subnet = f"10.{random.randrange(200, 250)}.{random.randrange(250)}"
        self._switch = f"qs{self._number}"
        self._hosts: list[str] = []

    @property
    def address(self) -> str:
        """The address under which the hosts reach this machine."""
        return f"{self._subnet}.1"

    @property
    def range(self) -> str:
        """All addresses of the network."""
        return f"{self._subnet}.0/24"

    def plug(self, host: str) -> Sequence[str]:
        """Add a host, and return what comes before its commands."""
        space, cable = f"qs{self._number}-{host}", self._cable(host)
        self._hosts.append(host)
        ip("netns", "add", space)
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("link", "set", cable, "master", self._switch, "up")
        ip("-n", space, "address", "add", f"{self._subnet}.{len(self._hosts) + 1}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", space, "link", "set", device, "up")
        return _IP, "netns", "exec", space

    def cut(self, host: str) -> None:
        """Pull a host's cable out of the switch: what either side sends is lost, and nobody is told."""
        ip("link", "set", self._cable(host), "nomaster")

    def heal(self, host: str) -> None:
        """Plug the cable in again."""
        ip("link", "set", self._cable(host), "master", self._switch)

    def _cable(self, host: str) -> str:
        return (
            f"qs{self._number}c{self._hosts.index(host)}"
            if host in self._hosts
            else f"qs{self._number}c{len(self._hosts)}"
        )

    def __enter__(self) -> Self:
        if os.geteuid() or not _IP:
            pytest.skip("network namespaces need root, and the command ip")
        try:
            ip("link", "add", self._switch, "type", "bridge")
            ip("address", "add", f"{self.address}/24", "dev", self._switch)
            ip("link", "set", self._switch, "up")
            ip("netns", "add", f"qs{self._number}-try")
            ip("netns", "delete", f"qs{self._number}-try")
        except subprocess.CalledProcessError as error:
            self._remove()
            pytest.skip(f"this machine allows no network namespaces ({error.stderr.strip()})")
        return self

    def _remove(self) -> None:
        for host in self._hosts:
            with suppress(subprocess.CalledProcessError):
                ip("netns", "delete", f"qs{self._number}-{host}")
        with suppress(subprocess.CalledProcessError):
            ip("link", "delete", self._switch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()


def ip(*arguments: str) -> None:
    """Run the command ip. Raises CalledProcessError where that fails."""
    subprocess.run([_IP, *arguments], check=True, capture_output=True, text=True)
