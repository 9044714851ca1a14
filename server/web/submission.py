"""From the body of an HTTP request to a submission: read it, and check what can be checked without its images."""

import json
import re
from typing import Any

from flask import request
from pydantic import ValidationError

from server.errors import StudioError, from_validation
from server.intake import Submission, Upload, checked
from server.schemas import JOB_REQUEST, Request
from server.vocabulary import Operation

MAX_JSON_BYTES = 1_000_000
IMAGE_FIELDS = ("image", "image[]")


def read_submission() -> Submission:
    """Read the current request. Raises StudioError with the parameter at fault."""
    if request.mimetype == "multipart/form-data":
        body, uploads = _read_multipart()
    elif request.mimetype == "application/json":
        body, uploads = _read_json(request.get_data(cache=False)), []
    else:
        raise StudioError(
            "unsupported_media_type", "Send application/json, or multipart/form-data with a 'params' field of JSON."
        )
    return checked(Submission(_validated(body), uploads, _idempotency_key()))


# -- reading -------------------------------------------------------------------------------------------------------


def _read_multipart() -> tuple[dict[str, Any], list[Upload]]:
    unknown = [name for name in (*request.form, *request.files) if name not in {"params", "mask", *IMAGE_FIELDS}]
    if unknown:
        raise StudioError(
            "unknown_parameter",
            f"'{unknown[0][:60]}' is not a field of the form; send 'params' (JSON), and files as 'image' and 'mask'.",
            param=unknown[0][:60],
        )
    files = [file for name in IMAGE_FIELDS for file in request.files.getlist(name)]
    names = ["image"] if len(files) == 1 else [f"image[{index}]" for index in range(len(files))]
    uploads = [Upload(name, file.read()) for name, file in zip(names, files, strict=True)]
    uploads += [Upload("mask", file.read()) for file in request.files.getlist("mask")]
    return _read_json(request.form.get("params", "{}").encode("utf-8", "surrogatepass")), uploads


def _read_json(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_JSON_BYTES:
        raise StudioError("body_too_large", f"The JSON is larger than {MAX_JSON_BYTES} bytes; send images as files.")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StudioError("malformed_body", "The body is not JSON that can be read.") from error
    if not isinstance(body, dict):
        raise StudioError("malformed_body", 'The body must be a JSON object such as {"operation": "generate", ...}.')
    return body


def _validated(body: dict[str, Any]) -> Request:
    operations = [operation.value for operation in Operation]
    if body.get("operation") not in operations:
        raise StudioError("unknown_operation", f"operation: must be one of {', '.join(operations)}.", param="operation")
    try:
        return JOB_REQUEST.validate_python(body)
    except ValidationError as error:
        raise from_validation(error, where=f"{body['operation']} request") from error


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        raise StudioError(
            "invalid_value",
            "Idempotency-Key: use 1 to 255 printable ASCII characters, such as a UUID.",
            param="Idempotency-Key",
        )
    return key
