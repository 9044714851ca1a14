"""What bells over a network have in common: a thread that rings, a thread that hears, and one line in the log for an
outage however long it lasts.
"""

import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

from qwen_image_studio.jobs.news.port import DEAF_LOOK_S, HEARING_LOOK_S, Ear

_log = logging.getLogger(__name__)

SPREAD_S = 0.02
"""Longest pause drawn by lot before a look, in seconds. Of many idle workers the first one looks nearly at once, and
most others after its claim: they find with one cheap query that nothing is left."""
MOST_WORDS = 5000
"""Largest number of words of a topic that are kept unsent or unheard; with more, everything is to be looked at."""
FIRST_TRY_S = 3.0
"""Longest time that `listen` waits for its line to be open, in seconds."""
CLOSING_S = 1.0
"""Longest time for which what is rung last is still sent, in seconds."""
_SLICE_S = 1.0
"""Longest time for which a thread listens without looking whether it is to end, in seconds."""
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
"""Longest pause between two tries to open a line, in seconds; meanwhile its owner looks for himself."""


class BellFailure(Exception):
    """A line that cannot be opened, or has broken; the message is for the log."""


class Line(Protocol):
    """An open connection to what passes words on. Its methods raise BellFailure where it has broken."""

    def close(self) -> None:
        """Close it; never raises."""


class HearingLine(Line, Protocol):
    """A line on which words come in."""

    def hear(self, timeout: float) -> Collection[str]:
        """Return the words that have come, after `timeout` seconds at most; LOST among them where some are missing."""


class RingingLine(Line, Protocol):
    """A line on which words go out."""

    def send(self, rung: Mapping[str, Collection[str]]) -> None:
        """Send words under topics; without any words for a topic, who listens to it looks at everything."""


LOST = ""
"""The word that others may have been lost."""


@contextmanager
def _contained() -> Iterator[None]:
    """Raise BellFailure for whatever goes wrong with a line, since the thread that has it must go on."""
    try:
        yield
    except BellFailure:
        raise
    except Exception as fault:
        raise BellFailure(f"{type(fault).__name__}: {fault}") from fault


class Outage:
    """What is broken of one bell, in one process."""

    def __init__(self, bell: str) -> None:
        """`bell` is how the log calls it; no password stands in it."""
        self._bell = bell
        self._lock = threading.Lock()
        self._broken: set[object] = set()

    def begins(self, part: object, why: object) -> None:
        """Note that a part does not work; the log gets a line if all did until now."""
        with self._lock:
            if not self._broken:
                _log.warning("%s is not heard (%s); until it is, this process looks by itself", self._bell, why)
            self._broken.add(part)

    def ends(self, part: object) -> None:
        """Note that a part works; the log gets a line if it was the last that did not."""
        with self._lock:
            if part in self._broken:
                self._broken.discard(part)
                if not self._broken:
                    _log.info("%s is heard again", self._bell)

    def forget(self, part: object) -> None:
        """Note that a part is no longer needed."""
        with self._lock:
            self._broken.discard(part)


