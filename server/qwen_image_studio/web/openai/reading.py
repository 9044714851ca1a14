"""Reading requests of OpenAI's clients: JSON, or a form in which every value is a text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import request
from pydantic import ValidationError

from qwen_image_studio.contract.errors import StudioError, from_validation
from qwen_image_studio.imaging.decoding import receive_white_mask
from qwen_image_studio.recipe import MASK, Submission, Upload
from qwen_image_studio.web.json_pictures import read_with_pictures
from qwen_image_studio.web.names import Understood, understood
from qwen_image_studio.web.openai.forms import FORMS, read_form
from qwen_image_studio.web.openai.pictures import IMAGES, with_pictures
from qwen_image_studio.web.openai.requests import (
    VARIATION,
    ImagesEditRequest,
    ImagesGenerateRequest,
    ImagesVariationRequest,
)
from qwen_image_studio.web.routing import read_idempotency_key, services

_Request = TypeVar("_Request", ImagesGenerateRequest, ImagesEditRequest)
DEPLOYMENT = "deployment"
"""Variable of Azure's paths: the name of a model, where the request itself names none."""


@dataclass(frozen=True)
class Asked:
    """A request of an OpenAI client, in OpenAI's terms and as a job."""

    request: ImagesGenerateRequest | ImagesEditRequest
    submission: Submission
    ignored: Sequence[str] = ()
    """Warnings about parameters that were ignored or taken as something else."""


def read_generation() -> Asked:
    """Read the current request for new images. Raises StudioError that names the parameter at fault."""
    if request.mimetype != "application/json":
        raise StudioError("unsupported_media_type", "Send application/json; files go to /v1/images/edits.")
    body, uploads = with_pictures(_json())
    image = body.get("image")
    if isinstance(image, list) and len(image) == 1:
        [image] = [body["image"]] = image
    if MASK in body or any(upload.param == MASK for upload in uploads):
        raise StudioError("invalid_value", "mask: goes with an image to /v1/images/edits.", param=MASK)
    if isinstance(image, list) or len(uploads) > 1:  # which only an edit can start from
        found = _understood(body, ImagesEditRequest)
        edit = _validated(ImagesEditRequest, found)
        job = edit.job_request(services().models, has_mask=False)
        return Asked(edit, Submission(job, uploads, read_idempotency_key()), found.warnings)
    found = _understood(body, ImagesGenerateRequest)
    asked = _validated(ImagesGenerateRequest, found)
    job = asked.job_request(services().models, has_image=bool(asked.image or uploads))
    return Asked(asked, Submission(job, uploads, read_idempotency_key()), found.warnings)


def read_edit() -> Asked:
    """Read the current request to change images. Raises StudioError that names the parameter at fault."""
    return _read_edit(ImagesEditRequest)


def read_variation() -> Asked:
    """Read the current request for images like another. Raises StudioError that names the parameter at fault."""
    return _read_edit(ImagesVariationRequest)


def _read_edit(model: type[ImagesEditRequest]) -> Asked:
    if request.mimetype in FORMS:
        body, uploads = read_form(_names(model))
    elif request.mimetype == "application/json":
        body, uploads = _json(), []
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
    found = _understood(body, model)
    if model is ImagesVariationRequest and not found.params.keys() & {"prompt", "template"}:
        found.params["prompt"] = VARIATION
    asked = _validated(model, found)
    job = asked.job_request(services().models, has_mask=any(upload.param == MASK for upload in uploads))
    Submission(job, uploads).check()  # before the mask is opened
    return Asked(asked, Submission(job, _white_masked(uploads), read_idempotency_key()), found.warnings)


# -- reading -------------------------------------------------------------------------------------------------------


def _json() -> dict[str, Any]:
    return read_with_pictures({*IMAGES, MASK}, such_as='{"prompt": "a red apple"}')


def _names(model: type[_Request]) -> set[str]:
    """Return the names of a request's parameters on the wire."""
    return {field.alias or name for name, field in model.model_fields.items()}


def _understood(body: Mapping[str, Any], model: type[_Request]) -> Understood:
    found = understood(body, _names(model))
    if deployment := (request.view_args or {}).get(DEPLOYMENT):
        found.params.setdefault("model", deployment)
    return found


def _validated(model: type[_Request], found: Understood) -> _Request:
    try:
        return model.model_validate(found.params)
    except ValidationError as error:
        where = "request of OpenAI's images API"
        raise found.named_as_sent(from_validation(error, where=where)) from error


def _white_masked(uploads: Sequence[Upload]) -> list[Upload]:
    """Return the files with the mask converted: what had alpha 0 becomes white."""
    limits = services().settings.image_limits
    first = next((upload.data for upload in uploads if upload.param != MASK), None)
    return [
        Upload(MASK, receive_white_mask(upload.data, first, **limits)) if upload.param == MASK else upload
        for upload in uploads
    ]
