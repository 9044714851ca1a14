"""OpenAI's images API: each request waits for an ordinary job; only names and shapes are OpenAI's."""

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

from flask import Blueprint, Response, g, stream_with_context

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.openai import ImagesEvent, ImagesItem, ImagesResponse
from qwen_image_studio.contract.words import OutputFormat, Scope, State
from qwen_image_studio.imaging.opening import read_header
from qwen_image_studio.jobs import Job, StoredImage
from qwen_image_studio.jobs.held import held_for_review
from qwen_image_studio.recipe import MASK, Submission
from qwen_image_studio.system.threads import LOOKS
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.forms import IMAGE_FIELDS
from qwen_image_studio.web.jobs import SUBMIT_ERRORS
from qwen_image_studio.web.openai.reading import Asked, read_edit, read_generation
from qwen_image_studio.web.openai.requests import LESSER, ImagesEditRequest, ImagesGenerateRequest
from qwen_image_studio.web.openai.usage import usage_of
from qwen_image_studio.web.routing import Body, Form, route, services
from qwen_image_studio.web.waiting import LOOK_S, Sees, Waiting, waiting_for

blueprint = Blueprint("openai", __name__, url_prefix="/v1/images")

Kind = Literal["image_generation", "image_edit"]
_ERRORS = (
    *SUBMIT_ERRORS,
    "job_finished", "not_found", "still_working", "rejected",
    "worker_lost", "engine_timeout", "engine_failed", "out_of_memory", "model_unavailable",
)  # fmt: skip
BAD_REQUEST = 400
"""Status of an answer to a request whose values cannot be used."""
EDIT_FORM = Form(files=(*IMAGE_FIELDS, MASK), max_parts=60)  # every parameter is a part of its own
_HEADERS = {"Idempotency-Key": "A request sent again with the same key gives the same images."}


@route(
    blueprint,
    "POST",
    "/generations",
    body=Body(read_generation, ImagesGenerateRequest, max_json=None),
    streams=ImagesEvent,
    returns=ImagesResponse,
    errors=_ERRORS,
    submits=True,
    scope=Scope.GENERATE,
    headers=_HEADERS,
    null_is_left_out=True,
    bad_request=BAD_REQUEST,
    waits=True,
)
def generate(body: Asked) -> ImagesResponse | Response:
    """Generate images as OpenAI's clients ask for it, and wait for them.

    With `stream` the answer is text/event-stream of `image_generation.partial_image` and `image_generation.completed`.
    A caller that goes away does not end the job. After 590 seconds the answer is 504 and names the job.
    """
    return _answered(_Call("image_generation", body.request), body.submission)


@route(
    blueprint,
    "POST",
    "/edits",
    body=Body(read_edit, ImagesEditRequest, EDIT_FORM, max_json=None),
    streams=ImagesEvent,
    returns=ImagesResponse,
    errors=_ERRORS,
    submits=True,
    scope=Scope.EDIT,
    headers=_HEADERS,
    null_is_left_out=True,
    bad_request=BAD_REQUEST,
    waits=True,
)
def edit(body: Asked) -> ImagesResponse | Response:
    """Edit images as OpenAI's clients ask for it, and wait for them.

    With a mask, a file with alpha 0 where the first image may change, nothing else of it changes. As JSON, images are
    ids and URLs. With `stream` the answer is text/event-stream of `image_edit.partial_image` and
    `image_edit.completed`. A caller that goes away does not end the job. After 590 seconds the answer is 504 and names
    the job.
    """
    return _answered(_Call("image_edit", body.request), body.submission)


@blueprint.after_request
def _no_second_try(response: Response) -> Response:
    """Tell OpenAI's clients not to try again: they would after any 409 and 500, and fail in the same way."""
    if response.status_code in {409, 500}:
        response.headers["X-Should-Retry"] = "false"
    return response


# -- answering -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Call:
    """A request and the kind of route that it came to."""

    kind: Kind
    asked: ImagesGenerateRequest | ImagesEditRequest

    def warnings(self, job: Job, size: str) -> list[str]:
        """Return the job's warnings, and those about OpenAI's parameters without effect."""
        asked, warnings = self.asked, [*self.asked.reading, *job.warnings]
        if (name := asked.model_of_another) is not None:
            warnings.insert(0, f"model {name} is not on this server; {job.model or 'no model'} was taken instead.")
        if asked.quality in LESSER:
            warnings.append(
                f"quality {asked.quality} was painted as high; steps says how much work goes into an image."
            )
        if job.state is State.REVIEW:
            warnings.append(f"More images wait for a reviewer; GET /v1/jobs/{job.id} has them after that.")
        if isinstance(asked, ImagesGenerateRequest) and asked.style is not None:
            warnings.append("style has no effect; say it in the prompt.")
        if job.plan.get("mask") and asked.size not in {None, "auto", size}:
            warnings.append(f"size has no effect with a mask or region; the image keeps its {size}.")
        return warnings

    def revised(self, job: Job) -> str | None:
        """Return the painted prompt where it differs from the one that was sent, else None."""
        painted = str(job.plan.get("prompt", ""))
        return painted if painted and painted != self.asked.prompt else None


