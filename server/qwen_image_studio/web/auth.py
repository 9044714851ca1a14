"""Who asks: every route needs a key but a short list; without keys the server is this machine's alone."""

from urllib.parse import urlsplit

from flask import Flask, g, request

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.guard.keys import LOCAL_OWNER
from qwen_image_studio.web.services import services

OPEN_ENDPOINTS = frozenset({"ops.health", "ops.openapi", "files.file"})
"""Health for load balancers, the contract, and links that carry their own signature."""


def protect(app: Flask) -> None:
    """Ask for a key before every view outside OPEN_ENDPOINTS."""
    app.before_request(_authenticate)


def owner() -> str:
    """Who the request belongs to."""
    return str(g.owner)


def _authenticate() -> None:
    if request.endpoint is None or request.endpoint in OPEN_ENDPOINTS:
        return
    keys = services().keys
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    found = keys.owner(key.strip()) if scheme.lower() == "bearer" and key.strip() else None
    if found is None and keys.any():
        raise StudioError(
            "invalid_api_key",
            "The API key is missing or wrong: send it as 'Authorization: Bearer <key>'. "
            "The operator makes one with 'qwen-image-studio keys add NAME'.",
        )
    if found is None and not _asked_by_own_name():
        raise StudioError(
            "invalid_api_key",
            "Without API keys the server answers only to this machine's own names; ask for http://localhost, or make "
            "a key with 'qwen-image-studio keys add NAME'.",
        )
    g.owner = found or LOCAL_OWNER


def _asked_by_own_name() -> bool:
    """Whether the Host header is ours: a web page that points its own name at 127.0.0.1 must not get in."""
    host = urlsplit(f"//{request.host}").hostname
    return host in {"localhost", "127.0.0.1", "::1", urlsplit(services().settings.address).hostname}
