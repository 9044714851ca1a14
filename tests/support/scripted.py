"""HTTP servers that play a script: a studio that fails as told, and the file server that Dify would be."""

import hashlib
import json
import ssl
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.loopback import LoopbackServer

PNG = b"\x89PNG\r\n\x1a\n" + b"not really painted"
QUEUED: dict[str, Any] = {"state": "queued", "queue_position": 2}
RUNNING: dict[str, Any] = {
    "state": "running",
    "queue_position": 0,
    "progress": {"phase": "denoising", "step": 3, "steps": 20, "eta_s": 12.4, "preview_url": None},
}
SUCCEEDED: dict[str, Any] = {"state": "succeeded"}
SIGNATURE = "kZ3-p_0aWq7Rt1Yx9LmN2c"
"""That of a link to the studio's page, as long as a real one."""


@dataclass(frozen=True)
class Call:
    """One HTTP call as it came."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def route(self) -> str:
        """Such as ``POST /v1/jobs``."""
        return f"{self.method} {self.path}"

    def json(self) -> Any:
        """The JSON body."""
        return json.loads(self.body)

    def form(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The parameters and the files of a form."""
        from werkzeug.formparser import parse_form_data  # the apps' engine uses this module too, and has no werkzeug

        sent = {"CONTENT_TYPE": self.headers["Content-Type"], "CONTENT_LENGTH": str(len(self.body))}
        _, fields, files = parse_form_data({"REQUEST_METHOD": "POST", "wsgi.input": BytesIO(self.body), **sent})
        return json.loads(fields["params"]), {name: file.read() for name, file in files.items()}


@dataclass(frozen=True)
class Answer:
    """What to answer: after ``delay_s`` seconds, or with ``drop`` nothing but a closed connection."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: bool = False

    def content(self) -> bytes:
        """The bytes of the body."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def error(status: int, message: str, *, code: str = "invalid_value", retry_after: int | None = None) -> Answer:
    """An error in the studio's shape."""
    detail = {"code": code, "message": message, "param": None, "type": "some_error", "request_id": "r1"}
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Answer(status, {"error": detail}, headers)


