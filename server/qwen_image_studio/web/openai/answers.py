"""Answers to OpenAI's clients: the images of a job that they waited for, or events until then."""

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

from flask import Response, g, stream_with_context

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.fields import IDLE_STYLES
from qwen_image_studio.contract.openai import ImagesEvent, ImagesItem, ImagesResponse
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import OutputFormat, State, Tier
from qwen_image_studio.imaging.opening import read_header
from qwen_image_studio.jobs import Job, StoredImage
from qwen_image_studio.system.threads import LOOKS
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.openai.quality import TOLD
from qwen_image_studio.web.openai.reading import Asked
from qwen_image_studio.web.openai.requests import ImagesEditRequest, ImagesGenerateRequest
from qwen_image_studio.web.openai.usage import usage_of
from qwen_image_studio.web.present import pictures_of
from qwen_image_studio.web.routing import services
from qwen_image_studio.web.waiting import LOOK_S, Sees, Waiting, waiting_for

Kind = Literal["image_generation", "image_edit"]


def answered(kind: Kind, sent: Asked) -> ImagesResponse | Response:
    """Queue a request's job, wait for it, and return its images; or return a stream of what becomes of it.

    Raises what waiting raises.
    """
    call, stack = _Call(kind, sent), ExitStack()
    with stack:
        parts, sees = services(), Sees.PROGRESS if call.asked.stream else Sees.STATE
        place = waiting_for(sent.submission, caller(), parts.intake, parts.store, parts.changes, sees)
        waiting = stack.enter_context(place)
        if not call.asked.stream:
            return LOOKS.run(partial(_response, call, waiting.end()))
        events = stream_with_context(_events(call, waiting))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = Response(events, mimetype="text/event-stream", headers=headers)
        # The web server closes every response; a generator that was never started would not clean up by itself.
        response.call_on_close(stack.pop_all().close)
        return response


@dataclass(frozen=True)
class _Call:
    """A request and the kind of route that it came to."""

    kind: Kind
    sent: Asked

    @property
    def asked(self) -> ImagesGenerateRequest | ImagesEditRequest:
        """The request in OpenAI's terms."""
        return self.sent.request

    def warnings(self, job: Job, size: str) -> list[str]:
        """Return the job's warnings, and those about OpenAI's parameters without effect."""
        asked, warnings = self.asked, [*self.sent.ignored, *self.asked.reading, *job.warnings]
        if (name := asked.model_of_another) is not None:
            warnings.insert(0, f"model {name} is not on this server; {job.model or 'no model'} was taken instead.")
        if job.state is State.REVIEW:
            warnings.append(f"More images wait for a reviewer; GET /v1/jobs/{job.id} has them after that.")
        if asked.style in IDLE_STYLES:
            warnings.append(f"style {asked.style} has no effect; say it in the prompt.")
        if job.plan.get("mask") and asked.size not in {None, "auto", size}:
            warnings.append(f"size has no effect with a mask or region; the image keeps its {size}.")
        return warnings

    def revised(self, job: Job) -> str | None:
        """Return the painted prompt where it differs from the one that was sent, else None."""
        painted = job.similar_prompt or str(job.plan.get("prompt", ""))
        return painted if painted and painted != self.asked.prompt else None


def _response(call: _Call, job: Job) -> ImagesResponse:
    pictures = pictures_of(job)
    size = _size(pictures[0])
    return ImagesResponse(
        id=pictures[0].id,
        created=int(job.finished_at or job.created_at),
        data=[_item(call, job, picture) for picture in pictures],
        background=_background(job),
        output_format=_format(pictures[0]),
        quality=TOLD[Tier(job.tier)],
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


def _background(job: Job) -> Literal["opaque", "transparent"]:
    """Return which background was asked of the model; what else came of it is told in a warning."""
    return "transparent" if job.plan.get("background") == Background.TRANSPARENT else "opaque"


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
        yield from LOOKS.each(_sent(_completed(call, job, picture)) for picture in pictures_of(job))
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
        background=_background(job),
        output_format=_format(picture),
        quality=TOLD[Tier(job.tier)],
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
            quality=TOLD[Tier(job.tier)],
            size=f"{header.width}x{header.height}",
            partial_image_index=self._sent - 1,
            job_id=job.id,
        )
