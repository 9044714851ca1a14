"""Pages of other origins: which of them a browser lets read our answers, and send what is not a plain form (CORS).

Never with cookies, which are for the studio's own page: who calls from elsewhere is told by the API key alone. Where
the server has no keys, an origin has to be named, since a `*` would let any page on this machine look at everything.
"""

from functools import partial

from flask import Flask, Response, current_app, g, request

from qwen_image_studio.settings import Settings
from qwen_image_studio.web.limits import LIMIT_HEADERS
from qwen_image_studio.web.routing import declared

_ASKS = "Access-Control-Request-Method"
_EXPOSED = ", ".join((
    "X-Request-Id", "Retry-After", *LIMIT_HEADERS, "X-Should-Retry", "Idempotent-Replayed", "Location", "ETag",
    "Content-Disposition", "Content-Range", "Accept-Ranges", "X-Job-Id", "X-Image-Id", "X-Seed", "X-HF-Warning",
    "Mcp-Session-Id",
))  # fmt: skip
_REMEMBERED_S = 600
"""Time for which a browser need not ask again, in seconds."""


def allow_origins(app: Flask, settings: Settings) -> None:
    """Have browsers let pages of the allowed origins read the answers of an application."""
    if settings.allowed_origins:
        app.before_request(partial(_preflight, settings))
        app.after_request(partial(_tell, settings))


def _preflight(settings: Settings) -> Response | None:
    """Answer a browser that asks, without a key, whether a page may send the request that it has in hand."""
    is_asked = request.method == "OPTIONS" and _ASKS in request.headers and declared(request.endpoint) is not None
    if not is_asked or _allowed(settings) is None:
        return None
    response = current_app.make_default_options_response()
    response.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(response.allow))
    if asked := request.headers.get("Access-Control-Request-Headers"):
        response.headers["Access-Control-Allow-Headers"] = asked
    response.headers["Access-Control-Max-Age"] = str(_REMEMBERED_S)
    return response


def _tell(settings: Settings, response: Response) -> Response:
    response.vary.add("Origin")
    origin = _allowed(settings)
    if origin is not None and not (origin == "*" and _is_without_keys()):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
    return response


def _allowed(settings: Settings) -> str | None:
    """Return the origin of the current request, or *, if its pages may read the answer; else None."""
    origin = request.headers.get("Origin")
    if origin is None:
        return None
    if origin in settings.allowed_origins:
        return origin
    return "*" if "*" in settings.allowed_origins else None


def _is_without_keys() -> bool:
    """Return whether the current request was let in because the server has no keys."""
    caller = g.get("caller")
    return caller is not None and caller.key is None
