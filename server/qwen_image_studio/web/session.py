"""Sessions over HTTP: an API key, or a link to one image, is exchanged for a cookie, by which the studio's page comes.

Nothing of a session is kept on the server: the cookie says whose it is and until when, and is signed. Each request
looks the key up again, so that a session ends with its key, and a guest's also with the image.
"""

from flask import Blueprint, Flask, Response, g, request

from qwen_image_studio.contract.account import SessionRequest
from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.guard.sessions import KeySession, Session, link_over
from qwen_image_studio.web.auth import OwnPages, caller_of_session, guest_of, session_sent
from qwen_image_studio.web.routing import Body, read_model, route, services

blueprint = Blueprint("session", __name__, url_prefix="/v1")

RENEWING = frozenset({"account.me", "events.events"})
"""Endpoints that renew a session: those that an open page asks for now and again, and that answer at once. A late
answer to a request from before somebody signed out would sign him in again.
"""
_SUCH_AS = '{"api_key": "qis_..."}, or {"image_id": "img_...", "k": "..."} of a studio_url'


def keep_sessions(app: Flask) -> None:
    """Have an application renew the sessions that are used."""
    app.after_request(_renew)


def _read_session() -> SessionRequest:
    """Read the current request. Raises StudioError that names the field at fault."""
    sent = read_model(SessionRequest, "session", _SUCH_AS)
    if sent.api_key is not None:
        if sent.image_id is not None or sent.k is not None:
            raise refusal("api_key", "send a key, or image_id and k of a link, not both")
        if not sent.api_key:
            raise refusal("api_key", "is empty; send an API key, such as qis_...")
    elif not sent.image_id:
        raise refusal("image_id", f"is missing; send {_SUCH_AS}")
    elif not sent.k:
        raise refusal("k", "is missing; send what stands after ?k= in the link")
    return sent


@route(
    blueprint,
    "POST",
    "/session",
    body=Body(_read_session, SessionRequest),
    returns={204: None},
    errors=("invalid_api_key", "link_refused", "database_busy", "storage_failed"),
    needs_key=False,
)
def sign_in(body: SessionRequest) -> Response:
    """Begin a session of the studio's page, for an API key or for what a `studio_url` leads to.

    Answers with a cookie, which no script can read. It lasts for twelve hours after it was last used, and no longer
    than the key or link. Who is signed in with a key already, and may see the image of the link, stays so. A server
    without keys needs no session, and gives none.
    """
    _check_page()
    response = Response(status=204)
    if not services().keys.any():
        return response
    begun = _of_key(body.api_key) if body.api_key is not None else _of_link(body.image_id or "", body.k or "")
    if begun is not None:
        services().cookie.put(response, begun[0], begun[1].expires_at)
    return response


@route(blueprint, "DELETE", "/session", returns={204: None}, needs_key=False)
def sign_out() -> Response:
    """End the session: the browser forgets its cookie, and what it keeps of pictures.

    Doing it again changes nothing.
    """
    _check_page()
    response = Response(status=204)
    services().cookie.clear(response)
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def _check_page() -> None:
    """Raise StudioError ``foreign_page`` where a page of another site signs its visitors in or out."""
    if not OwnPages(services().settings).sent_this(or_allowed=False):
        raise StudioError("foreign_page", "A web page of another site sent this request; open the studio's own page.")


def _of_key(sent: str) -> tuple[str, Session]:
    """Return a session of whom the key belongs to. Raises StudioError ``invalid_api_key``."""
    found = services().keys.known(sent)
    if found is None or found[0].key is None:
        raise StudioError(
            "invalid_api_key",
            "This is no API key of this server, or it was revoked. See that it was copied whole, or ask the operator.",
            param="api_key",
        )
    caller, key_hash = found
    return services().sessions.of_key(str(caller.key), key_hash)


def _of_link(image_id: str, k: str) -> tuple[str, Session] | None:
    """Return a session of the bearer of a link; None for whom a session with a key lets see the image, and more.

    Raises StudioError ``link_refused``.
    """
    link = services().sessions.opened(image_id, k)
    guest = guest_of(link)
    if guest is None:
        raise link_over()
    return None if _has_more(guest.owner) else services().sessions.of_link(link)


def _has_more(owner: str) -> bool:
    """Return whether who sends the current request is signed in with a key of this owner."""
    session = session_sent()
    found = caller_of_session(session) if isinstance(session, KeySession) else None
    return found is not None and found.owner == owner


def _renew(response: Response) -> Response:
    session: Session | None = g.get("session")
    if session is not None and request.endpoint in RENEWING and response.status_code < 400:
        if (fresh := services().sessions.renewed(session)) is not None:
            services().cookie.put(response, fresh[0], fresh[1].expires_at)
    return response
