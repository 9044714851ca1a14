"""Jobs over HTTP: submit, look, wait, follow, cancel, list."""

import time
from collections.abc import Iterator

from flask import Blueprint, Response, request, stream_with_context, url_for
from flask.typing import ResponseReturnValue

from qwen_image_studio.contract.answers import JobList, JobQuery, JobsQuery, JobView
from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.jobs import Job
from qwen_image_studio.web.auth import owner
from qwen_image_studio.web.files import archive_response
from qwen_image_studio.web.openapi import Facts, describe
from qwen_image_studio.web.present import job_list, job_view, tag_of
from qwen_image_studio.web.queries import read_query
from qwen_image_studio.web.services import services
from qwen_image_studio.web.submission import read_submission

blueprint = Blueprint("jobs", __name__, url_prefix="/v1/jobs")

PACE_S = 1.0
"""Mere progress is told at most this often; a change of state at once."""
KEEP_ALIVE_S = 15.0
CROWDED_RETRY_MS = 2000
_REFUSALS = (
    "malformed_body", "invalid_value", "unknown_parameter", "unknown_operation", "unknown_model",
    "unsupported_operation", "unsupported_image", "image_too_large", "image_not_found", "image_not_ready",
    "url_not_allowed", "url_not_fetched", "content_blocked", "idempotency_key_reused", "body_too_large",
    "unsupported_media_type", "queue_full", "database_busy", "storage_failed", "invalid_api_key",
)  # fmt: skip


@blueprint.post("")
@describe(
    Facts(
        takes_job=True,
        returns={202: JobView},
        errors=_REFUSALS,
        headers={"Idempotency-Key": "A request sent again with the same key gives the same job."},
    )
)
def submit() -> ResponseReturnValue:
    """Queue a job.

    Answers once the job is kept durably; the Location header names where to look for it.
    """
    job, created = services().intake.accept(read_submission(), Caller(owner()))
    headers = {"Location": url_for("jobs.show", job_id=job.id)}
    if not created:
        headers["Idempotent-Replayed"] = "true"
    return job_view(job).model_dump(mode="json"), 202, headers


@blueprint.get("")
@describe(Facts(query=JobsQuery, returns={200: JobList}, errors=("invalid_value", "not_found", "invalid_api_key")))
def index() -> ResponseReturnValue:
    """List the owner's jobs, newest first; or the rows of a batch, first row first."""
    query = read_query(JobsQuery)
    found, has_more = services().store.page(
        owner(),
        limit=query.limit,
        after=query.after,
        state=query.state,
        parent_id=query.parent_id,
        user=query.user,
    )
    return job_list(found, has_more).model_dump(mode="json")


@blueprint.get("/<job_id>")
@describe(Facts(query=JobQuery, returns={200: JobView}, errors=("invalid_value", "not_found", "invalid_api_key")))
def show(job_id: str) -> ResponseReturnValue:
    """Look at one job, waiting for news of it where asked to."""
    query = read_query(JobQuery)
    with services().changes.watching(job_id) as watch:
        job, view = _look(job_id)
        deadline = time.monotonic() + query.wait
        pace = min(deadline, time.monotonic() + PACE_S)
        seen, first = tag_of(job, view), view
        while not job.state.final and (left := deadline - time.monotonic()) > 0:
            news = watch.wait(seen, left)
            job, view = _look(job_id)
            if not news:
                break
            seen = tag_of(job, view)
            if view.state is not first.state or time.monotonic() >= pace:
                break
            deadline = pace  # there is news, but of progress only: gather more of it
        return view.model_dump(mode="json")


@blueprint.get("/<job_id>/events")
@describe(
    Facts(
        returns={200: "text/event-stream"},
        errors=("not_found", "invalid_api_key"),
        headers={"Last-Event-ID": "Sent by browsers that reconnect; the same state is not told twice."},
    )
)
def events(job_id: str) -> ResponseReturnValue:
    """Follow one job as server-sent events.

    Each event is named `job` and carries the whole JobView; the stream ends with the job. A client that reconnects
    after the end is answered 204, which tells browsers to stop.
    """
    last = request.headers.get("Last-Event-ID", "")
    job, view = _look(job_id)
    if job.state.final and last == _event_id(job, view):
        return "", 204
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(stream_with_context(_events(job_id, last)), mimetype="text/event-stream", headers=headers)


@blueprint.post("/<job_id>/cancel")
@describe(Facts(returns={200: JobView}, errors=("not_found", "job_finished", "invalid_api_key", "database_busy")))
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel a job: a queued one at once, a running one at its next step, a batch with all its rows.

    What rows have painted stays.
    """
    return job_view(services().store.cancel(job_id, owner())).model_dump(mode="json")


@blueprint.delete("/<job_id>")
@describe(
    Facts(
        returns={204: None},
        errors=("not_found", "job_not_ended", "image_in_use", "invalid_value", "invalid_api_key", "database_busy"),
    )
)
def delete(job_id: str) -> ResponseReturnValue:
    """Delete a job that has ended, with its images and files, and what was uploaded for it alone.

    A batch goes with all its rows, a single row not by itself. Afterwards there is no such job: a second time is 404.
    """
    services().gallery.forget_job(job_id, owner())
    return "", 204


@blueprint.get("/<job_id>/archive")
@describe(Facts(returns={200: "application/zip"}, errors=("not_found", "storage_failed", "invalid_api_key")))
def archive(job_id: str) -> ResponseReturnValue:
    """Get a job's images as one ZIP.

    That of a batch can be had at any time, with the rows that are done; rows.csv in it tells what became of each.
    """
    return archive_response(services().store.get(job_id, owner()))


def _look(job_id: str) -> tuple[Job, JobView]:
    job = services().store.get(job_id, owner())
    return job, job_view(job)


def _events(job_id: str, last: str) -> Iterator[str]:
    with services().changes.watching(job_id) as watch:
        while True:
            job, view = _look(job_id)
            if (event_id := _event_id(job, view)) != last:
                yield f"id: {event_id}\nevent: job\ndata: {view.model_dump_json()}\n\n"
                last = event_id
            if job.state.final:
                return
            if not watch.patient:  # give the thread back; browsers reconnect with Last-Event-ID
                yield f"retry: {CROWDED_RETRY_MS}\n\n"
                return
            if not watch.wait(tag_of(job, view), KEEP_ALIVE_S):
                yield ": still here\n\n"


def _event_id(job: Job, view: JobView) -> str:
    return f"{job.version}.{'' if view.queue_position is None else view.queue_position}"
