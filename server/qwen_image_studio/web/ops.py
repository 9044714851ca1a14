"""How the server is, what it can do, and its contract."""

import time

from flask import Blueprint, current_app
from flask.typing import ResponseReturnValue
from pydantic import BaseModel

from qwen_image_studio import __version__
from qwen_image_studio.contract.answers import Health, HealthState, ModelList, TemplateList, WorkerView
from qwen_image_studio.contract.words import LIGHT_DEVICE
from qwen_image_studio.jobs import Worker
from qwen_image_studio.prompts.templates import listed
from qwen_image_studio.web.openapi import Facts, describe, document
from qwen_image_studio.web.present import model_view
from qwen_image_studio.web.services import services

blueprint = Blueprint("ops", __name__)

SILENT_S = 15.0
"""A worker that says nothing for so long counts as lost."""
FORGOTTEN_S = 120.0


class OpenApiDocument(BaseModel):
    """An OpenAPI 3.1 document."""


@blueprint.get("/v1/health")
@describe(Facts(returns={200: Health}))
def health() -> ResponseReturnValue:
    """Tell how the server is, always with 200: a state in a word and in a sentence."""
    store = services().store
    workers = [_worker_view(worker) for worker in store.workers() if time.time() - worker.seen_at < FORGOTTEN_S]
    queued, running = store.counts()
    state, message = _judge(workers, queued)
    answer = Health(version=__version__, state=state, message=message, queued=queued, running=running, workers=workers)
    return answer.model_dump(mode="json")


@blueprint.get("/v1/models")
@describe(Facts(returns={200: ModelList}, errors=("invalid_api_key",)))
def models() -> ResponseReturnValue:
    """List the models with their operations, sizes and limits."""
    loaded = {worker.model for worker in services().store.workers() if time.time() - worker.seen_at < SILENT_S}
    rows = [model_view(model, loaded=model.name in loaded) for model in services().models.values()]
    return ModelList(data=rows).model_dump(mode="json")


@blueprint.get("/v1/templates")
@describe(Facts(returns={200: TemplateList}, errors=("invalid_api_key",)))
def templates() -> ResponseReturnValue:
    """List the instruction templates with their slots."""
    return listed(services().settings.templates).model_dump(mode="json")


@blueprint.get("/openapi.json")
@describe(Facts(returns={200: OpenApiDocument}))
def openapi() -> ResponseReturnValue:
    """Get this contract."""
    return document(current_app)


def _worker_view(worker: Worker) -> WorkerView:
    lost = time.time() - worker.seen_at > SILENT_S
    message = "The worker has not been heard of; it is being restarted." if lost else worker.message
    return WorkerView.model_validate(
        {
            "device": worker.device,
            "state": "lost" if lost else worker.state,
            "model": worker.model,
            "message": message,
        }
    )


def _judge(workers: list[WorkerView], queued: int) -> tuple[HealthState, str]:
    light = [worker for worker in workers if worker.device == LIGHT_DEVICE]
    workers = [worker for worker in workers if worker.device != LIGHT_DEVICE]
    states = {worker.state for worker in workers}
    messages = "; ".join(f"{worker.device}: {worker.message}" for worker in workers if worker.message)
    if not workers:
        return HealthState.STARTING, "No worker has started yet."
    if states <= {"failed", "lost"}:
        return HealthState.FAILED, messages or "No worker can paint; 'qwen-image-studio doctor' tells why."
    if not states & {"ready", "busy"}:
        return HealthState.STARTING, messages or "The worker is starting."
    if states & {"failed", "lost"}:
        return HealthState.DEGRADED, messages
    if light and light[0].state in {"failed", "lost"}:
        return HealthState.DEGRADED, f"Adjustments wait: {light[0].message or 'their worker is gone'}"
    if states == {"busy"}:
        return HealthState.BUSY, f"Painting; {queued} jobs wait."
    return HealthState.READY, "Ready to paint."
