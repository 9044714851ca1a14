"""Review over HTTP: a reviewer's verdict on one held image."""

from flask import Blueprint

from qwen_image_studio.contract.answers import ImageRecord
from qwen_image_studio.contract.review import VerdictRequest
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.jobs.review import Verdict
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.present import image_record
from qwen_image_studio.web.routing import Body, read_model, route, services

blueprint = Blueprint("review", __name__, url_prefix="/v1/images")

REVIEWS = (Scope.REVIEW, Scope.OPERATE)
"""Scopes of which one is needed: the first for the images of the key's owner, the second for those of all."""


def _read_verdict() -> Verdict:
    """Read the current request. Raises StudioError that names the parameter at fault."""
    sent = read_model(VerdictRequest, "verdict", '{"state": "approved"}')
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
    return image_record(*services().store.reviews.decide(image_id, body, caller()))
