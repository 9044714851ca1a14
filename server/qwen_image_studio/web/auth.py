"""Who is the caller: routes need a key, and many a scope of it, unless declared otherwise; where no keys exist, only
this machine is served.

Without a key a browser on this machine could be made to send requests by any page that it shows. It tells where such a
request comes from, in Sec-Fetch-Site or at least in Origin, and other sites may change nothing.
"""

import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from flask import Flask, g, request

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Scope
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

    def sent_this(self) -> bool:
        """Return whether the current request comes from such a page, or from a program."""
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if origin is not None and origin in self._allowed:  # by its name: * does not stand for it
            return True
        if site is not None:
            return site in _OWN_SITE
        if origin is None:  # no browser: they send at least that with whatever changes something
            return True
        sent = _authority(origin)
        return sent is not None and sent in {_authority(f"{origin.partition(':')[0]}://{request.host}"), self._address}


class Admission:
    """The admission of the current request to a stream, which may last longer than its key."""

    def __init__(self) -> None:
        self._who, self._looked_at = caller(), time.monotonic()

    def holds(self) -> bool:
        """Return whether the key is still valid and may do the same, as it was a moment ago."""
        if time.monotonic() - self._looked_at < KEY_LOOK_S:
            return True
        self._looked_at = time.monotonic()
        return LOOKS.run(self._holds_now)

    def _holds_now(self) -> bool:
        try:
            found = _sent_key()
            if self._who.key is None:
                return not services().keys.any()
        except StudioError:  # the job store is busy; the next look may succeed
            return True
        return found is not None and set(found.scopes) == set(self._who.scopes)


def operates() -> bool:
    """Return whether the current request, to a route that needs no key, comes from an operator all the same."""
    with suppress(StudioError):  # a job store that cannot be read knows nobody
        found = _sent_key()
        settings = services().settings
        # A page of another site may read what needs no key where the origin * is allowed.
        if found is None and not services().keys.any() and _is_own_name(settings) and OwnPages(settings).sent_this():
            found = Caller()
        return found is not None and Scope.OPERATE in found.scopes
    return False


def _sent_key() -> Caller | None:
    """Return whose key came with the current request; None without one, and for a wrong one."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    sent = (key if scheme.lower() == "bearer" else "").strip() or request.headers.get(AZURE_HEADER, "").strip()
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
    keys, found = services().keys, _sent_key()
    if found is None and keys.any():
        raise StudioError(
            "invalid_api_key",
            "The API key is missing or wrong: send it as 'Authorization: Bearer <key>'. "
            "The operator makes one with 'qwen-image-studio keys add NAME'.",
        )
    if found is None and not _is_own_name(services().settings):
        raise StudioError(
            "invalid_api_key",
            "Without API keys the server answers only to this machine's own names; ask for http://localhost, or make "
            "a key with 'qwen-image-studio keys add NAME'.",
        )
    # A request with a key is nobody's forgery: browsers add none by themselves.
    if found is None and request.method not in SAFE_METHODS and not own_pages.sent_this():
        raise StudioError("foreign_page", _FOREIGN_PAGE)
    g.caller = replace(found or Caller(), peer=g.peer, request_id=g.request_id)
    if route is not None and route.scope:
        g.caller.check_scope(*route.scope)


def _authority(url: str) -> tuple[str | None, int | None] | None:
    """Return host and port of a URL that has nothing else; None where it is none, such as the origin ``null``."""
    split = urlsplit(url)
    try:
        port = split.port or _PORTS.get(split.scheme)
    except ValueError:
        return None
    return (split.hostname, port) if split.scheme in _PORTS and "@" not in split.netloc else None
