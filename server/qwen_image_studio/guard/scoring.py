"""Scores of pictures, asked of the classifier's process (`guard.classifying`) over a socket of DATA_DIR.

A question is a file of a picture and the answer JSON, each after its length in four bytes; one question a connection.
Only processes of the same user can connect. No picture leaves the machine.
"""

import json
import logging
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

SOCKET = "safety.socket"
LENGTH = struct.Struct(">I")
LOOK_S = 0.3
"""Pause before a process that has ended is asked again, in seconds: it is started again by then, or soon."""
_LONGEST_ADDRESS = 100


class Scoring:
    """The way to one server's classifier. It may be asked from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._folder, self._is_on = settings.data_dir.resolve(), bool(settings.classifier_name)
        self._timeout_s = settings.safety_timeout_s

    def scores(self, data: bytes, timeout_s: float | None = None) -> Mapping[str, float] | None:
        """Return the scores of a picture (the bytes of a file of ours), or None where no classifier answers within
        `timeout_s`, else STUDIO_SAFETY_TIMEOUT_S.
        """
        if not self._is_on:
            return None
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        while True:
            try:
                return self._asked(data, deadline)
            except (FileNotFoundError, ConnectionError, EOFError) as error:
                if time.monotonic() + LOOK_S >= deadline:
                    _give_up(error)
                    return None
                time.sleep(LOOK_S)
            except (OSError, TypeError, ValueError) as error:
                _give_up(error)
                return None

    def _asked(self, data: bytes, deadline: float) -> Mapping[str, float]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.settimeout(_left(deadline))
            with address_in(self._folder) as address:
                end.connect(address)
            for piece in (LENGTH.pack(len(data)), data):
                end.settimeout(_left(deadline))
                end.sendall(piece)
            (length,) = LENGTH.unpack(_received(end, LENGTH.size, deadline))
            return _scores_in(_received(end, length, deadline))


def _scores_in(answer: bytes) -> Mapping[str, float]:
    """Return the scores of an answer. Raises ValueError or TypeError for any that is none: compared with a threshold,
    what is not a number would pass.
    """
    scores = {str(name): float(score) for name, score in dict(json.loads(answer)).items()}
    if not all(0.0 <= score <= 1.0 for score in scores.values()):
        raise ValueError("a score that is not between 0 and 1")
    return scores


def _give_up(error: Exception) -> None:
    _log.warning("the classifier does not answer: %s: %s", type(error).__name__, error)


def _received(end: socket.socket, count: int, deadline: float) -> bytes:
    got = bytearray()
    while len(got) < count:
        end.settimeout(_left(deadline))
        if not (piece := end.recv(count - len(got))):
            raise EOFError("it closed the connection")
        got += piece
    return bytes(got)


def _left(deadline: float) -> float:
    """Return the seconds that are left. Raises TimeoutError where none are."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


@contextmanager
def address_in(folder: Path) -> Iterator[str]:
    """Yield the address of the socket in a folder."""
    path = str(folder / SOCKET)
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield path
        return
    # The kernel has room for a hundred bytes or so; an open folder has a short name, too.
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{SOCKET}"
    finally:
        os.close(opened)
