"""Images over HTTP: a record and its bytes, for the owner."""

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from server.schemas import ImageRecord
from server.web.auth import owner
from server.web.openapi import Facts, describe
from server.web.services import services
from server.web.views import image_record

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
