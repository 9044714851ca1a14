"""The calls that wait for their jobs in this process, so that a client can take one back.

Clients count their requests from 1, so a number alone names nobody's: a call is known by the API key, by the session
that the client got at its beginning, and by the number.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

CallId = tuple[str, str | None, str, int | str]
"""Owner, name of the API key, session, and id of the request."""


@dataclass
class CallUnderWay:
    """One call that waits."""

    job_id: str | None = None
    """Its job; None while it has none."""
    taken_back: bool = False


class CallsUnderWay:
    """All calls that wait, by who made them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[CallId, CallUnderWay] = {}

    @contextmanager
    def waiting(self, call_id: CallId | None) -> Iterator[CallUnderWay]:
        """Have a call known within the block; one without an id cannot be taken back."""
        call = CallUnderWay()
        if call_id is None:
            yield call
            return
        with self._lock:
            self._calls[call_id] = call
        try:
            yield call
        finally:
            with self._lock:
                if self._calls.get(call_id) is call:
                    del self._calls[call_id]

    def begun(self, call: CallUnderWay, job_id: str) -> bool:
        """Note the job of a call, and return whether the call was taken back before it had one."""
        with self._lock:
            call.job_id = job_id
            return call.taken_back

    def take_back(self, call_id: CallId) -> str | None:
        """Note that a call is taken back, and return its job; None where there is no such call, or no job of it yet."""
        with self._lock:
            call = self._calls.get(call_id)
            if call is None or call.taken_back:
                return None
            call.taken_back = True
            return call.job_id
