"""From the client's updates and errors to Dify's: progress lines, and errors that Dify shows unchanged."""

import time
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]
from dify_plugin.errors.model import (  # type: ignore[import-untyped]
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

from tools.client import Update
from tools.errors import ClientError, KeyRefused, QueueFull, Refused, Unreachable, WrongServer
from tools.views import Job

Returned = TypeVar("Returned")

STEP_PACE_S = 3.0
"""Least time between two lines about mere steps or rows, in seconds, since a chat keeps every line; all other changes
are told at once."""
SILENCE_S = 19.0
"""Longest time without a line while the server answers, in seconds, so that nobody thinks it hangs."""

_PHASES: Mapping[str, str] = {
    "": "Starting.",
    "loading": "Loading the model.",
    "encoding": "Reading the prompt.",
    "denoising": "Painting.",
    "adjusting": "Adjusting.",
    "decoding": "Turning the result into pixels.",
    "storing": "Storing the images.",
}
_ENDS: Mapping[str, str] = {
    "succeeded": "Done.",
    "failed": "The job failed.",
    "cancelled": "The job was cancelled.",
}


@contextmanager
def reported_errors() -> Iterator[None]:
    """Turn the client's errors into those of Dify's that show the person their sentence and nothing else."""
    try:
        yield
    except ClientError as error:
        raise _dify_error(error) from None  # the SDK also sends the chain of causes, and ours holds signed URLs
    except Exception as fault:  # noqa: BLE001 - our own fault: Dify would show its text and trace, which may hold a key
        where = traceback.extract_tb(fault.__traceback__)[-1]
        what = f"{type(fault).__name__} in line {where.lineno} of {Path(where.filename).name}"
        raise InvokeServerUnavailableError(
            f"The plugin failed over this call ({what}). Run it again; if it fails again, tell the plugin's developers "
            "these words and what you asked for."
        ) from None


def _dify_error(error: ClientError) -> Exception:
    kinds: Sequence[tuple[type[ClientError], type[Exception]]] = (
        (Refused, InvokeBadRequestError),
        (KeyRefused, InvokeAuthorizationError),
        (QueueFull, InvokeRateLimitError),
        (Unreachable, InvokeConnectionError),
        (WrongServer, InvokeConnectionError),
    )
    for kind, dify_kind in kinds:
        if isinstance(error, kind):
            return dify_kind(str(error))
    return InvokeServerUnavailableError(str(error))  # type: ignore[no-any-return]


def line_of_progress(tool: Tool, line: str) -> ToolInvokeMessage:
    """Return a message that adds one line to the stream variable ``progress``."""
    return tool.create_stream_variable_message("progress", f"{line}\n")


def streamed(tool: Tool, updates: Generator[Update, None, Returned]) -> Generator[ToolInvokeMessage, None, Returned]:
    """Yield the updates as lines of the stream variable ``progress``; return what ``updates`` returns."""
    last, last_line, sent_at = "", "", 0.0
    while True:
        try:
            update = next(updates)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        line = progress_line(update)
        subject, silence = _subject(update, line), time.monotonic() - sent_at
        pace = STEP_PACE_S if subject in {"Painting", "Rows"} else 0.0
        if subject != last or silence >= (pace if line != last_line else SILENCE_S):
            last, last_line, sent_at = subject, line, time.monotonic()
            yield line_of_progress(tool, line)


def _subject(update: Update, line: str) -> str:
    """Return what a line is about, so that the next line about the same can wait."""
    return "Rows" if isinstance(update, Job) and update.rows and not update.ended else line.partition(":")[0]


def progress_line(update: Update) -> str:
    """Return what is happening now, in one short sentence."""
    if not isinstance(update, Job):
        return f"Trying again in {max(1, round(update.seconds))} s: {update.reason}"
    if update.rows is not None and not update.ended:
        failed = f", {update.rows.failed} failed" if update.rows.failed else ""
        return f"{update.rows.so_far}{failed}."
    if update.state == "queued":
        place = update.queue_position or 1
        return "Waiting: next in the queue." if place == 1 else f"Waiting: place {place} in the queue."
    if update.state == "review":
        return "Waiting for a person to approve the result."
    if update.state != "running":
        return _ENDS.get(update.state, f"The job is {update.state}.")
    progress = update.progress
    if progress.phase in {"denoising", ""} and progress.step:
        left = f", about {max(1, round(progress.eta_s))} s left" if progress.eta_s is not None else ""
        return f"Painting: step {progress.step}/{progress.steps}{left}."
    return _PHASES.get(progress.phase, "Painting.")
