"""What a person reads while a call works: one line that grows, as a chat keeps everything that was streamed to it.

Painting 5/20 (job job_1f…) · 11/20 · no answer from the server, trying again · 14/20 · done, 31 s
"""

import time
from collections.abc import Callable, Mapping

from tools.client import QUIET_S, Update
from tools.views import Job, Pause, Trouble
from tools.wishes import Language
from tools.words import said

FIRST_GAP_S = 3.0
LONGEST_GAP_S = 30.0
FIRST_SILENCE_S = 15.0
"""Least time without a change after which the time is told, in seconds."""
GROWTH = 1.5
"""Factor from one gap between two pieces about the same to the next."""

_PHASES: Mapping[str, str] = {
    "": "starting",
    "loading": "loading the model",
    "encoding": "reading the prompt",
    "denoising": "painting",
    "adjusting": "adjusting",
    "decoding": "turning the result into pixels",
    "storing": "storing the images",
}
_TROUBLES: Mapping[Trouble, str] = {
    "unreachable": "no answer from the server, trying again",
    "full": "waiting, the queue is full",
    "limited": "waiting, a limit of the API key is reached",
    "unavailable": "waiting, the server takes no jobs yet",
}
_ENDS: Mapping[str, str] = {"failed": "failed", "cancelled": "cancelled"}


class Line:
    """The line of one call. It begins once the call has taken QUIET_S seconds; a shorter one has none."""

    def __init__(self, language: Language = "en", clock: Callable[[], float] = time.monotonic) -> None:
        self.text = ""
        """What was said so far."""
        self._language, self._clock = language, clock
        self._began = clock()
        self._subject, self._last, self._sent_at = "", "", self._began
        self._gap = FIRST_GAP_S
        self._job_id = ""

    def grown_by(self, update: Update) -> str:
        """Return what the line gets for an update; empty where nothing has to be said now."""
        now = self._clock()
        until = now + update.seconds if isinstance(update, Pause) else now  # nothing can be said within a pause
        if until - self._began < QUIET_S or (isinstance(update, Job) and update.state == "succeeded"):
            return ""
        subject, piece = self._about(update)
        if subject == self._subject:
            silence = now - self._sent_at
            if silence < self._gap or (piece == self._last and silence < FIRST_SILENCE_S):
                return ""
            self._gap = min(GROWTH * self._gap, LONGEST_GAP_S)
            # Where nothing has changed, the time tells that it goes on.
            piece = self._short(piece) if piece != self._last else f"{now - self._began:.0f} s"
        else:
            self._gap = FIRST_GAP_S
        self._last = self._about(update)[1]
        self._subject, self._sent_at = subject, now
        return self._added(f"{piece}{self._named(update)}")

    def noted(self, english: str) -> str:
        """Return what the line gets for something that will take long and is no update: ``writing the prompt``."""
        self._subject = self._last = piece = said(self._language, english)
        return self._added(piece)

    def ended(self) -> str:
        """Return the end of the line; empty where it never began."""
        done = said(self._language, "done, {seconds} s", seconds=f"{self._clock() - self._began:.0f}")
        return self._added(done) + "\n" if self.text else ""

    def _added(self, piece: str) -> str:
        addition = f" · {piece}" if self.text else piece[:1].upper() + piece[1:]
        self.text += addition
        return addition

    def _named(self, update: Update) -> str:
        """Return the job's id, once: whoever loses the call finds the result by it."""
        if not isinstance(update, Job) or self._job_id or not update.id:
            return ""
        self._job_id = update.id
        return said(self._language, " (job {job})", job=update.id)

    def _about(self, update: Update) -> tuple[str, str]:
        """Return what an update is about, and how that stands."""
        if not isinstance(update, Job):
            return update.trouble, said(self._language, _TROUBLES[update.trouble])
        if update.rows is not None and not update.ended:
            failed = said(self._language, ", {count} failed", count=update.rows.failed) if update.rows.failed else ""
            done, total = update.rows.done, update.rows.total
            return "rows", said(
                self._language, f"{{done}} of {{total}} {update.parts} done", done=done, total=total
            ) + failed
        if update.state == "queued":
            place = update.queue_position or 1
            waiting = "waiting, next in the queue" if place == 1 else "waiting, place {place} in the queue"
            return f"queued {place}", said(self._language, waiting, place=place)
        if update.state == "review":
            return "review", said(self._language, "waiting for a person to approve the result")
        if update.state != "running":
            return update.state, said(self._language, _ENDS.get(update.state, update.state))
        progress = update.progress
        if progress.phase in {"denoising", ""} and progress.step:
            step = f"{progress.step}/{progress.steps}"
            return "steps", said(self._language, "painting {step}", step=step)
        return progress.phase or "starting", said(self._language, _PHASES.get(progress.phase, "painting"))

    def _short(self, piece: str) -> str:
        """Return a piece about the same as the one before it, such as ``11/20`` after ``Painting 5/20``."""
        return piece.rpartition(" ")[2] if self._subject == "steps" else piece
