"""The table of clients: who they are, how they are pointed at a server, and what each is asked for."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.clients.replayed import Replayed, read_replayed

HERE = Path(__file__).parent
MISSING = "not installed"


@dataclass(frozen=True)
class Row:
    """One thing that a client is asked for, and what its user sees of it."""

    client: str
    task: str
    shows: str


@dataclass(frozen=True)
class Client:
    """A client of the table, with the module that calls it."""

    name: str
    module: str
    packages: list[str]
    use: str
    tasks: Mapping[str, str]
    note: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """Return what the client is asked for, in order."""
        return [Row(self.name, task, shows) for task, shows in self.tasks.items()]

    @property
    def runs_on_node(self) -> bool:
        """Whether the module is one for Node."""
        return self.module.endswith(".mjs")


@dataclass(frozen=True)
class Program:
    """A client that is not installed: a program whose requests are replayed."""

    name: str
    use: str
    requests: Sequence[Replayed]

    @property
    def rows(self) -> list[Row]:
        """Return what the program is asked for, in order."""
        return [row_of(each) for each in self.requests]

    @property
    def version(self) -> str:
        """Return the version that the requests are of, where it is known."""
        return " ".join(sorted({each.version for each in self.requests}))


def row_of(replayed: Replayed) -> Row:
    """Return the row of a request that is replayed."""
    return Row(replayed.client, replayed.task, "")


def read_programs() -> list[Program]:
    """Return the programs of ``clients.toml``, with their requests of ``replayed.toml``."""
    listed = tomllib.loads((HERE / "clients.toml").read_text(encoding="utf-8"))["program"]
    replayed = read_replayed()
    return [Program(**row, requests=[each for each in replayed if each.client == row["name"]]) for row in listed]


def read_clients() -> list[Client]:
    """Return the clients of ``clients.toml``, with the versions that are pinned for them."""
    listed = tomllib.loads((HERE / "clients.toml").read_text(encoding="utf-8"))["client"]
    return [_client(**row) for row in listed]


def _client(rows: Mapping[str, str], module: str, packages: list[str], **said: Any) -> Client:
    known = _pins_of_node() if module.endswith(".mjs") else _pins_of_python()
    versions = {package: known[package] for package in packages}
    return Client(module=module, packages=packages, tasks=rows, versions=versions, **said)


def _pins_of_python() -> dict[str, str]:
    text = (HERE / "requirements.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text, flags=re.MULTILINE))


def _pins_of_node() -> dict[str, str]:
    found: dict[str, str] = json.loads((HERE / "node/package.json").read_text(encoding="utf-8"))["dependencies"]
    return found
