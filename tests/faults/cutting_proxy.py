"""A proxy between the plugin and the real server that cuts connections on cue, or answers as a load balancer does.

    with CuttingProxy(studio.port) as proxy:
        proxy.cut("POST /v1/jobs", Cut.BEFORE_ANSWER, times=3)
        proxy.refuse("GET /v1/jobs/.*", 503, retry_after=1)

Each connection carries one request. A cue is for requests whose method and path match the whole pattern; the oldest
cue that is not used up wins, and without one the request and its answer pass as they are. Standard library only.
"""

import contextlib
import re
import socket
import struct
import threading
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.support.loopback import LoopbackServer

ALWAYS = 10**9
UPSTREAM_TIMEOUT_S = 60.0


class Cut(Enum):
    """Where a connection ends."""

    WITHIN_REQUEST = "the server gets half of the body, the client nothing"
    AT_REQUEST = "the server gets the request, and nobody waits for its answer"
    BEFORE_ANSWER = "the server has answered completely, and the client gets nothing of it"
    WITHIN_ANSWER = "the client gets half of the answer's body"
    WITHIN_ANSWER_ABRUPTLY = "likewise, with a reset as of a machine that died"


@dataclass(frozen=True)
class Refusal:
    """An answer of the proxy's own, which never reaches the server."""

    status: int
    retry_after: int | None

    def raw(self) -> bytes:
        """The bytes on the wire; the body is a page for people, as load balancers have it."""
        page = b"<html><h1>Sorry</h1></html>"
        head = f"HTTP/1.1 {self.status} Sorry\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n"
        if self.retry_after is not None:
            head += f"Retry-After: {self.retry_after}\r\n"
        return head.encode() + b"Connection: close\r\n\r\n" + page


@dataclass
class Cue:
    """What to do with the next ``left`` requests that match."""

    pattern: str
    act: Cut | Refusal
    left: int


@dataclass(frozen=True)
class Passage:
    """One request that came: its route (``POST /v1/jobs``), and what was done to it."""

    route: str
    act: Cut | Refusal | None


class CuttingProxy(LoopbackServer):
    """Listens on a free port of loopback and passes requests on to ``upstream_port``."""

    def __init__(self, upstream_port: int) -> None:
        self.passages: list[Passage] = []
        self._upstream = ("127.0.0.1", upstream_port)
        self._cues: list[Cue] = []
        self._lock = threading.Lock()
        super().__init__()

    def cut(self, pattern: str, where: Cut, *, times: int = 1) -> None:
        """Cut the next ``times`` requests that match."""
        self._cue(Cue(pattern, where, times))

    def refuse(self, pattern: str, status: int, *, retry_after: int | None = None, times: int = 1) -> None:
        """Answer the next ``times`` requests that match with ``status``."""
        self._cue(Cue(pattern, Refusal(status, retry_after), times))

    def heal(self) -> None:
        """Forget all cues: everything passes from now on."""
        with self._lock:
            self._cues.clear()

    def passed(self, pattern: str) -> list[Passage]:
        """The requests so far that match."""
        return [passage for passage in self.passages if re.fullmatch(pattern, passage.route)]

    def _cue(self, cue: Cue) -> None:
        with self._lock:
            self._cues.append(cue)

    def _act_on(self, route: str) -> Cut | Refusal | None:
        """What to do with a request that has come."""
        act: Cut | Refusal | None = None
        with self._lock:
            for cue in self._cues:
                if cue.left and re.fullmatch(cue.pattern, route):
                    cue.left -= 1
                    act = cue.act
                    break
            self.passages.append(Passage(route, act))
        return act

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Pass a request on, or do what its cue says."""
        handler.close_connection = True
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        act = self._act_on(f"{handler.command} {urlsplit(handler.path).path}")
        if isinstance(act, Refusal):
            answer = act.raw()
        else:
            kept = len(body) // 2 if act is Cut.WITHIN_REQUEST else len(body)
            waits = act not in {Cut.WITHIN_REQUEST, Cut.AT_REQUEST}
            answer = _half(self._forward(_head(handler) + body[:kept], waits=waits), act)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client may have given up
            handler.wfile.write(answer)
        if act is Cut.WITHIN_ANSWER_ABRUPTLY:
            _reset(handler.connection)

    def _forward(self, request: bytes, *, waits: bool) -> bytes:
        """Send a request to the server; all bytes of its answer, or none where nobody ``waits`` for it."""
        try:
            with socket.create_connection(self._upstream, timeout=UPSTREAM_TIMEOUT_S) as upstream:
                upstream.sendall(request)
                answer = b""
                while waits and (piece := upstream.recv(65536)):
                    answer += piece
                return answer
        except ConnectionRefusedError:
            return Refusal(502, None).raw()  # as a load balancer tells it
        except OSError:
            return b""  # the server died within the exchange, and so this connection ends, too


def _head(handler: BaseHTTPRequestHandler) -> bytes:
    """The request's first line and headers as they came, but for one request only."""
    headers = [f"{name}: {value}" for name, value in handler.headers.items() if name.lower() != "connection"]
    return "\r\n".join([handler.requestline, *headers, "Connection: close", "\r\n"]).encode("latin-1")


def _half(answer: bytes, act: Cut | Refusal | None) -> bytes:
    """What the client gets of the server's answer."""
    if act is Cut.BEFORE_ANSWER:
        return b""
    if act not in {Cut.WITHIN_ANSWER, Cut.WITHIN_ANSWER_ABRUPTLY}:
        return answer
    head, separator, body = answer.partition(b"\r\n\r\n")
    assert len(body) > 1, f"nothing to cut in {head!r}"
    return head + separator + body[: len(body) // 2]


def _reset(connection: socket.socket) -> None:
    """End a connection with a reset in place of a goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
