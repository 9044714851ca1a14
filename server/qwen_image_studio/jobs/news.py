"""Bells: they tell other processes what has happened to jobs, so that nobody has to look at the table again and again.

A word is rung under a *topic*, and only those hear it who listen to that topic:

=========== ============================ ==========================================
topic       words                        who listens
=========== ============================ ==========================================
work-LANE   (the lane's name)            the workers of that lane: there is something to claim
cancels     ids of jobs                  workers: the job in hand is to stop
jobs        ids of jobs, or ``queue``    the web process: that job has changed; places in the queue have changed
deliveries  ``due``                      the sender of callbacks: a job has ended
=========== ============================ ==========================================

The table is the truth: a word that is lost costs time, and one that comes twice costs a look. So a bell never raises,
and those who listen look at the table now and then without being told.
"""

import contextlib
import errno
import logging
import os
import select
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Protocol
from urllib.parse import urlsplit

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.contract.words import Lane, State
from qwen_image_studio.jobs.events import JobEvent
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

JOBS = "jobs"
CANCELS = "cancels"
DELIVERIES = "deliveries"
DUE = "due"
QUEUE = "queue"
"""The word under JOBS that places in the queue have changed."""
_WORDS_BYTES = 4096
"""Longest write to a pipe that arrives in one piece (PIPE_BUF of Linux), in bytes."""
_PIPE_BYTES = 65536


def work(lane: Lane) -> str:
    """Return the topic under which new work for a lane is rung."""
    return f"work-{lane}"


# -- the port ------------------------------------------------------------------------------------------------------


class Ear(Protocol):
    """What one process has of a bell, to be used by one thread."""

    def wait(self, timeout: float) -> frozenset[str]:
        """Wait for words, for `timeout` seconds at most, and return those that were rung since the last call."""

    def close(self) -> None:
        """Stop listening."""


class Bell(Protocol):
    """The words between the processes of one server. Its methods may be called from many threads at once."""

    def ring(self, topic: str, words: Collection[str]) -> None:
        """Tell all who listen to the topic. It never waits and never raises."""

    def listen(self, *topics: str) -> Ear:
        """Listen to topics from now on."""


def open_bell(settings: Settings) -> Bell:
    """Open the bell that the settings name. Raises CannotServe where STUDIO_BROKER_URL names no known one."""
    scheme = urlsplit(settings.broker_url).scheme
    if scheme not in BELLS:
        known = ", ".join(f"{name}://" for name in BELLS if name)
        message = f"STUDIO_BROKER_URL: there is no bell of the kind '{scheme}'; leave it empty"
        raise CannotServe(f"{message} or use {known}." if known else f"{message}.")
    return BELLS[scheme](settings)


class Announcer:
    """The listener that rings a bell for what a transaction has changed."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell

    def changed(self, events: Sequence[JobEvent]) -> None:
        """Ring for changes of state; of a job that was changed several times, for the last change."""
        events = list({event.job_id: event for event in events}.values())
        for lane in {event.lane for event in events if event.state is State.QUEUED}:
            self._bell.ring(work(lane), {lane})
        if any(event.parent_id is not None and event.state.final for event in events):
            self._bell.ring(work(Lane.LIGHT), {Lane.LIGHT})  # its batch may want more rows now, or have them all
        stopping = {event.job_id for event in events if event.cancel_requested and event.state is State.RUNNING}
        if stopping:
            self._bell.ring(CANCELS, stopping)
        if any(event.parent_id is None and event.state.final for event in events):
            self._bell.ring(DELIVERIES, {DUE})
        shown = {name for event in events for name in (event.job_id, event.parent_id) if name}
        if any(event.state is not State.SUCCEEDED for event in events):
            shown.add(QUEUE)
        self._bell.ring(JOBS, shown)

    def progressed(self, events: Sequence[JobEvent]) -> None:
        """Ring for mere progress, which changes no place and no batch."""
        self._bell.ring(JOBS, {event.job_id for event in events})


# -- pipes: for processes on one machine ---------------------------------------------------------------------------


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
        return _PipeEar([self._folder / topic for topic in topics])


class _PipeEar:
    """An ear with a pipe in each of several folders; deaf where the file system knows no pipes."""

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


def _open_pipes(settings: Settings) -> Bell:
    return Pipes(settings.data_dir.resolve() / "bells")


BELLS: dict[str, Callable[[Settings], Bell]] = {"": _open_pipes}
"""Functions that open a bell, by the scheme of STUDIO_BROKER_URL."""
