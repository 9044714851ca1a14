"""The sender of callbacks: it tries each delivery of the outbox until its receiver has it or hours have passed.

At least once: what is due is claimed for longer than a try can last, and a claim whose sender died runs out. Normally
once: nobody else gets it meanwhile. Deliveries of one API key to one host go one after the other, each such line in a
thread of its own, so a slow receiver holds up nobody but itself.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery import Gallery
from qwen_image_studio.guard.post import Answer, post
from qwen_image_studio.guard.receivers import Receivers
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.jobs.news import DELIVERIES, DUE, Ear
from qwen_image_studio.jobs.outbox import Delivery, Line
from qwen_image_studio.settings import Settings
from qwen_image_studio.worker.callback import message
from qwen_image_studio.worker.faults import contained

_log = logging.getLogger(__name__)

PAUSES_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 12 * 3600.0)
"""Seconds from each failed try to the next; after the last one, some 29 hours, a delivery is dead."""
LONGEST_PAUSE_S = 12 * 3600.0
"""Longest pause that a receiver's Retry-After can ask for, in seconds."""
JITTER = 0.2
"""Share by which a pause may be longer, so that those who waited together do not come back together."""
AT_ONCE = 16
"""Largest number of lines that are served at once."""
OF_KEY_AT_ONCE = 8
"""Largest number of them that belong to one API key, which may name as many hosts as it likes."""
TURN = 20
"""Largest number of deliveries for which a line keeps its thread."""
PRUNE_S = 3600.0
"""Time between two rounds of deleting old deliveries, in seconds."""
CLAIM_S = 5.0
"""Time by which a claim outlasts the longest try, in seconds."""
STOP_S = 2.0
"""Time for which a sender that stops waits for the tries in hand, in seconds."""
_GONE = 410
_DAY_S = 86400.0
_FAULT = "The server failed at this callback; its log has the cause."


def pause_s(tries: int, answer: Answer, chance: float) -> float | None:
    """Return the seconds until the next try after `tries` failed ones, the last with this answer; None to give up.

    `chance`, from 0 to 1, spreads the pauses. A receiver that answers 410 wants no more of it.
    """
    if answer.status == _GONE or tries > len(PAUSES_S):
        return None
    asked = min(answer.retry_after_s or 0.0, LONGEST_PAUSE_S)
    return max(PAUSES_S[tries - 1], asked) * (1 + JITTER * chance)


