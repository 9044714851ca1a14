"""Serving the protocol's messages. Calls make the same submissions as all other routes, and wait for their jobs."""

import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from flask import Response, g, request, stream_with_context
from mcp_types import DiscoverResult, EmptyResult, InitializeResult, ListToolsResult, Result, ServerCapabilities
from mcp_types import ToolsCapability as Tools
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.mcp import CallOptions, JobAction, JobCall
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.system.threads import INTAKE, LOOKS
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.json_pictures import read_with_pictures, with_texts
from qwen_image_studio.web.mcp.answers import answer_about
from qwen_image_studio.web.mcp.calls import Call, read_call
from qwen_image_studio.web.mcp.errors import rpc_body
from qwen_image_studio.web.mcp.protocol import (
    CALL,
    CANCELLED,
    HEADERS,
    INITIALIZE,
    SERVER,
    Message,
    Refusal,
    message_of,
    negotiated,
)
from qwen_image_studio.web.mcp.streaming import pieces_of, take_back
from qwen_image_studio.web.mcp.tools import IMAGES, tools_for
from qwen_image_studio.web.mcp.under_way import CallId
from qwen_image_studio.web.routing import services
from qwen_image_studio.web.waiting import Sees, Waiting, waiting_for

SESSION_HEADER = "Mcp-Session-Id"
_EXAMPLE = '{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
_SESSION_CHARS = 128
_CAPABILITIES = ServerCapabilities(tools=Tools(list_changed=False))
_INSTRUCTIONS = (
    "Paints and changes images on the user's own server. Give the user the link of each image. An image of an earlier "
    "answer is named by its id."
)
_LIST_TTL_MS = 60_000
"""Time for which a client may keep the list of tools."""


def read_message() -> Message | Refusal:
    """Return the message of the current request, or why it is none. Raises StudioError."""
    if request.mimetype != "application/json":
        raise StudioError("unsupported_media_type", f"Send application/json, such as {_EXAMPLE}.")
    try:
        headers = {name: request.headers[name] for name in HEADERS if name in request.headers}
        return message_of(_unfolded(read_with_pictures({"params"}, such_as=_EXAMPLE)), headers)
    except Refusal as refusal:
        return refusal


