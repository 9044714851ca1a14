"""The Model Context Protocol at ``/mcp``: the operations as tools of every agent that speaks it.

The route is left out of the contract: the protocol has its own way to tell what there is. What serves it is imported
with the first message, since most servers never get one.
"""

from typing import Any

from flask import Blueprint, Response, g, request

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.mcp import RpcMessage
from qwen_image_studio.web.auth import OwnPages
from qwen_image_studio.web.jobs import PAINTS, SUBMIT_ERRORS
from qwen_image_studio.web.mcp.errors import PATH
from qwen_image_studio.web.routing import Body, route, services

blueprint = Blueprint("mcp", __name__)


def _read() -> Any:
    """Return the message, whose class is not imported before."""
    from qwen_image_studio.web.mcp.serving import read_message

    return read_message()


@route(
    blueprint,
    "POST",
    PATH,
    body=Body(_read, RpcMessage, max_json=None),
    returns={200: "application/json", 202: None},
    errors=(*SUBMIT_ERRORS, "not_found", "unknown_operation", "job_finished"),
    scope=PAINTS,
    submits=True,
    waits=True,
    in_contract=False,
)
def exchange(body: Any) -> Response:
    """Answer one message of an agent.

    The protocol is stateless here: there is no stream to GET, and no session to DELETE.
    """
    from qwen_image_studio.web.mcp.serving import answered

    _check_door()
    return answered(body)


def _check_door() -> None:
    """Raise StudioError for a browser: with a session instead of a key, or from a page that nobody has allowed.

    The protocol wants the origin looked at whatever else is sent, so that no page reaches a server of its reader's.
    """
    if g.session is not None:
        message = "Agents need an API key of their own: send it as 'Authorization: Bearer <key>'."
        raise StudioError("invalid_api_key", message)
    settings, origin = services().settings, request.headers.get("Origin")
    if origin is None or {origin, "*"} & set(settings.allowed_origins) or OwnPages(settings).sent_this():
        return
    message = f"A web page of {origin[:100]} sent this request; the operator allows it in STUDIO_ALLOWED_ORIGINS."
    raise StudioError("foreign_page", message)
