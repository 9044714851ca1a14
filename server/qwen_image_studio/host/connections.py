"""The connections of the web process: each costs a greenlet and no thread, and each has to keep up.

gunicorn's own worker limits how long a connection may be idle. Here are the limits of what is sent and read, and the
contract's shape for errors that no application sees.
"""

import json
import resource
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import ECONNRESET
from functools import partial
from http import HTTPStatus
from typing import Any

import gevent
import gevent.socket
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker
from werkzeug.exceptions import BadRequest, HTTPException, RequestTimeout

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.system.threads import begin_loop

LEAST_RATE = 16_000
"""Bytes per second that a sender or reader has to keep up on the average, beyond the time of grace."""
LINGER_S = 2.0
"""Time for which the rest of a refused body is thrown away, so that its sender gets to see the answer, in seconds."""


class Connection:
    """A caller's socket on which bodies and answers have to keep up; gunicorn reads and writes through it."""

    def __init__(self, sock: Any, grace_s: float) -> None:
        self._sock, self._grace_s = sock, grace_s
        self._since: float | None = None
        self._received = 0
        self._answers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    @contextmanager
    def keeping_up(self) -> Iterator[None]:
        """Limit within the block body and answer, each by itself."""
        self._since, self._received, self._answers = time.monotonic(), 0, True
        try:
            yield
        finally:
            self._since, self._received, self._answers = None, 0, False
            self._sock.settimeout(None)

    def recv(self, size: int) -> bytes:
        """Receive bytes. Raises TimeoutError as soon as the sender has fallen behind, however often it sends a byte."""
        if self._since is not None:
            until = self._since + self._grace_s + self._received / LEAST_RATE
            self._sock.settimeout(max(0.001, until - time.monotonic()))
        try:
            received: bytes = self._sock.recv(size)
        except TimeoutError as error:
            if self._answers:
                raise
            raise _too_slow() from error  # without a whole head there is nothing to answer
        self._received += len(received)
        if self._since is None:
            self._since = time.monotonic()  # the head of a request begins
        return received

    def sendall(self, data: bytes) -> None:
        """Send bytes. Raises ConnectionResetError where the reader falls behind: the caller is given up."""
        self._sock.settimeout(self._grace_s + len(data) / LEAST_RATE)
        try:
            self._sock.sendall(data)  # gevent's limit is one of the whole call
        except TimeoutError as error:
            raise _too_slow() from error

    def has_left(self) -> bool:
        """Return whether the caller has closed the connection."""
        before = self._sock.gettimeout()
        self._sock.settimeout(0)
        try:
            return not self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self._sock.settimeout(before)

    def throw_away(self, read: Callable[[int], bytes]) -> bool:
        """Read the rest of a body for a short time; return whether that was all of it."""
        late = gevent.Timeout.start_new(LINGER_S)
        try:
            while read(65536):
                pass
        except (gevent.Timeout, HTTPException):
            return False
        finally:
            late.close()
        return True


def _too_slow() -> ConnectionResetError:
    return ConnectionResetError(ECONNRESET, "the caller fell behind")


class Body:
    """The body of a request as the application reads it; what gunicorn raises becomes an answer."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def read(self, size: int | None = None) -> bytes:
        """Read as the gunicorn's body does. Raises HTTPException 400 and 408."""
        with _answered():
            return bytes(self._body.read(size))

    def readline(self, size: int | None = None) -> bytes:
        """Read a line, likewise."""
        with _answered():
            return bytes(self._body.readline(size))


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise RequestTimeout from error
    except (ParseException, NoMoreData) as error:
        raise BadRequest from error


class Worker(GeventWorker):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's worker with an event loop, whose connections have to keep up."""

    grace_s = 10.0
    """Time by which a sender or reader may fall behind, in seconds."""

    def init_process(self) -> None:
        """Allow as many open files as the system lets this process have: each connection is one."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._idle: set[Connection] = set()
        self._told = Event()
        begin_loop()
        super().init_process()

    def patch(self) -> None:
        """Take the listeners to the loop; gunicorn would patch the whole standard library."""
        self.sockets: list[Any] = [
            gevent.socket.socket(each.FAMILY, socket.SOCK_STREAM, fileno=each.sock.detach()) for each in self.sockets
        ]

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection to its end."""
        connection = Connection(client, self.grace_s)
        self._idle.add(connection)
        try:
            AsyncWorker.handle(self, listener, connection, addr)
        finally:
            self._idle.discard(connection)

    def handle_request(self, listener_name: Any, req: Any, sock: Connection, addr: Any) -> Any:
        """Answer one request; StopIteration ends the connection, as everywhere in gunicorn."""
        req.body = Body(req.body)
        self._idle.discard(sock)
        with sock.keeping_up():
            went_on = super().handle_request(listener_name, req, sock, addr)
            # An answer may have come before the end of the body, such as a refusal.
            if not sock.throw_away(req.body.read):
                raise StopIteration
        self._idle.add(sock)
        return went_on

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what is no HTTP, or more of it than gunicorn takes, in the contract's shape."""
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        status = _STATUS.get(type(exc), HTTPStatus.BAD_REQUEST)
        message = "This is no request that the server can read; send HTTP/1.1, with short headers."
        body = json.dumps(StudioError("malformed_body", message).body(f"req_{secrets.token_hex(8)}")).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with suppress(OSError):
            client.sendall(head.encode() + body)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop at once, and not at the next look."""
        super().handle_exit(sig, frame)
        self._told.set()

    def run(self) -> None:
        """Serve until told to stop; then give requests in hand `graceful_timeout` seconds."""
        pool = Pool(self.worker_connections)
        servers = [StreamServer(sock, handle=partial(self.handle, sock), spawn=pool) for sock in self.sockets]
        for server in servers:
            server.start()
        while self.alive:
            self.notify()
            self._told.wait(1)
        for server in servers:
            server.close()
        for connection in list(self._idle):
            connection.shutdown(socket.SHUT_RD)
        pool.join(self.cfg.graceful_timeout)
        pool.kill(timeout=1)


_STATUS = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}