def _unfolded(body: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose long texts are texts again, but for pictures among the arguments of a call."""
    params = body.get("params")
    arguments = params.get("arguments") if isinstance(params, dict) else None
    if not isinstance(params, dict) or not isinstance(arguments, dict):
        return {**with_texts(body)}
    pictures = {name: arguments[name] for name in IMAGES if name in arguments}
    rest = {name: with_texts(value) for name, value in arguments.items() if name not in pictures}
    return {**body, "params": {**with_texts({**params, "arguments": None}), "arguments": {**rest, **pictures}}}


def answered(message: Message | Refusal) -> Response:
    """Return the answer to a message; a call's may go on until its job has ended."""
    g.only_reads = True
    if isinstance(message, Refusal):
        return _json(message.body(), message.status)
    if message.id is None:
        INTAKE.run(partial(_note, message))
        return Response(status=202)
    try:
        return _ANSWERS[message.method](message)
    except StudioError as error:
        return _refused(message, error)


def _refused(message: Message, error: StudioError) -> Response:
    """Return the answer to a request that is refused; what became of it is logged as on other routes."""
    g.error_code, g.refused_with = error.code, error.status
    body = rpc_body(error, g.request_id, message.id)
    return _json(body, message.status_of(body["error"]["code"]))


def _json(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(json.dumps(body, separators=(",", ":")), status, mimetype="application/json")


def _result(message: Message, result: Result) -> Response:
    return _json(message.answer(result))


# -- all but calls -------------------------------------------------------------------------------------------------


def _initialize(message: Message) -> Response:
    response = _result(
        message,
        InitializeResult(
            protocol_version=negotiated(message.params),
            capabilities=_CAPABILITIES,
            server_info=SERVER,
            instructions=_INSTRUCTIONS,
        ),
    )
    response.headers[SESSION_HEADER] = secrets.token_hex(16)
    return response


def _discover(message: Message) -> Response:
    versions = [*MODERN_PROTOCOL_VERSIONS]
    found = DiscoverResult(supported_versions=versions, capabilities=_CAPABILITIES, instructions=_INSTRUCTIONS)
    return _result(message, found.model_copy(update={"ttl_ms": _LIST_TTL_MS}))


def _ping(message: Message) -> Response:
    return _result(message, EmptyResult())


def _list(message: Message) -> Response:
    parts = services()
    tools = LOOKS.run(partial(tools_for, caller(), list(parts.models), parts.settings.mcp_wait_s))
    return _result(message, ListToolsResult(tools=tools, ttl_ms=_LIST_TTL_MS))


def _note(message: Message) -> None:
    """Take a request back, where that is what a client notes; of versions without handshake none has to be heard."""
    if message.method != CANCELLED or message.is_modern:
        return
    number = message.params.get("requestId")
    call_id = _call_id(number) if isinstance(number, int | str) else None
    job_id = None if call_id is None else services().calls_under_way.take_back(call_id)
    if job_id is not None:
        take_back(job_id)


def _call_id(number: int | str) -> CallId | None:
    """Return what a request of this number is known by; None for a client that tells no session."""
    session = request.headers.get(SESSION_HEADER, "")
    return (caller().owner, caller().key, session, number) if 0 < len(session) <= _SESSION_CHARS else None


# -- calls ---------------------------------------------------------------------------------------------------------


def _call(message: Message) -> Response:
    asked = INTAKE.run(partial(read_call, message.params))
    if isinstance(asked, Call):
        g.only_reads = False
        return _painted(message, asked)
    if asked.action is JobAction.CANCEL:
        g.only_reads = False
        return INTAKE.run(partial(_cancelled, message, asked))
    return _looked_at(message, asked)


def _cancelled(message: Message, asked: JobCall) -> Response:
    caller().check_scope(Scope.GENERATE, Scope.EDIT)
    job = services().store.jobs.cancel(asked.job_id, caller().owner)
    return _result(message, answer_about(job, asked.inline))


def _painted(message: Message, asked: Call) -> Response:
    parts, number = services(), message.id
    with ExitStack() as stack:
        known = None if number is None or message.is_modern else _call_id(number)
        call = stack.enter_context(parts.calls_under_way.waiting(known))
        place = waiting_for(
            asked.submission, caller(), parts.intake, parts.store, parts.changes, _sees(message), asked.options.wait
        )
        waiting = stack.enter_context(place)
        if parts.calls_under_way.begun(call, waiting.job_id):
            LOOKS.run(partial(take_back, waiting.job_id))
        return _streamed(message, asked.options, waiting, stack, own=True)


def _looked_at(message: Message, asked: JobCall) -> Response:
    parts, who = services(), caller()
    with ExitStack() as stack:
        watch = stack.enter_context(parts.changes.watching(asked.job_id, sees=_sees(message)))
        LOOKS.run(partial(parts.store.jobs.get, asked.job_id, who.owner))  # else it is refused at once
        waiting = Waiting(asked.job_id, who.owner, parts.store, watch, asked.wait)
        return _streamed(message, asked, waiting, stack, own=False)


def _streamed(message: Message, options: CallOptions, waiting: Waiting, stack: ExitStack, *, own: bool) -> Response:
    is_events = _follows(message)
    pieces = stream_with_context(pieces_of(message, options, waiting, is_events=is_events, own=own))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = Response(pieces, mimetype="text/event-stream" if is_events else "application/json", headers=headers)
    # The web server closes every response; a generator that was never started would not clean up by itself.
    response.call_on_close(stack.pop_all().close)
    return response


def _follows(message: Message) -> bool:
    """Return whether the client wants to hear of the progress, and takes events."""
    return message.progress_token is not None and request.accept_mimetypes["text/event-stream"] > 0


def _sees(message: Message) -> Sees:
    return Sees.PROGRESS if _follows(message) else Sees.STATE


_ANSWERS: Mapping[str, Callable[[Message], Response]] = {
    INITIALIZE: _initialize,
    "ping": _ping,
    "server/discover": _discover,
    "tools/list": _list,
    CALL: _call,
}
