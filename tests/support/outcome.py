"""What one call of a plugin gave, and how the messages of the protocol are put together into it."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class DaemonError(Exception):
    """The plugin did not start, died, broke the protocol or did not answer in time."""


class ToolError(Exception):
    """A call ended with the plugin's error; raised by :meth:`Outcome.raise_on_error`."""


@dataclass(frozen=True)
class Blob:
    """A file that a tool returned, put together from its chunks; ``meta`` has mime_type and filename."""

    content: bytes
    meta: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """The error of a call: the class name that Dify maps, the sentence that it shows, and what the SDK adds."""

    type: str
    message: str
    args: dict[str, Any]


@dataclass
class Outcome:
    """Everything that one call gave, in the forms in which a workflow node would have it."""

    texts: list[str] = field(default_factory=list)
    jsons: list[Any] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)
    """Output variables; the chunks of a streamed one are joined."""
    streamed: dict[str, list[str]] = field(default_factory=dict)
    """The chunks of the streamed variables as they came."""
    blobs: list[Blob] = field(default_factory=list)
    error: Failure | None = None
    kinds: list[str] = field(default_factory=list)
    """Kinds of the messages in their order; a blob counts once."""
    raw: list[dict[str, Any]] = field(default_factory=list)
    """Messages without the bytes of blobs."""

    def raise_on_error(self) -> None:
        """Raise :class:`ToolError` if the call failed."""
        if self.error is not None:
            raise ToolError(f"{self.error.type}: {self.error.message}")


class Gathering:
    """Sorts the messages of one call into its outcome."""

    def __init__(self, on_progress: Callable[[str], None] | None) -> None:
        self.outcome = Outcome()
        self._on_progress = on_progress
        self._open: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {}

    def take(self, message: dict[str, Any]) -> None:
        data = message["data"]
        if message["type"] == "error":
            self.outcome.error = Failure(data["error_type"], data["message"], data.get("args") or {})
        elif "type" not in data:
            self.outcome.jsons.append(data)  # the answer of a check
        elif data["type"] == "blob_chunk":
            self._chunk(data["message"], data.get("meta") or {})
        else:
            self._message(data["type"], data["message"], data)

    def finished(self) -> Outcome:
        if self._open:
            raise DaemonError(f"{len(self._open)} blob(s) never ended")
        return self.outcome

    def _message(self, kind: str, message: dict[str, Any], raw: dict[str, Any]) -> None:
        outcome = self.outcome
        outcome.kinds.append(kind)
        outcome.raw.append(raw)
        if kind == "text":
            outcome.texts.append(message["text"])
        elif kind == "json":
            outcome.jsons.append(message["json_object"])
        elif kind == "variable":
            self._variable(message["variable_name"], message["variable_value"], bool(message.get("stream")))

    def _variable(self, name: str, value: Any, stream: bool) -> None:
        if not stream:
            self.outcome.variables[name] = value
            return
        self.outcome.streamed.setdefault(name, []).append(value)
        self.outcome.variables[name] = "".join(self.outcome.streamed[name])
        if self._on_progress and name == "progress":
            self._on_progress(value)

    def _chunk(self, chunk: dict[str, Any], meta: dict[str, Any]) -> None:
        chunks, _ = self._open.setdefault(chunk["id"], ([], meta))
        if chunk["sequence"] != len(chunks):
            raise DaemonError(f"chunk {chunk['sequence']} came where {len(chunks)} was due")
        chunks.append(chunk)
        if not chunk["end"]:
            return
        chunks, meta = self._open.pop(chunk["id"])
        content = b"".join(base64.b64decode(part["blob"]) for part in chunks)
        if len(content) != chunk["total_length"]:
            raise DaemonError(f"a blob of {chunk['total_length']} bytes came with {len(content)}")
        self.outcome.kinds.append("blob")
        self.outcome.blobs.append(Blob(content, meta))
