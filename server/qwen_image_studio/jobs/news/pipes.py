"""The bell of named pipes, for processes on one machine."""

import contextlib
import errno
import logging
import os
import select
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from secrets import token_hex

from qwen_image_studio.jobs.news.port import DEAF_LOOK_S, Ear

_log = logging.getLogger(__name__)

_WORDS_BYTES = 4096
"""Longest write to a pipe that arrives in one piece (PIPE_BUF of Linux), in bytes."""
_PIPE_BYTES = 65536


class Pipes:
    """A bell of named pipes in a folder: each ear has one in the folder of every topic that it listens to.

    Nobody polls: an ear sleeps until something is written. A process that was killed leaves pipes without a reader,
    which the next ring removes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ring(self, topic: str, words: Collection[str]) -> None:
        """Write the words into every pipe of the topic; one that is full is passed over, its owner has news enough."""
        try:
            pipes = os.listdir(self._folder / topic)
        except OSError:  # nobody has ever listened
            return
        pieces = _in_pieces(words) if pipes else []
        for name in pipes:
            _write(self._folder / topic / name, pieces)

    def listen(self, *topics: str) -> Ear:
        """Make a pipe under each topic."""
        return PipeEar([self._folder / topic for topic in topics])

    def close(self) -> None:
        """Do nothing: what has been rung has been written."""


class PipeEar:
    """An ear with a pipe in each of several folders; deaf where the file system knows no pipes."""

    look_s = DEAF_LOOK_S
    """On one machine a look costs little, and finds at once whose rest before the next attempt is over."""
    spread_s = 0.0

    def __init__(self, folders: Sequence[Path]) -> None:
        self._pipes: dict[int, Path] = {}
        self._poll = select.poll()
        for folder in folders:
            try:
                self._make(folder)
            except OSError as error:
                _log.warning("no pipe can be made in %s (%s): the server looks for news once a second", folder, error)

    def _make(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{os.getpid()}-{token_hex(6)}"
        hidden = folder.parent / f".{name}"
        os.mkfifo(hidden, 0o600)
        # Opened for writing too, so that it never seems at its end when a writer goes away. It gets its name after
        # that, since a pipe without a reader would be taken for one that was left behind.
        pipe = os.open(hidden, os.O_RDWR | os.O_NONBLOCK)
        hidden.rename(folder / name)
        self._pipes[pipe] = folder / name
        self._poll.register(pipe, select.POLLIN)

    def wait(self, timeout: float) -> frozenset[str]:
        if not self._pipes:
            time.sleep(timeout)
            return frozenset()
        heard = [os.read(pipe, _PIPE_BYTES) for pipe, _ in self._poll.poll(timeout * 1000)]
        return frozenset(word for data in heard for word in data.decode().split())

    def close(self) -> None:
        for pipe, path in self._pipes.items():
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(pipe)
        self._pipes.clear()


def _in_pieces(words: Collection[str]) -> list[bytes]:
    """Return the words in as few writes as arrive whole."""
    pieces, piece = [], b""
    for word in words:
        line = f"{word}\n".encode()
        if len(piece) + len(line) > _WORDS_BYTES:
            pieces.append(piece)
            piece = b""
        piece += line
    return [*pieces, piece] if piece else pieces


def _write(path: Path, pieces: Sequence[bytes]) -> None:
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody reads from it any more; any other error may be this process's own
            with contextlib.suppress(OSError):
                path.unlink()
        return
    try:
        for piece in pieces:
            os.write(pipe, piece)
    except OSError:  # full
        pass
    finally:
        os.close(pipe)
