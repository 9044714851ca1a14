"""The protocol's messages: which version a request is of, whether it is well formed, and the shape of results.

Each request stands for itself, so any process answers it. Up to 2025-11-25 clients begin with `initialize`; from
2026-07-28 on every request has an envelope instead, which repeats what its headers say. The shapes of both come from
the protocol's own package.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    DEFAULT_NEGOTIATED_VERSION,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    Implementation,
    Result,
)
from mcp_types.jsonrpc import HEADER_MISMATCH, INVALID_REQUEST, METHOD_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION
from mcp_types.methods import serialize_server_result, validate_client_request
from mcp_types.version import (
    HANDSHAKE_PROTOCOL_VERSIONS,
    KNOWN_PROTOCOL_VERSIONS,
    LATEST_HANDSHAKE_VERSION,
    MODERN_PROTOCOL_VERSIONS,
)
from pydantic import ValidationError

from qwen_image_studio import __version__
from qwen_image_studio.contract.errors import from_validation
from qwen_image_studio.contract.mcp import RpcMessage
from qwen_image_studio.web.mcp.errors import INVALID_PARAMS

SERVER = Implementation(name="qwen-image-studio", title="Qwen-Image Studio", version=__version__)
VERSION_HEADER, METHOD_HEADER, NAME_HEADER = "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"
HEADERS = (VERSION_HEADER, METHOD_HEADER, NAME_HEADER)
"""Headers that a message is read with."""
METHODS = frozenset({"initialize", "ping", "server/discover", "tools/list", "tools/call"})
"""Methods that are answered here."""
INITIALIZE, CALL, CANCELLED = "initialize", "tools/call", "notifications/cancelled"
_STATUS = {INVALID_REQUEST: 400, INVALID_PARAMS: 400, HEADER_MISMATCH: 400, UNSUPPORTED_PROTOCOL_VERSION: 400}
_ENCODED = re.compile(r"=\?base64\?(.*)\?=")
"""How a header has a text that is not plain ASCII."""


class Refusal(Exception):
    """A message that is not of the protocol, with the code of JSON-RPC, a sentence and the id of the message."""

    def __init__(self, code: int, sentence: str, data: Any = None, *, status: int = 400) -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.data, self.status = code, sentence, data, status
        self.message_id: int | str | None = None

    def body(self) -> dict[str, Any]:
        """Return the body of the answer."""
        error = {"code": self.code, "message": self.sentence, **({} if self.data is None else {"data": self.data})}
        return {"jsonrpc": "2.0", "id": self.message_id, "error": error}


@dataclass(frozen=True)
class Message:
    """A message of a client that is well formed."""

    method: str
    """Empty for the answer to a request, of which this server sends none."""
    params: Mapping[str, Any]
    version: str
    id: int | str | None = None
    """None for a notification."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Those of HEADERS that were sent."""

    @property
    def is_modern(self) -> bool:
        """Whether it is of a version without handshake, in which closing the connection takes a request back."""
        return self.version in MODERN_PROTOCOL_VERSIONS

    @cached_property
    def progress_token(self) -> int | str | None:
        """What the client wants to be told of the progress under; None where it does not."""
        meta = self.params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, Mapping) else None
        return token if isinstance(token, int | str) and not isinstance(token, bool) else None

    def status_of(self, code: int) -> int:
        """Return the HTTP status of an answer with an error: up to 2025-11-25 clients read no body but that of 200."""
        if not self.is_modern:
            return 200
        return 404 if code == METHOD_NOT_FOUND else _STATUS.get(code, 200)

    def answer(self, result: Result) -> dict[str, Any]:
        """Return the body of the answer with a result, in the shape of the message's version."""
        dumped = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        shaped = serialize_server_result(self.method, self.version, dumped)
        if self.is_modern:
            server = SERVER.model_dump(by_alias=True, mode="json", exclude_none=True)
            shaped["_meta"] = {**shaped.get("_meta", {}), SERVER_INFO_META_KEY: server}
        return {"jsonrpc": "2.0", "id": self.id, "result": shaped}


