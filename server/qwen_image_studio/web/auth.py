"""Who is the caller: routes need a key or a session, and many a scope of it, unless declared otherwise; where no keys
exist, only this machine is served.

A session comes by a cookie (`web/session`), and stands for a key or for a guest of a link. Guests may use what is
declared so, and for them nothing else is there. Requests with a cookie, and where no keys exist all, a browser could be
made to send by any page that it shows. It tells where such a request comes from, in Sec-Fetch-Site or at least in
Origin, and other sites may change nothing.
"""

import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from flask import Flask, g, request

from qwen_image_studio.contract.caller import Caller, Guest
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.guard.sessions import GuestSession, KeySession, Session, StudioLink, tag_of
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.logs import go_on_with
from qwen_image_studio.system.threads import LOOKS
from qwen_image_studio.web.routing import SAFE_METHODS, declared, services

_OWN_SITE = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site of the server's own pages, and of what a person typed."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names of this machine. Without keys Host has to be one of them, so that a web page whose own name leads to 127.0.0.1
cannot get in."""
METRICS = "ops.metrics"
AZURE_HEADER = "api-key"
"""Header in which Azure's clients send the key."""
KEY_LOOK_S = 15.0
"""Time after which the key of a stream is looked up again, in seconds."""
_PORTS = {"http": 80, "https": 443}
_FOREIGN_PAGE = (
    "A web page of another site sent this request, and without an API key only this server's own pages may submit, "
    "cancel or delete. Call the server from a program, or make a key with 'qwen-image-studio keys add NAME' and send "
    "it as 'Authorization: Bearer <key>'."
)


_FOREIGN_SESSION = (
    "A web page of another site sent this request, and this browser's session is for the studio's own pages alone."
)
_SESSION_OVER = "The session is over, or its API key was revoked or replaced: sign in again."
_LINK_OVER = (
    "The link by which you came has expired or was withdrawn. Ask for a new one where you got it, such as in the chat; "
    "or sign in with an API key."
)


def protect(app: Flask, settings: Settings) -> None:
    """Require a key, with the route's scope, before every view that is not declared to need none."""
    authenticate = partial(_authenticate, OwnPages(settings))

    def find() -> None:
        try:
            LOOKS.run(authenticate)
        finally:  # a key without the scope has a name in the log, too
            if "caller" in g:  # here and not in that thread, whose context is a copy
                go_on_with(owner=g.caller.owner, key=g.caller.key)

    app.before_request(find)


def caller() -> Caller:
    """Return the caller of the current request; the route must be one that needs a key."""
    found: Caller = g.caller
    return found


class OwnPages:
    """The pages that may change something without a key: this server's own, and those of origins that are allowed."""

    def __init__(self, settings: Settings) -> None:
        self._address, self._allowed = _authority(settings.address), settings.allowed_origins

    def sent_this(self, *, or_allowed: bool = True) -> bool:
        """Return whether the current request comes from such a page, or from a program; with a session those of other
        origins are not `or_allowed`, which have a key of their own.
        """
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if or_allowed and origin is not None and origin in self._allowed:  # by its name: * does not stand for it
            return True
        if site is not None:
            return site in _OWN_SITE
        if origin is None:  # no browser: they send at least that with whatever changes something
            return True
        sent = _authority(origin)
        return sent is not None and sent in {_authority(f"{origin.partition(':')[0]}://{request.host}"), self._address}


class Admission:
    """The admission of the current request to a stream, which may last longer than its key or session."""

    def __init__(self) -> None:
        self._who, self._looked_at = caller(), time.monotonic()

    def holds(self) -> bool:
        """Return whether the key or session is still valid and may do the same, as it was a moment ago."""
        if time.monotonic() - self._looked_at < KEY_LOOK_S:
            return True
        self._looked_at = time.monotonic()
        return LOOKS.run(self._holds_now)

    def _holds_now(self) -> bool:
        try:
            found = _sent_key() or caller_of_session(session_sent())
            if self._who.key is None:
                return not services().keys.any()
        except StudioError:  # the job store is busy; the next look may succeed
            return True
        return found is not None and (set(found.scopes), found.guest) == (set(self._who.scopes), self._who.guest)


def operates() -> bool:
    """Return whether the current request, to a route that needs no key, comes from an operator all the same."""
    with suppress(StudioError):  # a job store that cannot be read knows nobody
        found = _sent_key() or caller_of_session(session_sent())
        settings = services().settings
        # A page of another site may read what needs no key where the origin * is allowed.
        if found is None and not services().keys.any() and _is_own_name(settings) and OwnPages(settings).sent_this():
            found = Caller()
        return found is not None and Scope.OPERATE in found.scopes
    return False


