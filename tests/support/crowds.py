"""Crowds of callers on raw sockets, each kind held open by one thread: slow senders, slow readers, and waiters."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Sequence
from types import TracebackType

SMALL_BUFFER = 4096
"""Receive buffer of a caller that does not read, in bytes: the server's data has nowhere to go."""


class Crowd:
    """Sockets that each send a request and are looked after by one thread until the end of the block."""

    def __init__(self, port: int, requests: Sequence[bytes], *, buffer: int = 0) -> None:
        """`buffer` is the size of the receive buffers in bytes, where it matters."""
        self._callers: dict[socket.socket, bytes] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_after, daemon=True)
        self._port, self._requests, self._buffer = port, requests, buffer
        self.answers: list[int] = []
        """Status of each answer that was read."""

    def __enter__(self) -> "Crowd":
        for request in self._requests:
            caller = socket.socket()
            if self._buffer:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
            caller.connect(("127.0.0.1", self._port))
            caller.sendall(request)
            caller.setblocking(False)
            self._callers[caller] = request
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for caller in self._callers:
            caller.close()

    @property
    def held(self) -> int:
        """Number of callers whom the server has not given up."""
        return len(self._callers)

    def _look_after(self) -> None:
        """Do what this crowd does, until it is over."""
        raise NotImplementedError

    def _gone(self, caller: socket.socket) -> None:
        self._callers.pop(caller, None)
        caller.close()


class Dripping(Crowd):
    """Callers that begin a request, and go on with a byte at a time."""

    pause_s = 0.5

    def _look_after(self) -> None:
        while not self._over.wait(self.pause_s):
            for caller in list(self._callers):
                try:
                    caller.send(b"x")
                except BlockingIOError:
                    continue
                except OSError:
                    self._gone(caller)


class NotReading(Crowd):
    """Callers that ask for something large and read nothing of it."""

    def _look_after(self) -> None:
        self._over.wait()


class Waiting(Crowd):
    """Callers that wait for answers, and ask again as soon as they have one; of streams they read all."""

    def _look_after(self) -> None:
        with selectors.DefaultSelector() as selector:
            texts = dict.fromkeys(self._callers, b"")
            for caller in self._callers:
                selector.register(caller, selectors.EVENT_READ)
            while not self._over.is_set():
                for key, _ in selector.select(0.2):
                    assert isinstance(key.fileobj, socket.socket)
                    caller = key.fileobj
                    try:
                        piece = caller.recv(65536)
                    except OSError:
                        piece = b""
                    if not piece:
                        selector.unregister(caller)
                        self._gone(caller)
                        continue
                    texts[caller] = self._read(caller, texts[caller] + piece)

    def _read(self, caller: socket.socket, text: bytes) -> bytes:
        """Note what has arrived whole, and ask again; what is left of the text."""
        head, _, body = text.partition(b"\r\n\r\n")
        length = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        if not length:  # a stream, whose end is that of the connection
            return text[:2000]
        if len(body) < length[0]:
            return text
        self.answers.append(int(head[9:12]))
        with contextlib.suppress(OSError):
            caller.sendall(self._callers[caller])
        return body[length[0] :]


def get(path: str, **headers: str) -> bytes:
    """A GET as bytes."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode()


DRIPPING_HEAD = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
DRIPPING_BODY = (
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n{"
)
DRIPPING_CHUNK = DRIPPING_BODY.replace(b"Content-Length: 900000", b"Transfer-Encoding: chunked").replace(
    b"\r\n\r\n{", b"\r\n\r\nffff\r\n{"
)
