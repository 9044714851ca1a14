"""Operations over HTTP: health, models, templates and the OpenAPI document."""

from contextlib import suppress
from typing import Any

from flask import Blueprint, Response, current_app
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from qwen_image_studio import __version__
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.service import Health, Liveness, ModelList, ModelView, TemplateList
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.models.table import find_model
from qwen_image_studio.prompts.templates import listed
from qwen_image_studio.web.auth import operates
from qwen_image_studio.web.health import can_work, health_now
from qwen_image_studio.web.operators import operator_view
from qwen_image_studio.web.present import model_views
from qwen_image_studio.web.routing import route, services

blueprint = Blueprint("ops", __name__)


class OpenApiDocument(BaseModel):
    """An OpenAPI 3.1 document."""


@route(blueprint, "GET", "/v1/health", needs_key=False)
def health() -> Health:
    """Tell how the server is, always with 200: a state in a word and in a sentence.

    To a key with the scope `operate` also what its devices, last failures and speeds are.
    """
    health = health_now(services().store, services().settings, services().common)
    if operates():
        with suppress(StudioError):  # the state says so already
            return health.model_copy(update={"operator": operator_view(services())})
    return health


blueprint.add_url_rule("/health", endpoint="health_of_others", view_func=health)  # where other servers have it


@route(blueprint, "GET", "/v1/health/live", needs_key=False)
def live() -> Liveness:
    """Tell that the web process answers, always with 200.

    For a probe that restarts the process where it does not answer; nothing else is looked at.
    """
    return Liveness(version=__version__)


@route(blueprint, "GET", "/v1/health/ready", returns={200: Health, 503: Health}, needs_key=False)
def ready() -> tuple[Health, int]:
    """Tell whether a job sent now can be stored and painted: 200 if it can, else 503.

    For a probe that decides where requests go.
    """
    health = health_now(services().store, services().settings, services().common)
    return health, 200 if can_work(health) else 503


@route(blueprint, "GET", "/v1/health/accepts", returns={200: Health, 503: Health}, needs_key=False)
def accepts() -> tuple[Health, int]:
    """Tell whether a job sent now can be stored, be it that no worker is up yet to paint it: 200 if it can, else 503.

    For a probe that decides where requests go, where workers come and go by themselves.
    """
    health = health_now(services().store, services().settings, services().common)
    return health, 503 if health.queued is None else 200


@route(blueprint, "GET", "/metrics", returns="text/plain", scope=Scope.OPERATE)
def metrics() -> Response:
    """Get numbers for Prometheus, which sends the key as a bearer token.

    With `STUDIO_METRICS_OPEN` no key is needed.
    """
    return Response(services().metrics.text(), content_type=CONTENT_TYPE_LATEST)


@route(blueprint, "GET", "/v1/models", guests=True)
def models() -> ModelList:
    """List the models with their operations, sizes and limits."""
    return ModelList(data=model_views(services().models.values()))


@route(blueprint, "GET", "/v1/models/<path:model_id>", errors=("not_found",), guests=True)
def model(model_id: str) -> ModelView:
    """Look at one model, by any name that a request may use for it."""
    try:
        found = find_model(model_id, services().models)
    except StudioError as error:
        message = f"There is no model '{model_id[:80]}' here; GET /v1/models lists those there are."
        raise StudioError("not_found", message) from error
    [view] = model_views([found])
    return view


@route(blueprint, "GET", "/v1/templates", guests=True)
def templates() -> TemplateList:
    """List the instruction templates with their slots."""
    return listed(services().settings.templates)


@route(blueprint, "GET", "/openapi.json", returns=OpenApiDocument, needs_key=False)
def openapi() -> dict[str, Any]:
    """Get this contract."""
    from qwen_image_studio.web.openapi import document  # with a library that nothing else here needs

    settings = services().settings
    return document(current_app, settings.address if settings.public_url else "/")
