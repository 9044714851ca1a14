"""OpenAI's images API: each request waits for an ordinary job; only names and shapes are OpenAI's.

Azure's clients look for the same routes below a deployment, whose name is the model where the request names none.
"""

from collections.abc import Mapping
from functools import partial

from flask import Blueprint, Flask, Response

from qwen_image_studio.contract.openai import ImagesEvent, ImagesResponse
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.recipe import MASK
from qwen_image_studio.web.forms import IMAGE_FIELDS
from qwen_image_studio.web.jobs import SUBMIT_ERRORS
from qwen_image_studio.web.openai.answers import answered
from qwen_image_studio.web.openai.forms import MAX_PARTS
from qwen_image_studio.web.openai.reading import DEPLOYMENT, Asked, read_edit, read_generation, read_variation
from qwen_image_studio.web.openai.requests import ImagesEditRequest, ImagesGenerateRequest, ImagesVariationRequest
from qwen_image_studio.web.routing import Body, Form, route

blueprint = Blueprint("openai", __name__, url_prefix="/v1/images")
azure = Blueprint("azure", __name__)
AZURE_BASES: Mapping[str, str] = {"azure": "/openai", "azure_v1": "/v1", "azure_own": ""}
"""Addresses below which Azure's clients look for deployments, by the blueprint's name: theirs, and below a base URL of
this server's.
"""
_ERRORS = (
    *SUBMIT_ERRORS,
    "job_finished", "not_found", "still_working", "rejected",
    "worker_lost", "engine_timeout", "engine_failed", "out_of_memory", "model_unavailable", "signing_failed",
)  # fmt: skip
BAD_REQUEST = 400
"""Status of an answer to a request whose values cannot be used."""
LIMITED = 429
"""Status of an answer to a key whose limit is reached, and to all where the queue is full."""
PATIENCE_S = 60
"""Longest pause that all of OpenAI's clients make; instead of a longer one they try at once, again and again."""
EDIT_FORM = Form(files=(*IMAGE_FIELDS, MASK), max_parts=MAX_PARTS, as_text=True, is_open=True)
"""The form of an edit, in which every parameter is a part of its own."""
_painting = partial(
    route,
    blueprint,
    "POST",
    streams=ImagesEvent,
    returns=ImagesResponse,
    errors=_ERRORS,
    submits=True,
    headers={"Idempotency-Key": "A request sent again with the same key gives the same images."},
    null_is_left_out=True,
    bad_request=BAD_REQUEST,
    waits=True,
)
"""Declares what all these routes have in common."""


@_painting("/generations", body=Body(read_generation, ImagesGenerateRequest, max_json=None), scope=Scope.GENERATE)
def generate(body: Asked, deployment: str | None = None) -> ImagesResponse | Response:
    """Generate images as OpenAI's clients ask for it, and wait for them.

    With `stream` the answer is text/event-stream of `image_generation.partial_image` and `image_generation.completed`.
    A caller that goes away does not end the job. After 590 seconds the answer is 504 and names the job.
    """
    return answered("image_generation", body)


@_painting("/edits", body=Body(read_edit, ImagesEditRequest, EDIT_FORM, max_json=None), scope=Scope.EDIT)
def edit(body: Asked, deployment: str | None = None) -> ImagesResponse | Response:
    """Edit images as OpenAI's clients ask for it, and wait for them.

    With a mask, a file with alpha 0 where the first image may change, nothing else of it changes. As JSON, images are
    ids and URLs. With `stream` the answer is text/event-stream of `image_edit.partial_image` and
    `image_edit.completed`. A caller that goes away does not end the job. After 590 seconds the answer is 504 and names
    the job.
    """
    return answered("image_edit", body)


@_painting("/variations", body=Body(read_variation, ImagesVariationRequest, EDIT_FORM, max_json=None), scope=Scope.EDIT)
def variation(body: Asked) -> ImagesResponse | Response:
    """Paint images like one that is sent, as OpenAI's clients ask for it, and wait for them.

    It is an edit with a fixed instruction; with a prompt, one by that.
    """
    return answered("image_edit", body)


for _path, _view in (("generations", generate), ("edits", edit)):
    azure.add_url_rule(
        f"/deployments/<path:{DEPLOYMENT}>/images/{_path}", endpoint=_path, view_func=_view, methods=["POST"]
    )


def register(app: Flask) -> None:
    """Add the routes to an application."""
    app.register_blueprint(blueprint)
    for name, base in AZURE_BASES.items():
        app.register_blueprint(azure, name=name, url_prefix=base or None)


@blueprint.after_request
@azure.after_request
def _no_second_try(response: Response) -> Response:
    """Tell OpenAI's clients not to try again: they would after any 409, 429 and 500, and fail in the same way.

    A limit that ends sooner than they would give up is worth their wait.
    """
    if response.status_code in {409, 500} or _wait_s(response) > PATIENCE_S:
        response.headers["X-Should-Retry"] = "false"
    return response


def _wait_s(response: Response) -> int:
    """Return the seconds after which a limit of the key ends; 0 where it is none."""
    return int(response.headers.get("Retry-After", 0)) if response.status_code == LIMITED else 0
