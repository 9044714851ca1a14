"""Messages of the Model Context Protocol as clients write them by hand, and what comes of them."""

from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

BOTH = "application/json, text/event-stream"
"""What clients take."""


def posted(client: FlaskClient, method: str, params: dict[str, Any] | None = None, /, **headers: str) -> TestResponse:
    """Send one request as a client of a version with handshake does."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method}
    if params is not None:
        body["params"] = params
    sent = {"Accept": BOTH, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return client.post("/mcp", json=body, headers=sent, buffered=True)


def called(client: FlaskClient, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """Call a tool, and return the result."""
    return result_of(posted(client, "tools/call", {"name": tool, "arguments": arguments}))


def refused(client: FlaskClient, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """Call a tool, and return the error."""
    return error_of(posted(client, "tools/call", {"name": tool, "arguments": arguments}))


def result_of(answer: TestResponse) -> dict[str, Any]:
    """Return the result in an answer."""
    body = answer.get_json()
    assert "result" in body, answer.text
    found: dict[str, Any] = body["result"]
    return found


def error_of(answer: TestResponse) -> dict[str, Any]:
    """Return the error in an answer, which has a sentence and the contract's code."""
    error: dict[str, Any] = answer.get_json()["error"]
    assert len(error["message"]) > 20
    assert "Traceback" not in error["message"]
    return error


def text_of(result: dict[str, Any]) -> str:
    """Return the text of a result."""
    [text] = [each["text"] for each in result["content"] if each["type"] == "text"]
    return str(text)
