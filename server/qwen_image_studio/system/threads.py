"""Threads beside the event loop of the web process, which itself waits for thousands of callers in one thread (gevent).

Nothing is patched: whatever computes, reads or writes runs in one of these threads, as ordinary code with ordinary
locks. Only what waits for callers and for news of jobs stays on the loop. In a process without a loop, such as a worker
or a test, everything is simply called.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import TypeVar

import gevent
from gevent.event import Event as GeventEvent
from gevent.threadpool import ThreadPool

Result = TypeVar("Result")
Event = threading.Event | GeventEvent
_loop: int | None = None
"""The thread of this process that runs a loop."""


class Threads:
    """A few threads for calls of one kind."""

    def __init__(self, most: int) -> None:
        """`most` is the number of calls that run at once; further ones wait for a thread."""
        self._most = most
        self._pool: ThreadPool | None = None

    def run(self, call: Callable[[], Result]) -> Result:
        """Make the call in a thread, and return its result or raise its error; other callers are served meanwhile.

        The call sees the context variables of its caller, such as Flask's request.
        """
        if _loop != threading.get_ident():
            return call()
        if self._pool is None:
            self._pool = ThreadPool(self._most)
        made: Future[Result] = Future()
        self._pool.apply(partial(copy_context().run, _make, call, made))
        return made.result()

    def each(self, items: Iterator[Result]) -> Iterator[Result]:
        """Yield the items of an iterator, each of them made in a thread."""
        while found := self.run(lambda: list(_first(items))):
            yield found[0]


def _make(call: Callable[[], Result], made: "Future[Result]") -> None:
    """Make a call, and keep what comes of it: gevent would print the traceback of every error."""
    try:
        made.set_result(call())
    except BaseException as error:  # noqa: BLE001 - raised in the caller
        made.set_exception(error)


def _first(items: Iterator[Result]) -> Iterator[Result]:
    for item in items:
        yield item
        return


LOOKS = Threads(8)
"""Threads of requests that are answered from the database."""
INTAKE = Threads(64)
"""Threads of requests with a body, most of which wait: for a decoder, or for an address that they fetch."""
FILES = Threads(8)
"""Threads that read files and archives piece by piece."""
EAR = Threads(1)
"""The thread that waits for news."""


def begin_loop() -> None:
    """Note that this thread runs an event loop from now on."""
    global _loop
    _loop = threading.get_ident()


def new_event() -> Event:
    """Return an event to wait for, on the loop where there is one."""
    return threading.Event() if _loop is None else GeventEvent()


def start(function: Callable[[], None], name: str) -> None:
    """Run a function beside everything else, for as long as the process lives."""
    if _loop is None:
        threading.Thread(target=function, daemon=True, name=name).start()
    else:
        gevent.spawn(function)
