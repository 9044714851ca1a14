"""A receiver of callbacks on loopback, which answers as a test tells it and keeps what it was sent."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from standardwebhooks import Webhook

from tests.support.loopback import LoopbackServer


@dataclass(frozen=True)
class Call:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The id of the event."""
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> dict[str, Any]:
        """What it says; the library of Standard Webhooks raises WebhookVerificationError where the signature is not
        good.
        """
        return dict(Webhook(secret).verify(self.body, self.headers))

    @property
    def told(self) -> dict[str, Any]:
        """What it says, unchecked."""
        return dict(json.loads(self.body))


class Receiver(LoopbackServer):
    """Answers 204 unless told otherwise."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None] | None = None) -> None:
        self.calls: list[Call] = []
        self.answer = answer or status(204)
        self.closing = threading.Event()
        """Set at the end, for answers that wait."""
        super().__init__()

    @property
    def host(self) -> str:
        """Host and port, as a URL has them."""
        return self.url.removeprefix("http://")

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Keep the request, and answer."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.calls.append(Call(handler.path, headers, body))
        self.answer(handler)

    def __exit__(self, *raised: Any) -> None:
        self.closing.set()
        super().__exit__(*raised)


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer with this status and these headers, and a word."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        body = b"" if code == 204 else b"a word\x1b[2J of the receiver"
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer
