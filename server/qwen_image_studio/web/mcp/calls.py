"""Reading calls of tools: from the arguments of an agent to a submission, or to what is asked of a job."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from flask import request
from pydantic import ValidationError

from qwen_image_studio.contract.errors import StudioError, from_validation, likely_name
from qwen_image_studio.contract.mcp import CallOptions, JobCall
from qwen_image_studio.operations.request import OPERATIONS, validated
from qwen_image_studio.recipe import Submission
from qwen_image_studio.web.json_pictures import with_texts
from qwen_image_studio.web.mcp.tools import HIDDEN, IMAGES, JOB_TOOL, PAINT_TOOLS, PaintTool, no_such_tool
from qwen_image_studio.web.openai.pictures import with_pictures
from qwen_image_studio.web.routing import services

USER_HEADER = "X-Studio-User"
"""Header that names the person for whom is asked: the protocol itself sends none."""
OPTION_HEADERS: Mapping[str, str] = {"wait": "X-Studio-Wait", "inline": "X-Studio-Inline"}
"""Headers with what holds for all calls of a client that do not say it themselves."""
_Options = TypeVar("_Options", bound=CallOptions)


@dataclass(frozen=True)
class Call:
    """A call of a tool that makes a job."""

    options: CallOptions
    submission: Submission


def read_call(params: Mapping[str, Any]) -> Call | JobCall:
    """Return what a call asks for. Raises StudioError that names the parameter at fault, or the header."""
    name = str(params["name"])
    sent = {key: value for key, value in (params.get("arguments") or {}).items() if not _says_nothing(value)}
    if name == JOB_TOOL:
        return _read(JobCall, sent)
    if (tool := PAINT_TOOLS.get(name)) is None:
        raise no_such_tool(name)
    options = _read(CallOptions, {key: sent.pop(key) for key in CallOptions.model_fields if key in sent})
    return Call(options, _submission(tool, sent))


def _says_nothing(value: Any) -> bool:
    """Return whether an argument is one that nobody filled in, as workflow tools send them."""
    return value is None or (isinstance(value, str) and not value.strip())


def _read(model: type[_Options], sent: Mapping[str, Any]) -> _Options:
    """Return the arguments; what they leave out is as the headers have it, or else the settings."""
    headers = {key: request.headers[name] for key, name in OPTION_HEADERS.items() if request.headers.get(name)}
    meant = {"wait": services().settings.mcp_wait_s, **headers, **with_texts(sent)}
    try:
        return model.model_validate(meant)
    except ValidationError as error:
        told = from_validation(error, where="tool", known=model.model_fields)
        header = OPTION_HEADERS.get(told.param or "") if told.param in headers and told.param not in sent else None
        raise told if header is None else _of_header(told, header) from error


def _submission(tool: PaintTool, sent: Mapping[str, Any]) -> Submission:
    operation = tool.operation_of(sent)
    known = OPERATIONS[operation].model_fields.keys() - HIDDEN
    if strange := next((key for key in sent if key not in known), None):
        raise _strange(strange, tool, operation, known)
    body, uploads = with_pictures({key: _parsed(key, value, operation) for key, value in sent.items()})
    if (user := _user()) is not None:
        body["user"] = user
    try:
        return Submission(validated({**with_texts(body), "operation": operation}, f"tool {tool.name}"), uploads)
    except StudioError as error:
        raise _of_header(error, USER_HEADER) if error.param == "user" else error from error


def _strange(name: str, tool: PaintTool, operation: str, known: set[str]) -> StudioError:
    """Return the error for an argument that an operation does not take."""
    other = next((each for each in tool.operations if name in OPERATIONS[each].model_fields.keys() - HIDDEN), None)
    if other is not None:
        remedy = "leave it out, or send a mask or region" if operation == tool.operation else "leave it out"
        message = f"'{name}' has no effect {'without' if operation == tool.operation else 'with'} a mask or region; "
        return StudioError("unknown_parameter", f"{message}{remedy}.", param=name)
    meant = f"; did you mean '{likely}'?" if (likely := likely_name(name, known)) else "."
    message = f"'{name[:60]}' is not a parameter of the tool {tool.name}{meant} tools/list has those that are."
    return StudioError("unknown_parameter", message, param=name[:60])


def _parsed(name: str, value: Any, operation: str) -> Any:
    """Return an argument; a list or an object that was written as a text of JSON as what it is, as some clients send
    it.
    """
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return value
    if name not in IMAGES and not _may_be_nested(name, operation):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


@cache
def _may_be_nested(name: str, operation: str) -> bool:
    properties = OPERATIONS[operation].model_json_schema()["properties"]
    written = json.dumps(properties.get(name, {}))
    return '"array"' in written or '"object"' in written or "$ref" in written


def _user() -> str | None:
    """Return the person that the header names, which is UTF-8 where it is no plain ASCII; None without one."""
    sent = request.headers.get(USER_HEADER)
    if sent is None:
        return None
    try:
        return sent.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return sent


def _of_header(error: StudioError, header: str) -> StudioError:
    """Return an error about a value that came in a header under that name."""
    rest = error.message.removeprefix(f"{error.param}: ")
    return StudioError(error.code, f"{header}: {rest}", param=header)
