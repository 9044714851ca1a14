"""The body of an answer to a call, while its images are made.

Whoever follows the progress gets events, all others one JSON. A caller hears something at least every PING_S seconds: a
comment between events, or white space before the JSON, which is part of no value. So no proxy and no client takes the
silence for the end, and an image of any size fits, while many clients take events of 1 MiB at most.
"""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from flask import g

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.mcp import CallOptions, Inline
from qwen_image_studio.jobs import Job
from qwen_image_studio.system.threads import INTAKE, LOOKS
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.mcp.answers import answer_about
from qwen_image_studio.web.mcp.errors import rpc_body
from qwen_image_studio.web.mcp.protocol import Message
from qwen_image_studio.web.routing import services
from qwen_image_studio.web.waiting import Waiting, check_end, has_left

PING_S = 15.0
"""Longest silence of an answer that is under way, in seconds."""
_PING = ": still here\n\n"


def pieces_of(message: Message, options: CallOptions, waiting: Waiting, *, is_events: bool, own: bool) -> Iterator[str]:
    """Yield the answer to a call piece by piece, until the job has ended or the call has waited long enough.

    With `is_events` the pieces are events. A caller of a version where that means to take the request back, and who
    leaves, cancels the job, if that is the call's `own`.
    """
    try:
        yield from _news(message, waiting, is_events)
        if not has_left():
            yield from _last(message, options, waiting, is_events)
            return
    except GeneratorExit:  # the web server closes what nobody reads any more
        if own and message.is_modern:
            LOOKS.run(partial(take_back, waiting.job_id))
        raise
    if own and message.is_modern:
        LOOKS.run(partial(take_back, waiting.job_id))


def _news(message: Message, waiting: Waiting, is_events: bool) -> Iterator[str]:
    """Yield what keeps the connection open, until the job or the wait has ended."""
    told, spoken = _Progress(message), time.monotonic()
    with suppress(StudioError):  # the answer looks at the job once more, and says what has become of it
        for job in waiting.states():
            piece = told.news(job) if is_events else None
            if piece is None and time.monotonic() - spoken >= PING_S:
                piece = _PING if is_events else "\n"
            if piece is not None:
                yield piece
                spoken = time.monotonic()


def _last(message: Message, options: CallOptions, waiting: Waiting, is_events: bool) -> Iterator[str]:
    inline = options.inline
    if inline is Inline.AUTO:
        inline = Inline.PREVIEW if is_events else Inline.FULL
    written = INTAKE.run(partial(_written, message, waiting, inline))
    yield f"event: message\ndata: {written}\n\n" if is_events else written


def _written(message: Message, waiting: Waiting, inline: Inline) -> str:
    try:
        job = services().store.jobs.get(waiting.job_id, caller().owner)
        check_end(job)
        return json.dumps(message.answer(answer_about(job, inline)), separators=(",", ":"))
    except StudioError as error:
        return json.dumps(rpc_body(error, g.request_id, message.id))


def take_back(job_id: str) -> None:
    """Cancel the job of a call that was taken back, if it has not ended meanwhile. Raises StudioError."""
    try:
        services().store.jobs.cancel(job_id, caller().owner)
    except StudioError as error:  # it has ended, or was deleted meanwhile
        if error.code not in {"job_finished", "not_found"}:
            raise


class _Progress:
    """The progress as a client is told of it: each number is larger than the one before."""

    def __init__(self, message: Message) -> None:
        self._message, self._told = message, -1

    def news(self, job: Job) -> str | None:
        """Return the event about the steps that are done; None where there are no more than before."""
        now = job.progress
        if now.step <= self._told:
            return None
        self._told = now.step
        params = {
            "progressToken": self._message.progress_token,
            "progress": now.step,
            **({"total": now.steps} if now.steps else {}),
            "message": now.phase or job.state.value,
        }
        told = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        return f"event: message\ndata: {json.dumps(told, separators=(',', ':'))}\n\n"
