"""Who asks: a route needs a key unless its declaration says otherwise; without keys only this machine is served."""

from collections.abc import Collection
from functools import partial
from urllib.parse import urlsplit

from flask import Flask, g, request

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.routing import declared, services


def protect(app: Flask, settings: Settings) -> None:
    """Ask for a key before every view, but for those whose route is declared to need none."""
    # A web page that points its own name at 127.0.0.1 must not get in, so that Host has to be one of these.
    own_names = frozenset({"localhost", "127.0.0.1", "::1", urlsplit(settings.address).hostname})
    app.before_request(partial(_authenticate, own_names))


def caller() -> Caller:
    """Return who makes the current request, of a route that needs a key."""
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
