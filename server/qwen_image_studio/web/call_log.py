"""The call log's part in the web process: which requests get a row, and the thread that writes the rows.

A request that submitted a job gets none, since the job has one when it has ended; so does one that only read. What is
refused gets one whatever it was, except that strangers cannot fill the log.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from flask import Response, g, request

from qwen_image_studio.contract.caller import Caller, person_of
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.jobs import Job, JobStore
from qwen_image_studio.jobs.calls import SUCCEEDED, Call, Calls
from qwen_image_studio.jobs.prompts import storable
from qwen_image_studio.recipe import Submission
from qwen_image_studio.web.mcp.errors import reads_rpc

_log = logging.getLogger(__name__)

MOST_WAITING = 5000
"""Rows that wait to be written at most; further ones are dropped, and counted."""
MOST_STRANGERS = 120
"""Rows a minute of requests without a valid key."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_OF_READING = frozenset({412, 416})
"""Statuses that tell a reader about conditions and ranges, which refuse nothing."""
_METHOD_NOT_ALLOWED = 405
_AT_ONCE = 500
_PATIENCE_S = 30.0
"""Time for which one batch of rows waits for a database that is busy, in seconds."""
_PAUSE_S = 0.2
_LAST_S = 3.0
"""Time in which a process that ends writes what waits, in seconds."""


# -- the current request -------------------------------------------------------------------------------------------


def submitted(job: Job) -> None:
    """Note that the current request has a job, whose row is the request's, too."""
    g.job = job


def call_of(response: Response, store: JobStore) -> Call | None:
    """Return the row of the current request; None where it gets none."""
    # Some clients read no answer but one with status 200, also where they are refused.
    status = g.get("refused_with", response.status_code)
    is_refused = status >= 400 and status not in _OF_READING
    only_reads = request.method in _READING or g.get("only_reads", False)
    if "job" in g or _is_probe(response) or (only_reads and not is_refused):
        return None
    who: Caller | None = g.get("caller")
    submission: Submission | None = g.get("submission")
    asked = None if submission is None else submission.request
    return Call(
        at=store.database.now(),
        request_id=g.request_id,
        method=request.method[:16],
        route=_text_of(request.path, 200) or "",
        outcome=f"refused:{g.get('error_code', 'unknown')}" if is_refused else SUCCEEDED,
        key=who.key if who else None,
        owner=who.owner if who else None,
        person=None if asked is None else person_of(asked.user),
        peer=g.peer,
        status=status,
        job_id=_text_of((request.view_args or {}).get("job_id"), 64),
        operation=None if asked is None else asked.NAME,
        model=None if asked is None else _text_of(getattr(asked, "model", None), 128),
        prompt=None if asked is None else store.prompts.logged(storable(asked.said)),
        took_ms=round((time.perf_counter() - g.started) * 1000, 1),
    )


def _is_probe(response: Response) -> bool:
    """Return whether a client of agents has only asked whether there is a stream or a session, as they all do."""
    return response.status_code == _METHOD_NOT_ALLOWED and reads_rpc(request.path)


def _text_of(value: str | None, most: int) -> str | None:
    """Return a text of a request as its column takes it."""
    return None if value is None else (storable(value) or "")[:most]


# -- the writer ----------------------------------------------------------------------------------------------------


class CallLog:
    """The rows that wait to be written, and the thread that writes them. Adding never waits and never fails."""

    def __init__(self, calls: Calls, *, most: int = MOST_WAITING) -> None:
        self._calls = calls
        self._rows: queue.Queue[Call | None] = queue.Queue(most)
        self._guard = threading.Lock()
        self._writer: threading.Thread | None = None
        self._strangers, self._minute = 0, 0.0
        self.dropped = 0
        """Number of rows that were never written."""
        self._told_at = 0.0

    def add(self, row: Call) -> None:
        """Have a row written soon. It is dropped where too many wait, or too many came from strangers."""
        if row.owner is None and self._is_too_much_of_strangers():
            return
        try:
            self._rows.put_nowait(row)
        except queue.Full:
            self._drop(1, "too many rows wait to be written")
            return
        self._start()

    def close(self) -> None:
        """Write what waits, and end; what a busy database does not take in a few seconds is lost."""
        writer, deadline = self._writer, time.monotonic() + _LAST_S
        if writer is not None:
            with suppress(queue.Full):
                self._rows.put(None, timeout=_LAST_S)
            writer.join(max(0.0, deadline - time.monotonic()))

    def _is_too_much_of_strangers(self) -> bool:
        now = time.monotonic()
        if now - self._minute > 60:
            self._minute, self._strangers = now, 0
        self._strangers += 1
        if self._strangers > MOST_STRANGERS:
            self._drop(1, "too many requests come without a valid key")
        return self._strangers > MOST_STRANGERS

    def _start(self) -> None:
        """Start the writer with the first row: an idle server has no such thread, and none before a fork."""
        if self._writer is None or not self._writer.is_alive():
            with self._guard:
                if self._writer is None or not self._writer.is_alive():
                    self._writer = threading.Thread(target=self._write_all, daemon=True, name="call-log")
                    self._writer.start()

    def _write_all(self) -> None:
        for rows in self._batches():
            deadline = time.monotonic() + _PATIENCE_S
            while (why := self._written(rows)) is not None:
                if time.monotonic() > deadline:
                    self._drop(len(rows), why)
                    break
                time.sleep(_PAUSE_S)

    def _batches(self) -> Iterator[list[Call]]:
        """Yield what waits, as soon as anything does; end where `close` says so."""
        while True:
            rows = [self._rows.get()]
            while len(rows) < _AT_ONCE and rows[-1] is not None:
                try:
                    rows.append(self._rows.get_nowait())
                except queue.Empty:
                    break
            if real := [row for row in rows if row is not None]:
                yield real
            if rows[-1] is None:
                return

    def _written(self, rows: list[Call]) -> str | None:
        """Write rows; return why that failed, or None."""
        try:
            self._calls.write(rows)
        except StudioError as error:
            return error.message
        return None

    def _drop(self, number: int, why: str) -> None:
        with self._guard:
            self.dropped += number
            if time.monotonic() - self._told_at < 60 and self._told_at:
                return
            self._told_at = time.monotonic()
        _log.warning("%d rows of the call log were dropped so far: %s", self.dropped, why)
