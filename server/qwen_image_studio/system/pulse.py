"""The pulse of a process that works: a small file in DATA_DIR that says how it is and, by its age, that it lives.

The probes of containers read it (``host/probe.py``), so that they need neither the database nor what the program
imports; hence the standard library alone here.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from qwen_image_studio.system.files import worker_file

BEAT_S = 5.0
"""Time between two beats, in seconds."""
_SUFFIX = ".pulse"


@dataclass(frozen=True)
class Beat:
    """The last beat of a process of this host."""

    device: str
    """What the process has or stands for, as in its lock's name: cuda-0, cpu, light, safety."""
    state: str
    """A `WorkerState`; empty where it could not be written."""
    at: float
    """In Unix seconds."""


class Pulse:
    """The pulse of one process: a thread of its own beats while the context is open, whatever the database does."""

    def __init__(self, data_dir: Path, device: str, state: Callable[[], str]) -> None:
        """`state` returns how the process is at the moment."""
        self._path, self._state = worker_file(data_dir, device, _SUFFIX), state
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True, name="pulse")
        self._written = ""

    def __enter__(self) -> "Pulse":
        self.beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            self._path.unlink()

    def beat(self) -> None:
        """Beat once; a full disk stops the news of another state, and not the beat."""
        now, text = time.time_ns(), f"{socket.gethostname()} {self._state()}\n"
        with suppress(OSError):
            if text != self._written:
                self._path.write_text(text)
                self._written = text
            os.utime(self._path, ns=(now, now))

    def _go_on(self) -> None:
        while not self._ended.wait(BEAT_S):
            self.beat()


def beats(data_dir: Path) -> Iterator[Beat]:
    """Yield the last beats of this host's processes; those of others may lie in the same folder."""
    for path in sorted(data_dir.glob(f"worker-*{_SUFFIX}")):
        with suppress(OSError, ValueError):  # its process has just ended, or is writing it
            host, _, state = path.read_text().rstrip("\n").partition(" ")
            if host == socket.gethostname():
                yield Beat(path.stem.removeprefix("worker-"), state, path.stat().st_mtime)
