"""An object store that answers as a test says: with the errors of S3, answers that break off, no conditional puts."""

import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from qwen_image_studio.gallery.bucket import bucket_of
from qwen_image_studio.gallery.s3 import S3Store
from tests.support.loopback import LoopbackServer

Answer = Callable[[BaseHTTPRequestHandler], None]
SECRET = "sesame-secret-key"
ACCESS_KEY = "AKIDSESAME"


class ScriptedS3(LoopbackServer):
    """Answers requests one by one with `answers`, and the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and headers of each request."""
        self._answers = list(answers)
        super().__init__()

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer with the next answer."""
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        self.asked.append((handler.command, handler.path, {k.lower(): v for k, v in handler.headers.items()}))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        answer(handler)

    def store(self) -> S3Store:
        """A store of files there."""
        return S3Store(bucket_of(f"s3://pictures?endpoint={self.url}"), ACCESS_KEY, SECRET)


def says(status: int, body: bytes = b"", sent: int | None = None, **headers: str) -> Answer:
    """An answer; only so many bytes of its body are `sent`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body[: len(body) if sent is None else sent])
        handler.close_connection = True

    return answer


def error(status: int, code: str, more: str = "", **headers: str) -> Answer:
    """An error as S3 tells it, with what it likes to repeat."""
    told = f"<Message>You signed with {SECRET}</Message><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId>"
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code>{told}{more}</Error>'
    return says(status, body.encode(), None, Content_Type="application/xml", **headers)


def file(data: bytes, sent: int | None = None, tag: str = "abc") -> Answer:
    """A file, or the part that is asked for; only so many bytes are `sent`, and then the connection ends."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", "bytes=0-"))
        assert start is not None
        if handler.headers.get("If-Match", f'"{tag}"') != f'"{tag}"':
            return error(412, "PreconditionFailed")(handler)
        rest = data[int(start[1]) :]
        status: Any = 206 if "Range" in handler.headers else 200
        return says(status, rest, sent, ETag=f'"{tag}"', Content_Type="image/png")(handler)

    return answer
