"""What an answer says that is none, in the shape of the contract, of Hugging Face's clients or of JSON-RPC."""

from typing import Any

from qwen_image_studio.contract.errors import ERRORS


def error_code(answer: Any) -> str:
    """The code of the error in an answer."""
    body = answer.get_json()
    if "jsonrpc" in body:
        return str(body["error"]["data"]["code"])
    return str(body["error_type"] if isinstance(body["error"], str) else body["error"]["code"])


def assert_refused(answer: Any, status: int, code: str, param: str | None) -> None:
    """The answer is an error of the one shape, about that parameter, with a sentence."""
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), answer.text
    assert set(error) == {"code", "message", "param", "type", "request_id"}
    assert error["type"] == ERRORS[code].type
    assert error["request_id"] == answer.headers["X-Request-Id"]
    assert len(error["message"]) > 20
    assert "Traceback" not in error["message"]
    assert "should match pattern" not in error["message"]
