"""The cookie of a session: what it is called, where it is sent, and how it is put and taken away."""

import time
from urllib.parse import urlsplit

from flask import Response, request

from qwen_image_studio.settings import Settings

HOST_COOKIE, SECURE_COOKIE, PLAIN_COOKIE = "__Host-studio", "__Secure-studio", "studio_session"


class SessionCookie:
    """The cookie of one server, after its public address alone: no header of a request can make it less safe.

    Where people reach the server by https it is for https alone. At the root of a host it has the prefix `__Host-`, so
    that no neighbour (such as another name below the same domain) can plant one. Below a path it cannot have that,
    which demands `Path=/`: then the browser would hand the session to every other program on that host. So there it is
    sent below the path alone, and keeps `__Secure-`.
    """

    def __init__(self, settings: Settings) -> None:
        address = urlsplit(settings.address)
        self._is_secure = address.scheme == "https"
        self.path = address.path or "/"
        self.name = PLAIN_COOKIE
        if self._is_secure:
            self.name = HOST_COOKIE if self.path == "/" else SECURE_COOKIE

    def sent(self) -> str | None:
        """Return the value that came with the current request."""
        return request.cookies.get(self.name)

    def put(self, response: Response, value: str, expires_at: float) -> None:
        """Have the browser show this value until then (Unix seconds): to this server alone, and to no script."""
        lasts = max(0, int(expires_at - time.time()))
        self._set(response, value, lasts)

    def clear(self, response: Response) -> None:
        """Have the browser forget it."""
        self._set(response, "", 0)

    def _set(self, response: Response, value: str, lasts_s: int) -> None:
        response.set_cookie(
            self.name,
            value,
            max_age=lasts_s,
            path=self.path,
            secure=self._is_secure,
            httponly=True,
            samesite="Strict",
        )