class Sender:
    """The sender of one server; several of them over one outbox share the work."""

    def __init__(self, settings: Settings, store: JobStore, gallery: Gallery) -> None:
        self._settings, self._store, self._gallery = settings, store, gallery
        self._receivers = Receivers(store.database)
        self._busy: set[Line] = set()
        self._changed = threading.Condition()
        """Guards `_busy`, and tells when it changes."""
        self._is_stopping = False
        self._prune_at = 0.0

    def run(self) -> None:
        """Send what is due until stopped."""
        ear = self._store.bell.listen(DELIVERIES)
        try:
            while not self._is_stopping:
                self._look(ear)
        finally:
            ear.close()

    def _look(self, ear: Ear) -> None:
        try:
            with contained("the outbox cannot be looked at", message=_FAULT):
                self.start_due()
                self._prune()
        except StudioError as busy:  # it is the database; the next look may succeed
            _log.warning("%s", busy)
        ear.wait(ear.look_s)

    def start_due(self, now: float | None = None) -> None:
        """Begin with each line that has something to send, as many as there is room for; `now` is in Unix seconds.

        Raises StudioError where the outbox cannot be read.
        """
        for line in self._in_turn(self._store.outbox.due(self._store.database.now(now))):
            if self._begin(line):
                threading.Thread(target=self._serve, args=(line,), daemon=True, name="callbacks").start()

    def _in_turn(self, due: Sequence[Line]) -> Sequence[Line]:
        """Return the lines in the order in which they get a thread: keys with fewer busy lines first."""
        with self._changed:
            taken = Counter(line.key for line in self._busy)
        places = []
        for line in due:
            taken[line.key] += 1
            places.append(taken[line.key])
        return [line for _, line in sorted(zip(places, due, strict=True), key=lambda each: each[0])]

    def _begin(self, line: Line) -> bool:
        """Note that a line is being served; return whether it may be."""
        with self._changed:
            of_key = sum(busy.key == line.key for busy in self._busy)
            if line in self._busy or len(self._busy) >= AT_ONCE or of_key >= OF_KEY_AT_ONCE:
                return False
            self._busy.add(line)
            return True

    def _serve(self, line: Line) -> None:
        """Send the deliveries of a line for a while, until one fails: then it is the next line's turn."""
        try:
            for _ in range(TURN):
                if self._is_stopping or not self.send_next(line):
                    break
        except StudioError as busy:
            _log.warning("%s", busy)
            return
        finally:
            with self._changed:
                self._busy.discard(line)
                self._changed.notify_all()
        self._store.bell.ring(DELIVERIES, {DUE})  # there is room for another line now

    def send_next(self, line: Line, now: float | None = None) -> bool:
        """Try the next delivery of a line that is due; return whether it was delivered. `now` is in Unix seconds.

        Raises StudioError where the database cannot be used; the delivery is tried again later.
        """
        began = self._store.database.now(now)
        delivery = self._store.outbox.claim(line, began + self._settings.webhook_timeout_s + CLAIM_S, began)
        if delivery is None:
            return False
        try:
            with contained("delivery %s failed", delivery.id, message=_FAULT):
                answer = self._post(delivery)
        except StudioError as error:
            if error.code != "engine_failed":
                raise
            answer = Answer(None, error.message)
        return self._note(delivery, answer, self._store.database.now(now))

    def _post(self, delivery: Delivery) -> Answer:
        body = message(delivery, self._store, self._gallery)
        headers = self._receivers.signed(delivery.key, delivery.id, body)
        timeout_s, allow = self._settings.webhook_timeout_s, self._settings.webhook_allow
        return post(delivery.url, body, headers, timeout_s=timeout_s, allow=allow)

    def _note(self, delivery: Delivery, answer: Answer, now: float) -> bool:
        """Write what came of a try; return whether the receiver has it."""
        if answer.status is not None and 200 <= answer.status < 300:
            self._store.outbox.delivered(delivery, answer.status, now)
            _log.info("%s of job %s: %s has it (%d)", delivery.event, delivery.job_id, delivery.host, answer.status)
            return True
        pause = pause_s(delivery.tries + 1, answer, random.random())  # noqa: S311 - spreads load, guards nothing
        error = answer.told if answer.status is None else f"answered {answer.status}: {answer.told}".rstrip(": ")
        self._store.outbox.failed(delivery, None if pause is None else now + pause, answer.status, error, now)
        after = "given up" if pause is None else f"again in {pause:.0f} s"
        _log.warning("%s of job %s: %s: %s; %s", delivery.event, delivery.job_id, delivery.host, error, after)
        return False

    def _prune(self) -> None:
        """Delete some of what is old, now and then."""
        if time.monotonic() < self._prune_at:
            return
        if not self._store.outbox.prune(self._store.database.now() - self._settings.webhook_keep_days * _DAY_S):
            self._prune_at = time.monotonic() + PRUNE_S

    def stop(self) -> None:
        """Begin nothing more, and wait a moment for the tries in hand; one that is cut off is made again later."""
        self._is_stopping = True
        self._store.bell.ring(DELIVERIES, {DUE})
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, STOP_S)


@contextmanager
def sending(settings: Settings, store: JobStore, gallery: Gallery) -> Iterator[None]:
    """Send callbacks in the background until the end of the block."""
    sender = Sender(settings, store, gallery)
    threading.Thread(target=sender.run, daemon=True, name="sender").start()
    try:
        yield
    finally:
        sender.stop()