class ScriptedServer(LoopbackServer):
    """A server on a free port of loopback that answers by a function and keeps every call in ``calls``."""

    def __init__(self, answer: Callable[[Call], Answer], calls: list[Call] | None = None) -> None:
        self.calls: list[Call] = [] if calls is None else calls
        self._answer = answer
        super().__init__()

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = self.url.replace("http://", "https://")

    def routes(self) -> list[str]:
        """The calls so far, such as ``POST /v1/jobs``."""
        return [call.route for call in self.calls]

    def called(self, route: str) -> list[Call]:
        """The calls of one route."""
        return [call for call in self.calls if call.route == route]

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer as the script says."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        url = urlsplit(handler.path)
        call = Call(handler.command, url.path, url.query, dict(handler.headers.items()), body)
        self.calls.append(call)
        answer = self._answer(call)
        time.sleep(answer.delay_s)
        if answer.drop:
            handler.close_connection = True
            return
        content = answer.content()
        try:
            handler.send_response(answer.status)
            for name, value in {"Content-Length": str(len(content)), **answer.headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the other side gave up, as some tests want it to


class ScriptedStudio(ScriptedServer):
    """A well-behaved studio without an engine, except where ``script`` says otherwise.

    ``script["POST /v1/jobs"].append(error(429, ...))`` is answered once, before the usual answers. ``states`` are
    what a job goes through, one per look at it; ``image`` is what it paints.
    """

    def __init__(self, api_key: str = "", calls: list[Call] | None = None) -> None:
        super().__init__(self._play, calls)
        self.api_key = api_key
        self.script: dict[str, deque[Answer]] = defaultdict(deque)
        self.states: list[dict[str, Any]] = [RUNNING, SUCCEEDED]
        self.health: dict[str, Any] = {"service": "qwen-image-studio", "state": "ready", "message": "Ready."}
        self.image, self.mime_type, self.count = PNG, "image/png", 1
        self.warnings: list[str] = []
        self.operation = "generate"
        self.page: str | None = "https://studio.example"
        """Address of the page where people edit images; None for a server that is too old to have one."""
        self.change: dict[str, Any] | None = None
        """What every image says of its change; with one there is a comparison, too."""
        self.layers = 0
        """Number of layers that a picture is taken apart into; the picture that they make comes after them."""
        self.archives: dict[str, bytes] = {"zip": b"PK and all pictures"}
        """The files of all pictures of a job, by format."""
        self.rows: list[dict[str, Any]] = []
        """The JobViews of a batch's rows, as `row_view` makes them."""
        self.listed: list[dict[str, Any]] = []
        """The JobViews of the owner's list of jobs."""
        self.cancelled: dict[str, Any] = {"state": "cancelled"}
        """What a job is once somebody cancels it."""
        self.jobs: dict[str, str] = {}
        """Job id by idempotency key: how many jobs there really are."""
        self.job_name, self.image_name, self.folder = "job", "img", "https://studio.example/files/"
        """Beginnings of ids, and of links."""
        self.holds_polls = False
        """Whether a look at a job is answered only after the seconds that it asks for, as where nothing changes."""
        self._looks: dict[str, int] = {}
        self._held: dict[str, threading.Event] = {}

    def view(self, job_id: str, state: dict[str, Any]) -> dict[str, Any]:
        """A JobView, with images once it has succeeded."""
        count = self.layers + 1 if self.layers else self.count
        images = [self.image_view(position) for position in range(count)] if state["state"] == "succeeded" else []
        usual = {
            "object": "job",
            "id": job_id,
            "operation": self.operation,
            "model": "qwen-image",
            "tier": "quality",
            "queue_position": None,
            "progress": {"phase": "", "step": 0, "steps": 0, "eta_s": None, "preview_url": None},
            "attempt": 1,
            "images": images,
            "warnings": self.warnings,
            "compute_saved": None,
            "cached": False,
            "engine": "qwen",
            "error": None,
            "parent_id": None,
            "row": None,
            "rows": None,
            "archive_url": None,
            "created_at": 1.0,
            "started_at": None,
            "finished_at": None,
        }
        return {**usual, **state}

    def image_view(self, position: int) -> dict[str, Any]:
        """The ImageView of one image."""
        link = f"{self.folder}{self.image_name}{position}?sign=s"
        seed = 7 if self.layers else 7 + position
        sizes = {"width": 640, "height": 480, "mime_type": self.mime_type, "seed": seed}
        if self.layers:
            sizes |= {"layer": position if position < self.layers else None}
        sizes |= {"sha256": hashlib.sha256(self.image).hexdigest()}
        strip = None if self.change is None else link.replace("sign=s", "strip=s")
        image_id = f"{self.image_name}{position}"
        more: dict[str, Any] = {"change": self.change, "comparison_url": strip}
        if self.page is not None:
            more |= {"studio_url": f"{self.page}/#/edit/{image_id}?k=1795883985.{SIGNATURE}"}
        return {"id": image_id, "url": link, "thumbnail_url": link, **sizes, **more}

    def row_view(self, row: int, state: str = "succeeded", message: str = "") -> dict[str, Any]:
        """The JobView of one row of a batch, which counts from 0."""
        images = [self.image_view(row)] if state == "succeeded" else []
        error = {"code": "engine_failed", "message": message} if message else None
        about = {"images": images, "error": error, "row": row, "parent_id": f"{self.job_name}0"}
        return {**self.view(f"row{row}", {"state": state}), **about}

    def _play(self, call: Call) -> Answer:
        if held := self._held.get(call.route):
            held.wait(60)
        scripted = self.script[call.route].popleft() if self.script[call.route] else None
        if scripted is not None:
            if scripted.drop and call.route == "POST /v1/jobs":
                self._commit(call)  # the worst moment to lose the connection
            return scripted
        if call.route == "GET /v1/health":
            return Answer(200, self.health)
        if self.api_key and call.headers.get("Authorization") != f"Bearer {self.api_key}":
            return error(401, "The API key is missing or wrong.", code="invalid_api_key")
        if call.route == "GET /v1/models":
            return Answer(200, {"object": "list", "data": []})
        if call.route == "POST /v1/jobs":
            return Answer(202, self.view(self._commit(call), QUEUED))
        if call.route == "GET /v1/jobs":
            return Answer(200, self._page({name: values[0] for name, values in parse_qs(call.query).items()}))
        if call.route.startswith("POST /v1/jobs/") and call.path.endswith("/cancel"):
            job_id = call.path.removeprefix("/v1/jobs/").removesuffix("/cancel")
            return Answer(200, self.view(job_id, self.cancelled))
        if call.path.endswith("/archive"):
            kind = parse_qs(call.query).get("format", ["zip"])[0]
            made = self.archives.get(kind)
            missing = error(422, f"format: this server makes no {kind}; install the extra {kind}, or take zip.")
            return missing if made is None else Answer(200, made)
        if call.path.startswith("/v1/jobs/"):
            wait = float(parse_qs(call.query).get("wait", ["0"])[0]) if self.holds_polls else 0.0
            return Answer(200, self._look(call.path.removeprefix("/v1/jobs/")), delay_s=wait)
        if call.path.endswith("/content"):
            return Answer(200, self.image, {"Content-Type": self.mime_type})
        return error(404, "Nothing of that name.", code="not_found")

    def _page(self, query: dict[str, str]) -> dict[str, Any]:
        if "parent_id" not in query:
            limit = int(query["limit"])
            return {"object": "list", "data": self.listed[:limit], "has_more": limit < len(self.listed)}
        ids = [row["id"] for row in self.rows]
        first = ids.index(query["after"]) + 1 if "after" in query else 0
        last = first + int(query["limit"])
        mine = query["parent_id"] == f"{self.job_name}0"
        return {"object": "list", "data": self.rows[first:last] if mine else [], "has_more": last < len(ids)}

    def hold(self, route: str) -> threading.Event:
        """Let the calls of a route wait until the event is set."""
        return self._held.setdefault(route, threading.Event())

    def look_afresh(self) -> None:
        """Let every job go through ``states`` from the first again."""
        self._looks.clear()

    def _commit(self, call: Call) -> str:
        return self.jobs.setdefault(call.headers.get("Idempotency-Key", ""), f"{self.job_name}{len(self.jobs)}")

    def _look(self, job_id: str) -> dict[str, Any]:
        look = self._looks[job_id] = self._looks.get(job_id, -1) + 1
        return self.view(job_id, self.states[min(look, len(self.states) - 1)])
