"""Images over HTTP: a record and its bytes, for the owner."""

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from qwen_image_studio.contract.answers import ImageRecord
from qwen_image_studio.web.auth import owner
from qwen_image_studio.web.openapi import Facts, describe
from qwen_image_studio.web.present import image_record
from qwen_image_studio.web.services import services

blueprint = Blueprint("images", __name__, url_prefix="/v1/images")


@blueprint.get("/<image_id>")
@describe(Facts(returns={200: ImageRecord}, errors=("not_found", "invalid_api_key")))
def show(image_id: str) -> ResponseReturnValue:
    """Look at one image's record."""
    return image_record(services().store.image(image_id, owner())).model_dump(mode="json")


@blueprint.get("/<image_id>/content")
@describe(Facts(returns={200: "image/*"}, errors=("not_found", "invalid_api_key")))
def content(image_id: str) -> ResponseReturnValue:
    """Get one image's bytes."""
    image = services().store.image(image_id, owner())
    response = Response(services().storage.open(image.key), mimetype=image.mime_type)
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    response.set_etag(image.sha256)
    return response
