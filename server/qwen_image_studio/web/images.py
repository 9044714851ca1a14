"""Images over HTTP: an image's record and bytes, for its owner."""

from flask import Blueprint, Response
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from qwen_image_studio.contract.answers import ImageRecord
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.files import FILE_ANSWERS, FILE_ERRORS, file_response
from qwen_image_studio.web.jobs import PAINTS
from qwen_image_studio.web.present import image_record
from qwen_image_studio.web.routing import route, services

blueprint = Blueprint("images", __name__, url_prefix="/v1/images")

YEAR_S = 365 * 86400
"""Time for which browsers may keep an image, in seconds."""


class ImageId(BaseConverter):
    """The part of an address that is an image's id, rather than the name of one of OpenAI's routes beside it."""

    regex = r"(?!(?:generations|edits)(?:/|$))[^/]+"


@blueprint.record_once
def _know_ids(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["image"] = ImageId


@route(blueprint, "GET", "/<image:image_id>", errors=("not_found", "held_for_review"))
def show(image_id: str) -> ImageRecord:
    """Look at one image's record.

    That of a withheld image is for reviewers, whose links to it open for them alone, a quarter of an hour at most.
    """
    return image_record(services().store.reviews.look(image_id, caller()))


@route(
    blueprint,
    "DELETE",
    "/<image:image_id>",
    returns={204: None},
    errors=("not_found", "image_in_use"),
    scope=PAINTS,
)
def delete(image_id: str) -> tuple[str, int]:
    """Delete one image with its files; doing it again changes nothing.

    Its job goes on listing it, with `deleted` true. An image that a job waits for stays until that has ended.
    """
    services().gallery.forget_image(image_id, caller().owner)
    return "", 204


@route(blueprint, "GET", "/<image:image_id>/content", returns=FILE_ANSWERS, errors=(*FILE_ERRORS, "held_for_review"))
def content(image_id: str) -> Response:
    """Get one image's bytes, whole or a range of them; If-None-Match is answered."""
    image = services().store.reviews.look(image_id, caller())
    withheld = image.review.withheld
    found = services().gallery.stream(image.key, review=withheld)
    return file_response(found, max_age_s=0 if withheld else YEAR_S, tag=image.sha256)
