"""The log of a process: one line per entry, whatever the text of a caller that an entry quotes.

Messages are made safe where they are made, so that it holds for the loggers and formatters of libraries as well: what a
terminal would obey, or a reader take for the beginning of another entry, is written as an escape. As JSON an entry also
has what its thread works on (`about`): the request, the job, and whose it is.
"""

import faulthandler
import logging
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any, TextIO

from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars, merge_contextvars
from structlog.processors import EventRenamer, JSONRenderer, TimeStamper
from structlog.stdlib import ProcessorFormatter, add_log_level, add_logger_name
from structlog.typing import EventDict

from qwen_image_studio.contract.words import LogFormat

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MOST_CHARS = 4000
"""Longest message, in characters; of a longer one the beginning is kept."""
_BESIDE = "  | "
"""The beginning of the lines of a traceback, which no entry begins with."""
TELL_THREADS = signal.SIGUSR1
"""Signal at which a process that has called `write_threads_when_told` does so; any other process would end."""

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def write_log(stream: TextIO | None = None, log_format: LogFormat = LogFormat.TEXT) -> None:
    """Have this process write its log to standard error, or to another stream."""
    logging.setLogRecordFactory(Entry)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT) if log_format is LogFormat.TEXT else _as_json())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would log addresses of files with their signatures


def begin_with(**facts: str | None) -> None:
    """Have the entries of this thread, and of those that carry its context, be about these facts alone from now on."""
    clear_contextvars()
    bind_contextvars(**_known(facts))


def go_on_with(**facts: str | None) -> None:
    """Have them be about these facts as well."""
    bind_contextvars(**_known(facts))


@contextmanager
def about(**facts: str | None) -> Iterator[None]:
    """Have them be about these facts as well, within the block."""
    with bound_contextvars(**_known(facts)):
        yield


def carried(function: Callable[[], None]) -> Callable[[], None]:
    """Return the function for another thread, where its entries are about the same as those of this one."""
    return partial(copy_context().run, function)


def _known(facts: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in facts.items() if value is not None}


def _as_json() -> ProcessorFormatter:
    """Return the formatter of one object per line."""
    return ProcessorFormatter(
        foreign_pre_chain=[
            merge_contextvars,
            add_log_level,
            add_logger_name,
            TimeStamper(fmt="iso", utc=True, key="time"),
            _add_exception,
        ],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            EventRenamer("message"),
            JSONRenderer(ensure_ascii=False, sort_keys=False),
        ],
    )


def _add_exception(_logger: Any, _method: str, entry: EventDict) -> EventDict:
    raised = entry.pop("exc_info", None)
    if raised and raised[1] is not None:
        entry["exception"] = "\n".join(printable(line) for line in _lines(raised))
    return entry


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
    return "\n".join(f"{_BESIDE}{printable(line)}" for line in _lines(raised))


def _lines(raised: _Raised) -> list[str]:
    return "".join(traceback.format_exception(*raised)).rstrip("\n").split("\n")
