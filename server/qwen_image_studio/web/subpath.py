"""The application below a path, as STUDIO_PUBLIC_URL=https://x.example/studio names one."""

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from flask import Flask

from qwen_image_studio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def stand_below_path(app: Flask, settings: Settings) -> None:
    """Have the application stand below the path of its public address, whether or not the proxy in front of it takes
    that off. Addresses that it makes begin with it; no header can name another one.
    """
    if path := unquote(urlsplit(settings.address).path):
        app.wsgi_app = _Below(app.wsgi_app, path)  # type: ignore[method-assign]


class _Below:
    def __init__(self, app: "WSGIApplication", path: str) -> None:
        self._app, self._path = app, path

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        asked = environ.get("PATH_INFO", "")
        if asked == self._path or asked.startswith(f"{self._path}/"):
            environ["PATH_INFO"] = asked[len(self._path) :] or "/"
        environ["SCRIPT_NAME"] = self._path
        return self._app(environ, start_response)