def message_of(body: Mapping[str, Any], headers: Mapping[str, str]) -> Message:
    """Return the message in a request's body. Raises Refusal."""
    if "method" not in body and body.keys() & {"result", "error"}:
        return Message("", {}, DEFAULT_NEGOTIATED_VERSION)
    try:
        sent = RpcMessage.model_validate(body)
    except ValidationError as error:
        what = from_validation(error, where="JSON-RPC message").message
        raise Refusal(INVALID_REQUEST, f"This is no message of JSON-RPC 2.0: {what}") from error
    if "id" in body and sent.id is None:
        raise Refusal(INVALID_REQUEST, "id: is null; send a number or a text, or leave it out for a notification.")
    try:
        return _checked(sent, headers)
    except Refusal as refusal:
        refusal.message_id = sent.id
        raise


def negotiated(params: Mapping[str, Any]) -> str:
    """Return the version to speak with a client that begins with the handshake."""
    wanted = str(params.get("protocolVersion"))
    return wanted if wanted in HANDSHAKE_PROTOCOL_VERSIONS else LATEST_HANDSHAKE_VERSION


def _checked(sent: RpcMessage, headers: Mapping[str, str]) -> Message:
    version = headers.get(VERSION_HEADER, DEFAULT_NEGOTIATED_VERSION)
    if sent.method == INITIALIZE and version not in MODERN_PROTOCOL_VERSIONS:
        version = LATEST_HANDSHAKE_VERSION
    if version not in KNOWN_PROTOCOL_VERSIONS:
        there = ", ".join(KNOWN_PROTOCOL_VERSIONS)
        sentence = f"{VERSION_HEADER}: '{version[:40]}' is not spoken here; send one of {there}."
        data = {"supported": [*MODERN_PROTOCOL_VERSIONS], "requested": version[:200]}
        raise Refusal(UNSUPPORTED_PROTOCOL_VERSION, sentence, data)
    message = Message(sent.method, sent.params or {}, version, sent.id, headers)
    if sent.id is None:
        return message
    if message.is_modern:
        _check_envelope(message)
    try:
        validate_client_request(sent.method, version, sent.params)
    except KeyError:
        raise _no_method(message) from None
    except ValidationError as error:
        raise _malformed(message, error) from error
    if sent.method not in METHODS:
        raise _no_method(message)
    return message


def _no_method(message: Message) -> Refusal:
    there = ", ".join(sorted(METHODS))
    sentence = f"There is no method '{message.method[:60]}' in version {message.version}; this server has {there}."
    return Refusal(METHOD_NOT_FOUND, sentence, status=message.status_of(METHOD_NOT_FOUND))


def _malformed(message: Message, error: ValidationError) -> Refusal:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    sentence = f"{where or 'params'}: {first['msg'].rstrip('.')}, as {message.method} has it in {message.version}."
    return Refusal(INVALID_PARAMS, sentence, status=message.status_of(INVALID_PARAMS))


def _check_envelope(message: Message) -> None:
    """Raise Refusal where a request has no envelope, or its headers say something else than its body."""
    meta = message.params.get("_meta")
    needed = (PROTOCOL_VERSION_META_KEY, CLIENT_CAPABILITIES_META_KEY)
    if missing := [key for key in needed if not isinstance(meta, Mapping) or key not in meta]:
        raise Refusal(INVALID_PARAMS, f"params._meta: lacks {' and '.join(missing)}, which {message.version} needs.")
    says = {
        VERSION_HEADER: (message.version, (meta or {})[PROTOCOL_VERSION_META_KEY]),
        METHOD_HEADER: (message.headers.get(METHOD_HEADER), message.method),
    }
    if message.method == CALL and "name" in message.params:
        says[NAME_HEADER] = (_decoded(message.headers.get(NAME_HEADER)), message.params["name"])
    for header, (sent, told) in says.items():
        if sent != told:
            raise Refusal(HEADER_MISMATCH, f"{header}: does not say what the body says; send the same in both.")


def _decoded(value: str | None) -> str | None:
    if value is None or (found := _ENCODED.fullmatch(value)) is None:
        return value
    try:
        return base64.b64decode(found[1], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
