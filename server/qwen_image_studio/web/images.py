"""Images over HTTP: upload, list, look, history, bytes, delete; for their owner."""

from typing import NamedTuple

from flask import Blueprint, Response, request, url_for
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from qwen_image_studio.contract.answers import ImageRecord
from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.pictures import ImageChain, ImageList, ImagesQuery, UploadRequest
from qwen_image_studio.jobs.news import JOBS
from qwen_image_studio.recipe import MASK
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.files import FILE_ANSWERS, FILE_ERRORS, file_response
from qwen_image_studio.web.forms import check_names, read_uploads
from qwen_image_studio.web.guests import check_upload
from qwen_image_studio.web.jobs import PAINTS
from qwen_image_studio.web.pictures import image_chain, image_list
from qwen_image_studio.web.present import image_record
from qwen_image_studio.web.routing import Body, Form, read_idempotency_key, read_model, route, services

blueprint = Blueprint("images", __name__, url_prefix="/v1/images")

YEAR_S = 365 * 86400
"""Time for which browsers may keep an image, in seconds."""


class ImageId(BaseConverter):
    """The part of an address that is an image's id, rather than the name of one of OpenAI's routes beside it."""

    regex = r"(?!(?:generations|edits|variations)(?:/|$))[^/]+"


@blueprint.record_once
def _know_ids(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["image"] = ImageId


class Sent(NamedTuple):
    """An image that came by itself: its bytes or its URL, and the key under which it was sent."""

    image: bytes | str
    key: str | None


def _read_image() -> Sent:
    """Read the current request. Raises StudioError that names the parameter at fault."""
    key = read_idempotency_key()
    if request.mimetype == "application/json":
        return Sent(_read_url(), key)
    if request.mimetype != "multipart/form-data":
        raise StudioError("unsupported_media_type", "Send multipart/form-data with a file 'image', or JSON with a url.")
    check_names()
    uploads = read_uploads()
    if request.form or any(upload.param == MASK for upload in uploads):
        name = next(iter(request.form), MASK)[:60]
        raise StudioError("unknown_parameter", f"'{name}' is not a field of the form; send one 'image'.", param=name)
    if len(uploads) != 1:
        raise refusal("image", f"send one file as 'image'; there are {len(uploads)}")
    return Sent(uploads[0].data, key)


def _read_url() -> str:
    url = read_model(UploadRequest, "upload", '{"url": "https://..."}').url
    if "://" not in url:
        raise refusal("url", "send the http or https address of an image, or the image itself as a file")
    return url


@route(
    blueprint,
    "POST",
    "",
    body=Body(_read_image, UploadRequest, Form(files=("image",), only_files=True)),
    returns={201: ImageRecord},
    errors=(
        "unsupported_image", "image_too_large", "image_not_found", "url_not_allowed", "url_not_fetched",
        "content_blocked", "safety_unavailable", "idempotency_key_reused", "held_for_review", "quota_exceeded",
    ),
    guests=True,
    headers={"Idempotency-Key": "An image sent again with the same key is the same image."},
    scope=PAINTS,
)  # fmt: skip
def upload(body: Sent) -> tuple[ImageRecord, int, dict[str, str]]:
    """Send an image by itself, as a file or as a URL, for jobs that name it by its id.

    It is kept for a day (STUDIO_UPLOADS_HOURS), and longer where a job uses it; `expires_at` tells until when.
    """
    who = caller()
    if who.guest is not None:
        check_upload(who.guest, body.image)
    image, created = services().intake.take(body.image, who, who.own_key(body.key))
    services().store.bell.ring(JOBS, {image.id})
    headers = {"Location": url_for("images.show", image_id=image.id)}
    if not created:
        headers["Idempotent-Replayed"] = "true"
    return image_record(image, None), 201, headers


@route(blueprint, "GET", "", errors=("not_found",), guests=True)
def index(query: ImagesQuery) -> ImageList:
    """List the owner's images, newest first: what jobs made, rows of batches and contact sheets included, and uploads.

    Held images are listed for reviewers alone, who see scores and source besides; with `review`, operators find those
    of all owners.
    """
    return image_list(caller(), query)


@route(blueprint, "GET", "/<image:image_id>/chain", errors=("not_found", "held_for_review"), guests=True)
def chain(image_id: str) -> ImageChain:
    """Look at an image's history: what it was made from, and what was made from it, over all steps."""
    return image_chain(image_id, caller())


@route(blueprint, "GET", "/<image:image_id>", errors=("not_found", "held_for_review"), guests=True)
def show(image_id: str) -> ImageRecord:
    """Look at one image's record.

    That of a withheld image is for reviewers, whose links to it open for them alone, a quarter of an hour at most.
    """
    return image_record(*services().store.reviews.look(image_id, caller()))


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
    services().store.bell.ring(JOBS, {image_id})
    return "", 204


@route(
    blueprint,
    "GET",
    "/<image:image_id>/content",
    returns=FILE_ANSWERS,
    errors=(*FILE_ERRORS, "held_for_review"),
    guests=True,
)
def content(image_id: str) -> Response:
    """Get one image's bytes, whole or a range of them; If-None-Match is answered."""
    image, _ = services().store.reviews.look(image_id, caller())
    withheld = image.review.withheld
    found = services().gallery.stream(image.key, review=withheld)
    return file_response(found, max_age_s=0 if withheld else YEAR_S, tag=image.sha256)