def cookie_sent() -> str | None:
    """Return the cookie of the current request; None without one, and where a key is sent along, which counts alone."""
    return None if _key_sent() else services().cookie.sent()


def session_sent() -> Session | None:
    """Return the session of the current request's cookie; None without one, and for one that is over."""
    cookie = cookie_sent()
    return services().sessions.read(cookie) if cookie else None


def guest_of(link: StudioLink) -> Caller | None:
    """Return the caller that the bearer of a link is; None where the image is not there to be seen, or the key with
    which it was made was revoked.
    """
    linked, most = services().store.guests.linked(link.image_id), services().settings.guest_jobs
    active = services().keys.active(linked.key) if linked is not None and linked.key is not None else None
    if linked is None or active is None or active[0].owner != linked.owner:
        return None
    key, _ = active
    guest = Guest(link.id, link.image_id, link.expires_at, most, linked.user, linked.hold)
    return replace(key.caller, scopes={Scope.EDIT} & set(key.scopes) if most else frozenset(), guest=guest)


def caller_of_session(session: Session | None) -> Caller | None:
    """Return the caller of a session; None for one that is not good (any more), and without one."""
    if isinstance(session, GuestSession):
        return guest_of(session.link)
    if isinstance(session, KeySession) and (found := services().keys.active(session.key)) is not None:
        key, hashes = found
        return key.caller if session.tag in map(tag_of, hashes) else None
    return None


def _key_sent() -> str:
    """Return the key that came with the current request; empty without one."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return (key if scheme.lower() == "bearer" else "").strip() or request.headers.get(AZURE_HEADER, "").strip()


def _sent_key() -> Caller | None:
    """Return whose key came with the current request; None without one, and for a wrong one."""
    sent = _key_sent()
    return services().keys.caller(sent) if sent else None


def _is_own_name(settings: Settings) -> bool:
    """Return whether the current request names this machine as its host, or the address of the settings."""
    return urlsplit(f"//{request.host}").hostname in {*_LOOPBACK, urlsplit(settings.address).hostname}


def _authenticate(own_pages: OwnPages) -> None:
    route = declared(request.endpoint)
    if request.endpoint is None or (route is not None and not route.needs_key):
        return
    if request.endpoint == METRICS and services().settings.metrics_open:
        return
    keys, found, session = services().keys, _sent_key(), None
    if found is None and keys.any():
        session, found = _by_session(own_pages)
    if found is None and not _is_own_name(services().settings):
        raise StudioError(
            "invalid_api_key",
            "Without API keys the server answers only to this machine's own names; ask for http://localhost, or make "
            "a key with 'qwen-image-studio keys add NAME'.",
        )
    # A request with a key is nobody's forgery: browsers add none by themselves.
    if found is None and request.method not in SAFE_METHODS and not own_pages.sent_this():
        raise StudioError("foreign_page", _FOREIGN_PAGE)
    g.caller, g.session = replace(found or Caller(), peer=g.peer, request_id=g.request_id), session
    if g.caller.guest is not None and (route is None or not route.guests):
        raise StudioError("not_found", "There is nothing here for who came by a link; sign in with an API key.")
    if route is not None and route.scope:
        g.caller.check_scope(*route.scope)


def _by_session(own_pages: OwnPages) -> tuple[Session, Caller]:
    """Return the session of the current request, which came without a good key, and its caller. Raises StudioError."""
    has_cookie = cookie_sent() is not None
    if has_cookie and request.method not in SAFE_METHODS and not own_pages.sent_this(or_allowed=False):
        raise StudioError("foreign_page", _FOREIGN_SESSION)
    session = session_sent()
    if (found := caller_of_session(session)) is not None and session is not None:
        return session, found
    if isinstance(session, GuestSession):
        raise StudioError("invalid_api_key", _LINK_OVER, param="k")
    if has_cookie:
        raise StudioError("invalid_api_key", _SESSION_OVER, param="session")
    raise StudioError(
        "invalid_api_key",
        "The API key is missing or wrong: send it as 'Authorization: Bearer <key>'. "
        "The operator makes one with 'qwen-image-studio keys add NAME'.",
    )


def _authority(url: str) -> tuple[str | None, int | None] | None:
    """Return host and port of a URL that has nothing else; None where it is none, such as the origin ``null``."""
    split = urlsplit(url)
    try:
        port = split.port or _PORTS.get(split.scheme)
    except ValueError:
        return None
    return (split.hostname, port) if split.scheme in _PORTS and "@" not in split.netloc else None
