"""One line in the log per request: what, how it ended, how long it took, whose it was, under which id."""

import logging
import time

from flask import Flask, Response, g, request

_log = logging.getLogger(__name__)
QUIET_ENDPOINTS = frozenset({"ops.health"})
"""Asked every few seconds by load balancers."""


def log_requests(app: Flask) -> None:
    """Log every request of the application; of an address only the path, since queries hold signatures."""
    app.before_request(_start)
    app.after_request(_write)


def _start() -> None:
    g.started = time.perf_counter()


def _write(response: Response) -> Response:
    level = logging.DEBUG if request.endpoint in QUIET_ENDPOINTS else logging.INFO
    taken_ms = (time.perf_counter() - g.started) * 1000
    facts = (request.method, request.path[:200], response.status_code, taken_ms, g.get("owner", "-"), g.request_id)
    _log.log(level, "%s %r %d in %.0f ms, owner %s, %s", *facts)
    return response
