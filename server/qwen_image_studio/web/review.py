"""Review over HTTP: a reviewer's verdict on one held image."""

from flask import Blueprint, request
from pydantic import ValidationError

from qwen_image_studio.contract.answers import ImageRecord
from qwen_image_studio.contract.errors import StudioError, from_validation
from qwen_image_studio.contract.review import VerdictRequest
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.jobs.review import Verdict
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.present import image_record
from qwen_image_studio.web.routing import Body, read_json, route, services

blueprint = Blueprint("review", __name__, url_prefix="/v1/images")

REVIEWS = (Scope.REVIEW, Scope.OPERATE)
"""Scopes of which one is needed: the first for the images of the key's owner, the second for those of all."""


def _read_verdict() -> Verdict:
    """Read the current request. Raises StudioError that names the parameter at fault."""
    if request.mimetype != "application/json":
        raise StudioError("unsupported_media_type", "Send application/json.")
    body = read_json(request.get_data(cache=False), such_as='{"state": "approved"}')
    try:
        sent = VerdictRequest.model_validate(body)
    except ValidationError as error:
        raise from_validation(error, where="verdict", known=VerdictRequest.model_fields) from error
    return Verdict(sent.state, sent.reasons, sent.note, sent.user)


@route(
    blueprint,
    "POST",
    "/<image:image_id>/review",
    body=Body(_read_verdict, VerdictRequest),
    errors=("not_found", "not_held", "already_reviewed"),
    scope=REVIEWS,
)
def decide(image_id: str, body: Verdict) -> ImageRecord:
    """Approve or reject a held image.

    The first verdict counts; the same one again, by the same key and person, changes nothing. With the last verdict on
    its images the job ends: succeeded where one of them may be seen, else failed as rejected.
    """
    return image_record(services().store.reviews.decide(image_id, body, caller()))
