"""Who is the caller: routes need a key unless declared otherwise; where no keys exist, only this machine is served."""

from collections.abc import Collection
from functools import partial
from urllib.parse import urlsplit

from flask import Flask, g, request

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.routing import declared, services


def protect(app: Flask, settings: Settings) -> None:
    """Require a key before every view, except where the route is declared to need none."""
    # Host has to be one of these, so that a web page whose own name leads to 127.0.0.1 cannot get in.
    own_names = frozenset({"localhost", "127.0.0.1", "::1", urlsplit(settings.address).hostname})
    app.before_request(partial(_authenticate, own_names))


def caller() -> Caller:
    """Return the caller of the current request; the route must be one that needs a key."""
    found: Caller = g.caller
    return found


def _authenticate(own_names: Collection[str | None]) -> None:
    route = declared(request.endpoint)
    if request.endpoint is None or (route is not None and not route.needs_key):
        return
    keys = services().keys
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    found = keys.caller(key.strip()) if scheme.lower() == "bearer" and key.strip() else None
    if found is None and keys.any():
        raise StudioError(
            "invalid_api_key",
            "The API key is missing or wrong: send it as 'Authorization: Bearer <key>'. "
            "The operator makes one with 'qwen-image-studio keys add NAME'.",
        )
    if found is None and urlsplit(f"//{request.host}").hostname not in own_names:
        raise StudioError(
            "invalid_api_key",
            "Without API keys the server answers only to this machine's own names; ask for http://localhost, or make "
            "a key with 'qwen-image-studio keys add NAME'.",
        )
    g.caller = found or Caller()
