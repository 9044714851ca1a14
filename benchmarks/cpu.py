"""The CPU that a call costs: of this process, in which SQLite does its work, and of PostgreSQL's, which serve it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event

from qwen_image_studio.database.connection import Database


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU."""

    client: float = 0.0
    server: float = 0.0

    @property
    def total(self) -> float:
        """Both together."""
        return self.client + self.server

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.client - other.client, self.server - other.server)


class Meter:
    """What the calls on one database cost. PostgreSQL has to run on this machine."""

    def __init__(self, database: Database) -> None:
        self._clocks: set[int] = set()
        if database.engine.dialect.name == "postgresql":
            event.listen(database.engine, "checkout", self._met)

    def of(self, act: Callable[[], object]) -> Cpu:
        """What one call costs."""
        act_began = self.read()
        act()
        return self.read() - act_began

    def read(self) -> Cpu:
        """All that was spent so far by this process, and by those of PostgreSQL that have served it."""
        return Cpu(time.process_time(), sum(map(time.clock_gettime, self._clocks)))

    def _met(self, connection: Any, _record: object, _proxy: object) -> None:
        self._clocks.add(cpu_clock(connection.info.backend_pid))


def cpu_clock(pid: int) -> int:
    """The number of the clock of another process's CPU, as Linux makes it of the process's number."""
    return (~pid << 3) | 2
