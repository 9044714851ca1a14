"""Errors as clients of the Model Context Protocol read them: those of JSON-RPC. Its address is said here alone.

Tools do not answer with `isError`: some clients, such as Dify, take such a text for a success.
"""

from collections.abc import Mapping
from typing import Any

from qwen_image_studio.contract.errors import ERRORS, StudioError

PATH = "/mcp"
INVALID_PARAMS, INTERNAL_ERROR = -32602, -32603
CODES: Mapping[str, int] = {
    "invalid_request_error": INVALID_PARAMS,
    "authentication_error": -32010,
    "permission_error": -32011,
    "not_found_error": -32012,
    "conflict_error": -32013,
    "rate_limit_error": -32014,
    "server_error": INTERNAL_ERROR,
    "job_error": INTERNAL_ERROR,
}
"""Codes of JSON-RPC by the types of the contract's errors. What is ours is between -32019 and -32002, where
the protocol leaves room."""
_METHOD_NOT_ALLOWED = 405


def reads_rpc(path: str) -> bool:
    """Return whether those who ask for the path are clients of the protocol."""
    return path.rstrip("/") == PATH


def where_to_post(status: int, path: str) -> str | None:
    """Return what tells a client that has come with another method how to send messages; None for other paths."""
    if status != _METHOD_NOT_ALLOWED or not reads_rpc(path):
        return None
    return "Messages of the Model Context Protocol are sent here by POST; there is no stream to GET, and no session."


def rpc_error(error: StudioError, request_id: str) -> dict[str, Any]:
    """Return an error as JSON-RPC's object; its data has the contract's code, the parameter, and when to try again."""
    data: dict[str, Any] = {**error.body(request_id)["error"]}
    message = str(data.pop("message")).replace("/openapi.json", "tools/list")
    if error.param is not None and error.param not in message:
        message = f"{error.param}: {message[0].lower()}{message[1:]}"
    if error.retry_after is not None:
        data["retry_after"] = error.retry_after
        message += "" if f"{error.retry_after} second" in message else f" Try again in {error.retry_after} seconds."
    return {"code": CODES[ERRORS[error.code].type], "message": message, "data": data}


def rpc_body(error: StudioError, request_id: str, message_id: int | str | None = None) -> dict[str, Any]:
    """Return the body of an answer with an error; its id is null where that of the request is not known."""
    return {"jsonrpc": "2.0", "id": message_id, "error": rpc_error(error, request_id)}