def _answered(call: _Call, submission: Submission) -> ImagesResponse | Response:
    stack = ExitStack()
    with stack:
        parts, sees = services(), Sees.PROGRESS if call.asked.stream else Sees.STATE
        place = waiting_for(submission, caller(), parts.intake, parts.store, parts.changes, sees)
        waiting = stack.enter_context(place)
        if not call.asked.stream:
            return LOOKS.run(partial(_response, call, waiting.end()))
        events = stream_with_context(_events(call, waiting))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = Response(events, mimetype="text/event-stream", headers=headers)
        # The web server closes every response; a generator that was never started would not clean up by itself.
        response.call_on_close(stack.pop_all().close)
        return response


def _response(call: _Call, job: Job) -> ImagesResponse:
    pictures = _pictures(job)
    size = _size(pictures[0])
    return ImagesResponse(
        created=int(job.finished_at or job.created_at),
        data=[_item(call, job, picture) for picture in pictures],
        output_format=_format(pictures[0]),
        size=size,
        usage=usage_of(job, _inputs(job), pictures, call.asked.prompt),
        job_id=job.id,
        model=job.model,
        warnings=call.warnings(job, size),
    )


def _item(call: _Call, job: Job, picture: StoredImage) -> ImagesItem:
    gallery, asked = services().gallery, call.asked
    return ImagesItem(
        url=gallery.link(picture.key) if asked.has_link else None,
        b64_json=_base64(gallery.open(picture.key)) if asked.has_bytes else None,
        revised_prompt=call.revised(job),
        id=picture.id,
        seed=picture.seed,
    )


def _pictures(job: Job) -> list[StoredImage]:
    """Return the images of a job that may be given out. Raises StudioError where there is none."""
    made = services().store.images.of_jobs([job.id]).get(job.id, ())
    if pictures := [each for each in made if not each.review.withheld]:
        return pictures
    if made:
        raise held_for_review("what you asked for", job.id)
    raise StudioError("not_found", f"The images of job {job.id} are not there any more.")


def _inputs(job: Job) -> list[StoredImage]:
    """Return the images that a job started from, without those that were deleted since."""
    found = []
    for image_id in job.inputs:
        with suppress(StudioError):
            found.append(services().store.images.get(image_id, job.owner))
    return found


def _size(picture: StoredImage) -> str:
    return f"{picture.width}x{picture.height}"


def _format(picture: StoredImage) -> OutputFormat:
    return OutputFormat(picture.mime_type.removeprefix("image/"))


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


# -- streaming -----------------------------------------------------------------------------------------------------


def _events(call: _Call, waiting: Waiting) -> Iterator[str]:
    partials, spoken = _Partials(call), time.monotonic()
    try:
        for job in waiting.states():
            if (event := LOOKS.run(partial(partials.due, job))) is not None:
                yield _sent(event)
                spoken = time.monotonic()
            elif time.monotonic() - spoken >= LOOK_S:
                yield ": still here\n\n"
                spoken = time.monotonic()
        yield from LOOKS.each(_sent(_completed(call, job, picture)) for picture in _pictures(job))
    except StudioError as error:
        yield f"event: error\ndata: {json.dumps(error.body(g.request_id), ensure_ascii=False)}\n\n"


def _sent(event: ImagesEvent) -> str:
    return f"event: {event.type}\ndata: {event.model_dump_json(exclude_none=True)}\n\n"


def _completed(call: _Call, job: Job, picture: StoredImage) -> ImagesEvent:
    size = _size(picture)
    return ImagesEvent(
        type=f"{call.kind}.completed",
        b64_json=_base64(services().gallery.open(picture.key)),
        created_at=int(job.finished_at or job.created_at),
        output_format=_format(picture),
        size=size,
        job_id=job.id,
        id=picture.id,
        usage=usage_of(job, _inputs(job), [picture], call.asked.prompt),
        url=services().gallery.link(picture.key),
        revised_prompt=call.revised(job),
        seed=picture.seed,
        warnings=call.warnings(job, size),
    )


class _Partials:
    """The partial images of a stream: as many previews of a job as were asked for, spread over its steps."""

    def __init__(self, call: _Call) -> None:
        self._call, self._sent = call, 0
        self._last = b""

    def due(self, job: Job) -> ImagesEvent | None:
        """Return the next partial image, or None while the job is not far enough or has no new preview."""
        now, wanted = job.progress, self._call.asked.partial_images
        if now.preview_key is None or self._sent >= wanted or now.step * (wanted + 1) < now.steps * (self._sent + 1):
            return None
        try:
            data = services().gallery.open(now.preview_key)
        except StudioError:  # deleted when the job ended
            return None
        if data == self._last or (header := read_header(data)) is None:
            return None
        self._last, self._sent = data, self._sent + 1
        return ImagesEvent(
            type=f"{self._call.kind}.partial_image",
            b64_json=_base64(data),
            created_at=int(time.time()),
            output_format=OutputFormat.WEBP,
            size=f"{header.width}x{header.height}",
            partial_image_index=self._sent - 1,
            job_id=job.id,
        )
