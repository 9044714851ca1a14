"""The log of a process: one line per entry, whatever the text of a caller that an entry quotes.

Messages are made safe where they are made, so that it holds for the loggers and formatters of libraries as well: what a
terminal would obey, or a reader take for the beginning of another entry, is written as an escape.
"""

import faulthandler
import logging
import signal
import sys
import traceback
from types import TracebackType
from typing import Any, TextIO

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MOST_CHARS = 4000
"""Longest message, in characters; of a longer one the beginning is kept."""
_BESIDE = "  | "
"""The beginning of the lines of a traceback, which no entry begins with."""
TELL_THREADS = signal.SIGUSR1
"""Signal at which a process that has called `write_threads_when_told` does so; any other process would end."""

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def write_log(stream: TextIO | None = None) -> None:
    """Have this process write its log to standard error, or to another stream."""
    logging.setLogRecordFactory(Entry)
    logging.basicConfig(level=logging.INFO, format=_FORMAT, stream=stream or sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def write_threads_when_told() -> None:
    """Have this process write to standard error what each of its threads does, whenever it gets TELL_THREADS."""
    faulthandler.register(TELL_THREADS, file=sys.__stderr__ or sys.stderr)


class Entry(logging.LogRecord):
    """An entry whose message is one line, and whose traceback can be taken for nothing else."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        if self.exc_info and self.exc_info[1] is not None:
            self.exc_text = _traceback(self.exc_info)

    def getMessage(self) -> str:
        """Return the message, safe to be written as part of a line."""
        message = super().getMessage()
        if len(message) > MOST_CHARS:
            message = f"{message[:MOST_CHARS]} ... ({len(message) - MOST_CHARS} more characters)"
        return printable(message)


def printable(text: str) -> str:
    """Return the text with escapes in place of control characters, line breaks, marks that turn the direction of
    writing, and anything else that has no shape of its own.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _traceback(raised: _Raised) -> str:
    lines = "".join(traceback.format_exception(*raised)).rstrip("\n").split("\n")
    return "\n".join(f"{_BESIDE}{printable(line)}" for line in lines)
