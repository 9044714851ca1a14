"""The edge of the application: an id and a log line for every request, and the shape of all errors."""

import logging
import re
import secrets
import time
from functools import partial
from typing import Any

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.logs import begin_with
from qwen_image_studio.web.call_log import call_of
from qwen_image_studio.web.huggingface.errors import reads_texts, text_body, where_to_send
from qwen_image_studio.web.mcp.errors import reads_rpc, rpc_body, where_to_post
from qwen_image_studio.web.peers import Networks, peer_of
from qwen_image_studio.web.routing import declared, services

_log = logging.getLogger(__name__)
_CODES = {
    400: ("malformed_body", "The request cannot be read; send JSON, or multipart with a 'params' field."),
    404: ("not_found", "There is nothing at this address; /openapi.json lists what there is."),
    405: ("method_not_allowed", "This address does not take this method; /openapi.json lists what it takes."),
    408: ("malformed_body", "The request came too slowly and was given up; send it again, or something smaller."),
    412: ("precondition_failed", "If-Match: the file is another one; ask without it to get the file as it is."),
    413: ("body_too_large", "The body is larger than this server takes; send smaller images or fewer."),
    415: ("unsupported_media_type", "Send application/json, or multipart/form-data with a 'params' field."),
    416: ("range_not_satisfiable", "Range: the file is shorter; Content-Range tells its length in bytes."),
}
_NOTHING_RUNS = "default-src 'none'; frame-ancestors 'none'"
"""Content security policy of answers that set none of their own."""
_PRIVATE = {"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"}
"""Headers of what is somebody's: no cache keeps it, and no page of another site shows it."""
QUIET_ENDPOINTS = frozenset({"ops.health", "ops.health_of_others", "ops.live", "ops.ready", "page.static"})
"""Endpoints that load balancers call every few seconds, and the files of the page; they are logged at level DEBUG."""


def guard_edge(app: Flask, settings: Settings) -> None:
    """Give every request of the application an id and a log line, and every error the contract's shape."""
    app.before_request(partial(_begin, settings.proxies))
    app.register_error_handler(StudioError, _studio_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _fault)
    app.after_request(_end)


def _begin(proxies: Networks) -> None:
    g.peer = peer_of(request.remote_addr, request.headers, proxies)
    g.started = time.perf_counter()
    sent = request.headers.get("X-Request-Id", "")
    g.request_id = sent if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", sent) else f"req_{secrets.token_hex(8)}"
    begin_with(request_id=g.request_id)


def _end(response: Response) -> Response:
    parts = services()
    if parts.settings.calls_days and request.endpoint not in QUIET_ENDPOINTS:
        if (row := call_of(response, parts.store)) is not None:
            parts.call_log.add(row)
    response.headers["X-Request-Id"] = g.request_id
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if (route := declared(request.endpoint)) is not None and route.needs_key:
        for name, value in _PRIVATE.items():
            response.headers.setdefault(name, value)
    response.headers.setdefault("Content-Security-Policy", _NOTHING_RUNS)
    level = logging.DEBUG if request.endpoint in QUIET_ENDPOINTS else logging.INFO
    taken_ms = (time.perf_counter() - g.started) * 1000
    status = g.get("refused_with", response.status_code)
    parts.metrics.note(_rule(), request.method, status, taken_ms / 1000)
    owner = g.caller.owner if "caller" in g else "-"
    # The path without the query, which may hold a link's signature.
    facts = (request.method, request.path[:200], status, taken_ms, owner, g.request_id)
    _log.log(level, "%s %r %d in %.0f ms, owner %s, %s", *facts)
    return response


def _rule() -> str:
    """Return the rule of the current request's route; all addresses where there is nothing are one."""
    return "none" if request.url_rule is None else request.url_rule.rule


def _studio_error(error: StudioError) -> Response:
    g.error_code = error.code
    response = jsonify(_body(error))
    route = declared(request.endpoint)
    response.status_code = error.status if route is None else route.status_of(error.code)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _body(error: StudioError) -> dict[str, Any]:
    """Return the body of an error in the contract's shape, or in that of the clients whose address was asked for."""
    if reads_texts(request.path):
        return text_body(error).model_dump(exclude_none=True)
    if reads_rpc(request.path):
        return rpc_body(error, g.get("request_id", ""))
    return error.body(g.get("request_id", ""))


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    code, message = _CODES.get(status, ("malformed_body", error.description or "The request is refused."))
    response = _studio_error(
        StudioError(code, where_to_send(status, request.path) or where_to_post(status, request.path) or message)
    )
    response.headers.extend({name: value for name, value in error.get_headers() if name in {"Allow", "Content-Range"}})
    return response


def _fault(error: Exception) -> Response:
    _log.error("request %s failed", g.get("request_id", ""), exc_info=error)
    message = "The server failed at this request; its log has the cause under the request id."
    return _studio_error(StudioError("internal_error", message))
