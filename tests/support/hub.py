"""A small hub on loopback: as much of the Hugging Face Hub's API as is asked for, with the failures of real nets."""

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from tests.support.loopback import LoopbackServer

LARGE = 1000
"""Size in bytes from which files are stored as large ones (LFS), with a SHA-256, behind a redirect."""


@dataclass
class Seen:
    """A request that came."""

    path: str
    start: int
    """First byte that was asked for."""
    token: str | None


@dataclass
class Repository:
    """One repository, with the files of each commit."""

    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Commit of each branch and tag."""

    def commit(self, files: Mapping[str, bytes], name: str = "main") -> str:
        """Add a commit with these files, to which the name points from now on; return its id."""
        content = json.dumps([len(self.commits), sorted((path, sha256(data)) for path, data in files.items())])
        commit = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = files
        self.names[name] = commit
        return commit


def sha256(data: bytes) -> str:
    """The SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    """The id that git gives to these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def digest(data: bytes) -> str:
    """The sum by which the hub lists a file: it is also the name of its blob in the cache."""
    return sha256(data) if len(data) >= LARGE else git_sha1(data)


class Hub(LoopbackServer):
    """Serves repositories. Each attribute is a way to fail, by the path of a file; most are used up by an answer."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.seen: list[Seen] = []
        self.cuts: dict[str, list[int]] = {}
        """After how many bytes the next answers with a file break off."""
        self.lies: dict[str, int] = {}
        """How many of the next answers with a file have other content of the same size."""
        self.refusals: dict[str, list[tuple[int, str]]] = {}
        """Status and code of the next answers; a key may also be the id of a repository, for its listing."""
        self.gates: dict[str, threading.Event] = {}
        """What an answer waits for in the middle of a file."""
        self.reached = threading.Event()
        """Set when an answer waits at its gate."""
        self.sizes: dict[str, int] = {}
        """Sizes that are listed instead of the true ones."""
        self.ranges = True
        """Whether a part of a file can be asked for."""
        self.is_hub = True
        """Whether answers have the hub's form."""
        super().__init__()

    def add(self, repository: str, files: Mapping[str, bytes], name: str = "main") -> str:
        """Add a commit to a repository, which may be new; return its id."""
        return self.repositories.setdefault(repository, Repository()).commit(files, name)

    def starts(self, path: str) -> list[int]:
        """The first bytes that were asked for of a file, by request; of a large one, where its content lies."""
        asked = [seen for seen in self.seen if seen.path.endswith(f"/{path}")]
        return [seen.start for seen in asked if seen.path.startswith("/content/")] or [seen.start for seen in asked]

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path = unquote(urlsplit(handler.path).path)
        asked = re.match(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.seen.append(Seen(path, start, handler.headers.get("Authorization")))
        with suppress(ConnectionError):
            if not self.is_hub:
                self._send(handler, 200, b"<html>A page of the provider</html>")
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
                self._list(handler, match[1], match[2] or "main")
            elif match := re.fullmatch(r"/(content/)?([^/]+/[^/]+)(?:/resolve)?/([0-9a-f]{40})/(.+)", path):
                self._send_file(handler, match[2], match[3], match[4], start, is_content=bool(match[1]))
            else:
                self._refuse(handler, 404, "EntryNotFound")

    def _list(self, handler: BaseHTTPRequestHandler, name: str, revision: str) -> None:
        repository = self.repositories.get(name, Repository())
        commit = repository.names.get(revision, revision)
        if refusals := self.refusals.get(name):
            self._refuse(handler, *refusals.pop(0))
        elif name not in self.repositories:
            self._refuse(handler, 401, "RepoNotFound")
        elif commit not in repository.commits:
            self._refuse(handler, 404, "RevisionNotFound")
        else:
            siblings = [self._sibling(path, data) for path, data in repository.commits[commit].items()]
            self._send(handler, 200, json.dumps({"id": name, "sha": commit, "siblings": siblings}).encode())

    def _sibling(self, path: str, data: bytes) -> dict[str, object]:
        size = self.sizes.get(path, len(data))
        lfs = {"sha256": sha256(data), "size": size, "pointerSize": 134}
        return {"rfilename": path, "size": size, "blobId": git_sha1(data), **({"lfs": lfs} if size >= LARGE else {})}

    def _send_file(
        self, handler: BaseHTTPRequestHandler, name: str, commit: str, path: str, start: int, *, is_content: bool
    ) -> None:
        data = self.repositories[name].commits[commit].get(path)
        if refusals := self.refusals.get(path):
            self._refuse(handler, *refusals.pop(0))
        elif data is None:
            self._refuse(handler, 404, "EntryNotFound")
        elif len(data) >= LARGE and not is_content:
            elsewhere = f"http://localhost:{self.server.server_port}"  # another host, as the real one's storage is
            self._send(handler, 302, b"", Location=f"{elsewhere}/content/{name}/{commit}/{path}")
        else:
            self._send_bytes(handler, path, data, start if self.ranges else 0)

    def _send_bytes(self, handler: BaseHTTPRequestHandler, path: str, data: bytes, start: int) -> None:
        if self.lies.get(path, 0) > 0:
            self.lies[path] -= 1
            data = bytes(byte ^ 1 for byte in data)
        body, cuts = data[start:], self.cuts.get(path)
        part = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(handler, 206 if start else 200, b"", **{"Content-Length": str(len(body)), "Content-Range": part})
        if gate := self.gates.get(path):
            handler.wfile.write(body[: len(body) // 2])
            handler.wfile.flush()
            self.reached.set()
            gate.wait()
            body = body[len(body) // 2 :]
        handler.wfile.write(body[: cuts.pop(0)] if cuts else body)

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def _refuse(self, handler: BaseHTTPRequestHandler, status: int, code: str) -> None:
        self._send(handler, status, b"{}", **({"X-Error-Code": code} if code else {}))


def files_of_a_model(*, processor: bool = False) -> dict[str, bytes]:
    """The files of a repository of a large model by their names, tiny, and some that no model is loaded from."""
    weights = {
        "text_encoder/model-00001-of-00002.safetensors": 1,
        "text_encoder/model-00002-of-00002.safetensors": 2,
        "vae/diffusion_pytorch_model.safetensors": 3,
        "transformer/diffusion_pytorch_model.safetensors": 4,
    }
    shards = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    return {
        "README.md": b"# A model",
        "model_index.json": b"{}",
        "scheduler/scheduler_config.json": b"{}",
        "tokenizer/tokenizer.json": b'{"model": {}}',
        "text_encoder/config.json": b'{"architectures": []}',
        "text_encoder/model.safetensors.index.json": json.dumps(shards).encode(),
        "vae/config.json": b"{}",
        "transformer/config.json": b'{"_class_name": ""}',
        **({"processor/preprocessor_config.json": b"{}"} if processor else {}),
        **{path: a_tensor(number) for path, number in weights.items()},
        "assets/picture.safetensors": a_tensor(5),
    }


def a_tensor(number: int, size: int = 3000) -> bytes:
    """A safetensors file with one tensor of that many bytes, all of one value."""
    head = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes([number]) * size
