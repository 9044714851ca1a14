"""Images over HTTP: a record and its bytes, for the owner."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from qwen_image_studio.contract.answers import ImageRecord
from qwen_image_studio.web.auth import owner
from qwen_image_studio.web.files import FILE_ANSWERS, FILE_ERRORS, file_response
from qwen_image_studio.web.openapi import Facts, describe
from qwen_image_studio.web.present import image_record
from qwen_image_studio.web.services import services

blueprint = Blueprint("images", __name__, url_prefix="/v1/images")

YEAR_S = 365 * 86400


@blueprint.get("/<image_id>")
@describe(Facts(returns={200: ImageRecord}, errors=("not_found", "invalid_api_key")))
def show(image_id: str) -> ResponseReturnValue:
    """Look at one image's record."""
    return image_record(services().store.image(image_id, owner())).model_dump(mode="json")


@blueprint.delete("/<image_id>")
@describe(Facts(returns={204: None}, errors=("not_found", "image_in_use", "invalid_api_key", "database_busy")))
def delete(image_id: str) -> ResponseReturnValue:
    """Delete one image with its files; doing it again changes nothing.

    Its job goes on listing it, with `deleted` true. An image that a job waits for stays until that has ended.
    """
    services().gallery.forget_image(image_id, owner())
    return "", 204


@blueprint.get("/<image_id>/content")
@describe(Facts(returns=FILE_ANSWERS, errors=(*FILE_ERRORS, "invalid_api_key")))
def content(image_id: str) -> ResponseReturnValue:
    """Get one image's bytes, whole or a range of them; If-None-Match is answered."""
    image = services().store.image(image_id, owner())
    return file_response(services().gallery.stream(image.key), max_age_s=YEAR_S, tag=image.sha256)
