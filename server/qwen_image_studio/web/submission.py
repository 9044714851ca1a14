"""From the body of an HTTP request to a submission: read it, and check what can be checked without its images."""

import json
import re
from collections.abc import Mapping
from typing import Any

from flask import request

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.intake import Submission, Upload, image_params
from qwen_image_studio.operations.request import validated
from qwen_image_studio.prompts.table import decode

MAX_JSON_BYTES = 1_000_000
IMAGE_FIELDS = ("image", "image[]")


def read_submission() -> Submission:
    """Read the current request. Raises StudioError with the parameter at fault."""
    if request.mimetype == "multipart/form-data":
        body, uploads = _read_multipart()
    elif request.mimetype == "application/json":
        body, uploads = read_json(request.get_data(cache=False)), []
    else:
        raise StudioError(
            "unsupported_media_type", "Send application/json, or multipart/form-data with a 'params' field of JSON."
        )
    return Submission(validated(body), uploads, read_idempotency_key())


# -- reading -------------------------------------------------------------------------------------------------------


def _read_multipart() -> tuple[dict[str, Any], list[Upload]]:
    known = {"params", "mask", "rows", *IMAGE_FIELDS}
    unknown = [name for name in (*request.form, *request.files) if name not in known]
    if unknown:
        raise StudioError(
            "unknown_parameter",
            f"'{unknown[0][:60]}' is not a field of the form; send 'params' (JSON), and files as 'image', 'mask' "
            "and, for a batch, 'rows'.",
            param=unknown[0][:60],
        )
    files = [file for name in IMAGE_FIELDS for file in request.files.getlist(name)]
    uploads = [Upload(name, file.read()) for name, file in zip(image_params(len(files)), files, strict=True)]
    uploads += [Upload("mask", file.read()) for file in request.files.getlist("mask")]
    body = read_json(request.form.get("params", "{}").encode("utf-8", "surrogatepass"))
    return {**body, **_read_rows(body)}, uploads


def _read_rows(body: Mapping[str, Any]) -> dict[str, str]:
    """The table of a batch, where it came as a field of the form: a file, or text."""
    sent = [file.read() for file in request.files.getlist("rows")]
    sent += [text.encode("utf-8", "surrogatepass") for text in request.form.getlist("rows")]
    if not sent:
        return {}
    if len(sent) > 1 or "rows" in body:
        raise StudioError("invalid_value", "rows: send one table, as a file or within 'params'.", param="rows")
    if len(sent[0]) > MAX_JSON_BYTES:
        raise StudioError("body_too_large", f"rows: the table is larger than {MAX_JSON_BYTES} bytes.", param="rows")
    return {"rows": decode(sent[0])}


def read_json(data: bytes, such_as: str = '{"operation": "generate", ...}') -> dict[str, Any]:
    """The object that the bytes are; raises StudioError, which shows one `such_as` this."""
    if len(data) > MAX_JSON_BYTES:
        raise StudioError("body_too_large", f"The JSON is larger than {MAX_JSON_BYTES} bytes; send images as files.")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StudioError("malformed_body", "The body is not JSON that can be read.") from error
    if not isinstance(body, dict):
        raise StudioError("malformed_body", f"The body must be a JSON object such as {such_as}.")
    return body


def read_idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        raise StudioError(
            "invalid_value",
            "Idempotency-Key: use 1 to 255 printable ASCII characters, such as a UUID.",
            param="Idempotency-Key",
        )
    return key
