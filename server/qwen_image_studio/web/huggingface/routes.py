"""Hugging Face's Inference API for pictures: each request waits for an ordinary job, and is answered with its bytes.

Its clients know no jobs. So where the wait is too long, the answer says when to come back, and the job's picture is
promised to whoever sends the same request again.
"""

import math
import zlib
from functools import partial

from flask import Blueprint, Flask, Response, g, request

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.huggingface import InferenceRequest
from qwen_image_studio.contract.service import ModelView
from qwen_image_studio.jobs import Job
from qwen_image_studio.recipe import MASK
from qwen_image_studio.system.threads import INTAKE, LOOKS
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.call_log import submitted
from qwen_image_studio.web.forms import IMAGE_FIELDS
from qwen_image_studio.web.health import can_work, health_now
from qwen_image_studio.web.huggingface.errors import PREFIX, SECOND_PREFIX
from qwen_image_studio.web.huggingface.reading import Inference, read_inference
from qwen_image_studio.web.huggingface.requests import model_at
from qwen_image_studio.web.jobs import PAINTS, SUBMIT_ERRORS
from qwen_image_studio.web.present import job_view, model_views, pictures_of
from qwen_image_studio.web.routing import Body, Form, route, services
from qwen_image_studio.web.waiters import Waiter
from qwen_image_studio.web.waiting import Sees, Waiting

blueprint = Blueprint("huggingface", __name__, url_prefix=PREFIX)

UNKNOWN_S = 20.0
"""Seconds of work on a picture where none was measured yet."""
_ERRORS = (
    *SUBMIT_ERRORS,
    "not_found", "model_loading", "job_finished", "rejected",
    "worker_lost", "engine_timeout", "engine_failed", "out_of_memory", "model_unavailable", "signing_failed",
)  # fmt: skip
_HEADERS = {
    "X-Wait-For-Model": "true: wait for up to 590 seconds.",
    "X-Use-Cache": "false: paint anew, even what was painted before.",
    "Idempotency-Key": "A request sent again with the same key gives the same picture.",
}
_MOST_WARNINGS = 10
"""Number of warnings that an answer's headers tell."""
_WARNING_CHARS = 300
"""Longest warning there, since proxies limit the headers of an answer to a few kilobytes."""


def register(app: Flask) -> None:
    """Add the routes to an application, below both of their prefixes."""
    app.register_blueprint(blueprint)
    app.register_blueprint(blueprint, name="hf_inference", url_prefix=SECOND_PREFIX)


@route(
    blueprint,
    "POST",
    "/<path:model>",
    body=Body(
        read_inference,
        InferenceRequest,
        Form(files=(*IMAGE_FIELDS, MASK), max_parts=60, is_open=True),
        max_json=None,
        of_any_type=True,
    ),
    returns={200: "image/*"},
    errors=_ERRORS,
    scope=PAINTS,
    submits=True,
    headers=_HEADERS,
    bad_request=400,
    waits=True,
)
def infer(model: str, body: Inference) -> Response:
    """Paint, or change a picture, as Hugging Face's clients ask for it, and wait for the bytes.

    The model is named as on the Hub, such as Qwen/Qwen-Image, or as in /v1/models. X-Job-Id, X-Image-Id and X-Seed name
    what was made; each X-HF-Warning is a warning of the job. A wait that is too long (STUDIO_HF_WAIT_S) ends with 503
    and `estimated_time`, while the job goes on; the same request, sent again, gets its picture.
    """
    who, parts = caller(), services()
    g.submission = body.submission
    left = None if body.has_key else parts.waiters.succeed(who.owner, who.key, body.fingerprint)
    job = INTAKE.run(partial(_job, body, left))
    submitted(job)
    connection = None if body.has_key else request.environ.get("gunicorn.socket")
    waiter = Waiter(who.owner, who.key, body.fingerprint, job.id, connection)
    parts.waiters.add(waiter)
    try:
        with parts.changes.watching(job.id, sees=Sees.STATE) as watch:
            ended = Waiting(job.id, who.owner, parts.store, watch, body.wait_s).end()
            return LOOKS.run(partial(_answer, ended))
    except StudioError as error:
        if error.code not in {"still_working", "held_for_review"}:
            raise
        if parts.waiters.remove(waiter):
            INTAKE.run(partial(parts.store.promises.make, job))
        if error.code == "held_for_review":
            raise
        raise LOOKS.run(partial(_come_back, job.id)) from error
    finally:
        parts.waiters.remove(waiter)


@route(blueprint, "GET", "/<path:model>", errors=("not_found", "model_loading"))
def look(model: str) -> ModelView:
    """Look at a model, as Hugging Face's clients do at `/info` below its address; `/health` tells whether it can paint.

    That is 200 if a job sent now can be painted, else 503.
    """
    name, _, what = model.strip("/").rpartition("/")
    [view] = model_views([model_at(name if what in {"info", "health"} else model.strip("/"), services().models)])
    if what == "health" and not can_work(health_now(services().store, services().settings, services().common)):
        raise StudioError("model_loading", f"Model {view.id} is currently loading: no worker is ready to paint yet.")
    return view


def _job(body: Inference, left: str | None) -> Job:
    """Return the job that an earlier caller with the same request has `left`, or could not wait for; else a new one."""
    who, parts = caller(), services()
    if left is not None:
        return parts.store.jobs.get(left, who.owner)
    promised = None if body.has_key else parts.store.promises.take(who.owner, who.key, body.fingerprint)
    return promised or parts.intake.accept(body.submission, who)[0]


# -- answering -----------------------------------------------------------------------------------------------------


def _answer(job: Job) -> Response:
    picture = pictures_of(job)[0]
    response = Response(services().gallery.open(picture.key), mimetype=picture.mime_type)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Job-Id"], response.headers["X-Image-Id"] = job.id, picture.id
    if picture.seed is not None:
        response.headers["X-Seed"] = str(picture.seed)
    for warning in job.warnings[:_MOST_WARNINGS]:
        response.headers.add("X-HF-Warning", _as_header(warning))
    return response


def _as_header(warning: str) -> str:
    """Return a warning as the client logs it, once for each topic: so each sentence is a topic."""
    text = " ".join(warning.split()).encode("ascii", "backslashreplace").decode()
    return f"{zlib.crc32(text.encode()):08x}; {text[:_WARNING_CHARS]}"


def _come_back(job_id: str) -> StudioError:
    """Return the error that says when to send the same request again."""
    job = services().store.jobs.get(job_id)
    view = job_view(job)
    each_s = services().speeds.now().get((job.model, job.tier, job.operation), UNKNOWN_S)
    own_s = each_s if view.progress.eta_s is None else view.progress.eta_s
    seconds = max(1, math.ceil(((view.queue_position or 1) - 1) * each_s + own_s))
    name = job.model or "cv"
    message = f"Model {name} is currently loading or busy: job {job_id} goes on. Send the same request again; it gets "
    return StudioError("model_loading", f"{message}that picture.", retry_after=seconds)