class LineEar:
    """An ear with a thread that listens on a line, and opens it anew when it breaks."""

    spread_s = SPREAD_S

    def __init__(self, open_line: Callable[[], HearingLine], outage: Outage) -> None:
        """Open the line, for FIRST_TRY_S at most; it is opened later where that fails."""
        self._open_line, self._outage = open_line, outage
        self._news = threading.Condition()
        self._words: set[str] = set()
        self._hears = self._is_lost = self._is_closed = False
        self._tried = threading.Event()
        threading.Thread(target=self._run, daemon=True, name="bell").start()
        self._tried.wait(FIRST_TRY_S)

    @property
    def look_s(self) -> float:
        return HEARING_LOOK_S if self._hears else DEAF_LOOK_S

    def wait(self, timeout: float) -> frozenset[str]:
        with self._news:
            self._news.wait_for(lambda: self._words or self._is_lost, timeout)
            words = frozenset() if self._is_lost else frozenset(self._words)
            self._words, self._is_lost = set(), False
            return words

    def close(self) -> None:
        with self._news:
            self._is_closed = True
            self._news.notify_all()
        self._outage.forget(self)

    def _run(self) -> None:
        pause_s, is_first = _FIRST_PAUSE_S, True
        while not self._is_closed:
            try:
                with _contained():
                    line = self._open_line()
            except BellFailure as failure:
                self._outage.begins(self, str(failure))
                is_first = False
                self._tried.set()
                self._rest(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            self._outage.ends(self)
            self._hears, pause_s = True, _FIRST_PAUSE_S
            if not is_first:
                self._tell([LOST])
            self._tried.set()
            try:
                with _contained():
                    while not self._is_closed:
                        self._tell(line.hear(_SLICE_S))
            except BellFailure as failure:
                if not self._is_closed:
                    self._outage.begins(self, str(failure))
            finally:
                self._hears, is_first = False, False
                self._tell([LOST])
                line.close()

    def _rest(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._news:
            while not self._is_closed and (left := deadline - time.monotonic()) > 0:
                self._news.wait(left)

    def _tell(self, words: Collection[str]) -> None:
        if not words:
            return
        with self._news:
            self._words.update(words)
            if LOST in words or len(self._words) > MOST_WORDS:
                self._words, self._is_lost = set(), True
            self._news.notify_all()


class LineBell:
    """A bell over lines: one on which a thread rings, and one for each ear."""

    def __init__(self, name: str) -> None:
        """`name` is how the log calls it; no password stands in it."""
        outage = self._outage = Outage(name)
        self._ringer, self._ears = Ringer(self.open_ringing, outage), WeakSet[LineEar]()

    def open_ringing(self) -> RingingLine:
        """Open a line to ring on. Raises BellFailure."""
        raise NotImplementedError

    def open_hearing(self, topics: Collection[str]) -> HearingLine:
        """Open a line that hears what is rung under topics from now on. Raises BellFailure."""
        raise NotImplementedError

    def ring(self, topic: str, words: Collection[str]) -> None:
        """Have the thread tell all who listen."""
        self._ringer.ring(topic, words)

    def listen(self, *topics: str) -> Ear:
        """Open a line for a new ear, or have it opened later."""
        ear = LineEar(lambda: self.open_hearing(topics), self._outage)
        self._ears.add(ear)
        return ear

    def close(self) -> None:
        """Send what is pending, for CLOSING_S at most, and close all ears."""
        self._ringer.close()
        for ear in list(self._ears):
            ear.close()


class Ringer:
    """A thread that sends what is rung, so that nobody waits for it; what comes while it sends goes out together."""

    def __init__(self, open_line: Callable[[], RingingLine], outage: Outage) -> None:
        self._open_line, self._outage = open_line, outage
        self._news = threading.Condition()
        self._pending: dict[str, set[str]] = defaultdict(set)
        self._is_sending = self._is_closed = False
        self._thread: threading.Thread | None = None
        self._line: RingingLine | None = None

    def ring(self, topic: str, words: Collection[str]) -> None:
        """Note words to be sent. Never waits, and never raises."""
        with self._news:
            if self._is_closed:
                return
            pending = self._pending[topic]
            pending.update(words)
            if len(pending) > MOST_WORDS:
                self._pending[topic] = {LOST}
            if self._thread is None:  # here and not earlier: threads do not survive a fork
                self._thread = threading.Thread(target=self._run, daemon=True, name="ringer")
                self._thread.start()
            self._news.notify_all()

    def close(self) -> None:
        """Send what is pending, for CLOSING_S at most, and stop."""
        with self._news:
            self._news.wait_for(lambda: not self._pending and not self._is_sending, CLOSING_S)
            self._is_closed = True
            self._news.notify_all()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while (rung := self._next()) is not None:
            if self._sent(rung):
                pause_s = _FIRST_PAUSE_S
                continue
            with self._news:  # by the time that it works again those words are old, but something has happened
                self._pending = defaultdict(set, {topic: {LOST} for topic in (*rung, *self._pending)})
                self._news.wait_for(lambda: self._is_closed, pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        self._drop_line()

    def _next(self) -> Mapping[str, Collection[str]] | None:
        """Return what is to be sent, as soon as there is something; None where it is to stop."""
        with self._news:
            self._is_sending = False
            self._news.notify_all()
            self._news.wait_for(lambda: self._pending or self._is_closed)
            if self._is_closed:
                return None
            self._is_sending = True
            rung, self._pending = self._pending, defaultdict(set)
            return rung

    def _sent(self, rung: Mapping[str, Collection[str]]) -> bool:
        """Send, on a new line where the one of before has broken; return whether that went well."""
        had_line = self._line is not None
        try:
            with _contained():
                if self._line is None:
                    self._line = self._open_line()
                self._line.send(rung)
        except BellFailure as failure:
            self._drop_line()
            if had_line:
                return self._sent(rung)
            self._outage.begins(self, str(failure))
            return False
        self._outage.ends(self)
        return True

    def _drop_line(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
