"""Reading requests of OpenAI's clients: JSON, or a multipart form in which every value is a text."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import request
from pydantic import ValidationError

from qwen_image_studio.contract.errors import StudioError, from_validation
from qwen_image_studio.imaging.decoding import receive_white_mask
from qwen_image_studio.recipe import MASK, Submission, Upload
from qwen_image_studio.web.forms import check_names, in_order, is_image, read_uploads
from qwen_image_studio.web.openai.pictures import read_body, with_pictures
from qwen_image_studio.web.openai.requests import ImagesEditRequest, ImagesGenerateRequest
from qwen_image_studio.web.routing import read_idempotency_key, services

_Request = TypeVar("_Request", ImagesGenerateRequest, ImagesEditRequest)
_PART_OF = re.compile(r"(slots|region)\[(\w{1,64})\]")


@dataclass(frozen=True)
class Asked:
    """A request of an OpenAI client, in OpenAI's terms and as a job."""

    request: ImagesGenerateRequest | ImagesEditRequest
    submission: Submission


def read_generation() -> Asked:
    """Read the current request for new images. Raises StudioError that names the parameter at fault."""
    if request.mimetype != "application/json":
        raise StudioError("unsupported_media_type", "Send application/json; files go to /v1/images/edits.")
    asked = _validated(ImagesGenerateRequest, read_body())
    return Asked(asked, Submission(asked.job_request(), [], read_idempotency_key()))


def read_edit() -> Asked:
    """Read the current request to change images. Raises StudioError that names the parameter at fault."""
    if request.mimetype == "multipart/form-data":
        body, uploads = _form()
    elif request.mimetype == "application/json":
        body, uploads = read_body(), []
    else:
        raise StudioError(
            "unsupported_media_type", "Send multipart/form-data with 'image' files, or JSON with ids or data URLs."
        )
    body, within = with_pictures(body)
    uploads = [*uploads, *within]
    if MASK in body:
        raise StudioError(
            "invalid_value",
            "mask: send it as a file, with alpha 0 where the image may change. A mask by id or URL, white where the "
            "image may change, is taken by POST /v1/jobs.",
            param="mask",
        )
    asked = _validated(ImagesEditRequest, body)
    job = asked.job_request(has_mask=any(upload.param == MASK for upload in uploads))
    Submission(job, uploads).check()  # before the mask is opened
    return Asked(asked, Submission(job, _white_masked(uploads), read_idempotency_key()))


# -- reading -------------------------------------------------------------------------------------------------------


def _form() -> tuple[dict[str, Any], list[Upload]]:
    """Return the fields of a multipart form, and its files in order. Images may also be fields, with ids or URLs."""
    check_names()
    return _fields(), read_uploads()


def _fields() -> dict[str, Any]:
    body: dict[str, Any] = {}
    objects: dict[str, dict[str, str]] = {}
    sent = [(name, [value for value in values if value.strip()]) for name, values in request.form.lists()]
    images = [(name, value) for name, values in sent if is_image(name) for value in values]
    if images:
        body["image"] = [images[index][1] for index in in_order(name for name, _ in images)]
    for name, values in sent:
        if is_image(name) or not values:  # clients send empty fields for what was left open
            continue
        if len(values) > 1:
            raise _twice(name)
        elif part := _PART_OF.fullmatch(name):  # how OpenAI's client writes an object of extra_body
            objects.setdefault(part[1], {})[part[2]] = values[0]
        else:
            body[name] = _object(values[0]) if name in {"slots", "region"} else values[0]
    if both := body.keys() & objects:
        raise _twice(both.pop())
    return {**body, **objects}


def _twice(name: str) -> StudioError:
    return StudioError("invalid_value", f"{name[:60]}: was sent more than once.", param=name[:60])


def _object(text: str) -> Any:
    """Return an object that was sent as a field of JSON; other text as it is, to be refused under its field's name."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _validated(model: type[_Request], body: dict[str, Any]) -> _Request:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        where = "request of OpenAI's images API"
        raise from_validation(error, where=where, known=model.model_fields) from error


def _white_masked(uploads: Sequence[Upload]) -> list[Upload]:
    """Return the files with the mask converted: what had alpha 0 becomes white."""
    limits = services().settings.image_limits
    first = next((upload.data for upload in uploads if upload.param != MASK), None)
    return [
        Upload(MASK, receive_white_mask(upload.data, first, **limits)) if upload.param == MASK else upload
        for upload in uploads
    ]
