"""Plays Dify's plugin daemon: starts a plugin as the daemon does and speaks its line protocol. Standard library only.

    with Daemon(Path(".venv-plugin/bin/python"), Path(".")) as daemon:
        daemon.validate("qwen_image", {"server_url": "http://127.0.0.1:8300"})
        outcome = daemon.invoke("qwen_image", "image_generation", {"prompt": "红苹果"}, credentials,
                                on_progress=print)
        outcome.raise_on_error()
        Path("apple.png").write_bytes(outcome.blobs[0].content)

The plugin runs as ``INSTALL_METHOD=local <python> -m main`` with its root as working directory. One JSON object per
line goes in and comes out, blank lines between. The first line out is the declaration; then come log lines,
heartbeats, and for each call (a *session* in the daemon's words) any number of messages and exactly one ``end``.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.hooks import Hook, MemoryStorage, StandInModel
from tests.support.outcome import Blob, DaemonError, Failure, Gathering, Outcome, ToolError

__all__ = [
    "Blob",
    "Daemon",
    "DaemonError",
    "Failure",
    "Hook",
    "MemoryStorage",
    "Outcome",
    "StandInModel",
    "ToolError",
]

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 5.0


class Daemon:
    """One running plugin. ``hooks`` answers its reverse calls by kind (``llm``, ``storage``, ``upload_file``, ...)."""

    def __init__(
        self,
        python: Path,
        root: Path,
        *,
        environment: Mapping[str, str] | None = None,
        hooks: Mapping[str, Hook] | None = None,
    ) -> None:
        self.declaration: dict[str, Any] = {}
        self.logs: list[dict[str, Any]] = []
        self.noise: list[str] = []
        """Lines on stdout that are not of the protocol; Dify logs each as an error."""
        self.faults: list[dict[str, Any]] = []
        """``error`` events outside of any call."""
        self.lines: list[bytes] = []
        """Every line but the chunks of blobs."""
        self.longest_line = 0
        """In bytes. The real daemon kills a plugin whose line is longer than 5 MiB."""
        self.ends: Counter[str] = Counter()
        self.heartbeats = 0
        self.hooks = dict(hooks or {})
        self._sessions: dict[str, queue.Queue[dict[str, Any] | None]] = {}
        self._started = threading.Event()
        self._closed = threading.Event()
        self._writing = threading.Lock()
        self._stderr = tempfile.TemporaryFile()
        self._process = _start(python.absolute(), root, dict(environment or {}), self._stderr.fileno())
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        try:
            self.wait_until_ready()
        except DaemonError:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Id of the process, and of its group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def wait_until_ready(self, timeout: float = START_TIMEOUT_S) -> None:
        """Return once the declaration and the first heartbeat came."""
        if not self._started.wait(timeout) or not self.declaration:
            raise DaemonError(f"the plugin did not start within {timeout:g} s\n{self.stderr()[-2000:]}")

    def stderr(self) -> str:
        """What the plugin wrote to stderr so far."""
        return os.pread(self._stderr.fileno(), 2**20, 0).decode(errors="replace")

    def stop(self) -> None:
        """End the process; safe to call twice."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
                break
        self._reader.join(STOP_TIMEOUT_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        if not self._stderr.closed:
            self._stderr.close()

    def validate(self, provider: str, credentials: Mapping[str, Any], *, timeout: float = 60.0) -> Outcome:
        """Check credentials; ``outcome.error`` is None where the provider takes them."""
        data = {"action": "validate_tool_credentials", "provider": provider, "credentials": dict(credentials)}
        return self._call(data, {}, timeout, None)

    def invoke(
        self,
        provider: str,
        tool: str,
        parameters: Mapping[str, Any],
        credentials: Mapping[str, Any],
        *,
        app_id: str | None = "app-1",
        conversation_id: str | None = None,
        user_id: str = "user-1",
        timeout: float = 300.0,
        on_progress: Callable[[str], None] | None = None,
    ) -> Outcome:
        """Call a tool and wait for its end; ``on_progress`` gets each chunk of a streamed variable at once."""
        data = {
            "action": "invoke_tool",
            "provider": provider,
            "tool": tool,
            "credentials": dict(credentials),
            "credential_type": "api-key",
            "tool_parameters": dict(parameters),
            "user_id": user_id,
        }
        return self._call(data, {"app_id": app_id, "conversation_id": conversation_id}, timeout, on_progress)

    def _call(
        self,
        data: dict[str, Any],
        context: dict[str, Any],
        timeout: float,
        on_progress: Callable[[str], None] | None,
    ) -> Outcome:
        session, inbox = uuid.uuid4().hex, queue.Queue[dict[str, Any] | None]()
        self._sessions[session] = inbox
        if self._closed.is_set():
            raise DaemonError(f"the plugin has died\n{self.stderr()[-2000:]}")
        deadline, gathered = time.monotonic() + timeout, Gathering(on_progress)
        request = {"user_id": "user-1", "type": "tool", **data}
        self._send({"session_id": session, **context, "event": "request", "data": request})
        while True:
            try:
                message = inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise DaemonError(f"no end of {data['action']} within {timeout:g} s") from None
            if message is None:
                raise DaemonError(f"the plugin died in {data['action']}\n{self.stderr()[-2000:]}")
            if message["type"] == "end":
                return gathered.finished()
            if message["type"] == "invoke":
                # Beside this loop: a plugin may end while what it asked is still being answered.
                asked = (session, context, message["data"])
                threading.Thread(target=self._answer, args=asked, daemon=True).start()
            else:
                gathered.take(message)

    def _answer(self, session: str, context: dict[str, Any], call: dict[str, Any]) -> None:
        with contextlib.suppress(DaemonError):  # told by the call itself
            self._answered(session, context, call)

    def _answered(self, session: str, context: dict[str, Any], call: dict[str, Any]) -> None:
        kind, about = call["type"], {"backwards_request_id": call["backwards_request_id"]}
        envelope = {"session_id": session, **context, "event": "backwards_response"}
        shape = "stream" if kind == "llm" else "struct"
        try:
            if kind not in self.hooks:
                raise PermissionError(f"permission denied, you need to enable {kind} access in plugin manifest")
            for data in self.hooks[kind](call["request"]):
                self._send({**envelope, "data": {**about, "event": "response", "message": shape, "data": data}})
        except Exception as error:  # noqa: BLE001 - whatever a hook raises, the plugin must hear of it or it waits
            self._send({**envelope, "data": {**about, "event": "error", "message": str(error), "data": None}})
        else:
            self._send({**envelope, "data": {**about, "event": "end", "message": "", "data": None}})

    def _send(self, line: dict[str, Any]) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with self._writing:
            try:
                pipe.write(json.dumps(line).encode() + b"\n")
                pipe.flush()
            except OSError as error:
                raise DaemonError(f"the plugin is gone: {error}\n{self.stderr()[-2000:]}") from error

    def _read(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        for raw in pipe:
            self.longest_line = max(self.longest_line, len(raw))
            if text := raw.strip():
                self._take_line(text)
        self._closed.set()
        self._started.set()
        for inbox in list(self._sessions.values()):
            inbox.put(None)

    def _take_line(self, text: bytes) -> None:
        try:
            line = json.loads(text)
            event = line.get("event")
            if not (event == "session" and line["data"]["data"].get("type") == "blob_chunk"):
                self.lines.append(text)
        except (ValueError, AttributeError):
            self.lines.append(text)
            self.noise.append(text.decode(errors="replace"))
            return
        if event is None and not self.declaration:
            self.declaration = line
        elif event == "heartbeat":
            self.heartbeats += 1
            self._started.set()
        elif event == "log":
            self.logs.append(line["data"])
        elif event == "session" and line["session_id"] in self._sessions:
            if line["data"]["type"] == "end":
                self.ends[line["session_id"]] += 1
            self._sessions[line["session_id"]].put(line["data"])
        elif event == "error":
            self.faults.append(line)
        else:
            self.noise.append(text.decode(errors="replace"))


def _start(python: Path, root: Path, environment: dict[str, str], stderr: int) -> subprocess.Popen[bytes]:
    # Another virtual environment's variables must not leak into the plugin's Python.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    command = [str(python), "-m", "main"]
    if os.getpid() == 1:
        # The SDK takes a parent with id 1 for a dead daemon and exits, so in a container a shell stands between.
        command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *command]
    return subprocess.Popen(
        command,
        cwd=root,
        env={**inherited, "INSTALL_METHOD": "local", "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )
