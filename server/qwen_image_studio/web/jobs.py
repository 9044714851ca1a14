"""Jobs over HTTP: submit, look, wait, follow, cancel, list, delete."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from flask import Blueprint, Response, g, request, stream_with_context, url_for
from pydantic import RootModel

from qwen_image_studio.contract.answers import JobList, JobQuery, JobsQuery, JobView
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.layers import ARCHIVE_TYPES, ArchiveQuery
from qwen_image_studio.contract.words import MAX_INPUTS, MAX_JSON_BYTES, Scope, State
from qwen_image_studio.jobs import Job, Submitted, Tag
from qwen_image_studio.operations import JobRequest
from qwen_image_studio.operations.request import validated
from qwen_image_studio.prompts.table import read_file
from qwen_image_studio.recipe import MASK, Submission, Upload
from qwen_image_studio.system.threads import LOOKS
from qwen_image_studio.web.auth import Admission, caller
from qwen_image_studio.web.bodies import read_json
from qwen_image_studio.web.call_log import submitted
from qwen_image_studio.web.files import archive_response
from qwen_image_studio.web.forms import IMAGE_FIELDS, check_names, is_image, read_uploads
from qwen_image_studio.web.guests import for_caller
from qwen_image_studio.web.present import job_list, job_view, tag_of
from qwen_image_studio.web.routing import Body, Form, read_idempotency_key, route, services

blueprint = Blueprint("jobs", __name__, url_prefix="/v1/jobs")

PACE_S = 1.0
"""Least time between two answers about mere progress, in seconds; a change of state is told at once."""
REVIEW_WAIT_S = 2.0
"""Longest wait for a job that waits for a person; whoever goes on asking does not do so in a tight loop."""
KEEP_ALIVE_S = 15.0
"""Time after which a silent event stream sends a sign of life, in seconds."""
SUBMIT_ERRORS = (
    "unknown_model", "unsupported_operation", "unsupported_image", "image_too_large", "image_not_found",
    "image_not_ready", "held_for_review", "url_not_allowed", "url_not_fetched", "content_blocked", "safety_unavailable",
    "idempotency_key_reused", "queue_full", "unknown_style", "unknown_lora",
)  # fmt: skip
"""Codes of errors that refuse a job once its request has been read."""
PAINTS = (Scope.GENERATE, Scope.EDIT)
"""Scopes of which one is needed to make something; which, is decided by the operation."""
_FILES = (*IMAGE_FIELDS, MASK, "rows")
MAX_TABLE_BYTES = 2_000_000
"""Largest file of rows as it is sent, in bytes; UTF-16 takes up to twice as many as the UTF-8 it is kept in."""


class JobBody(RootModel[JobRequest]):
    """The parameters of one job; its operation decides which ones there are."""


def _read_submission() -> Submission:
    """Read the current request. Raises StudioError that names the parameter at fault."""
    if request.mimetype == "multipart/form-data":
        body, uploads, warnings = _read_form()
    elif request.mimetype == "application/json":
        body, uploads, warnings = read_json(request.get_data(cache=False)), [], ()
    else:
        raise StudioError(
            "unsupported_media_type", "Send application/json, or multipart/form-data with a 'params' field of JSON."
        )
    return Submission(validated(body), uploads, read_idempotency_key(), warnings)


def _read_form() -> tuple[dict[str, Any], list[Upload], Sequence[str]]:
    """Return the parameters, the files, and the warnings about how they were read."""
    check_names()
    text = next((name for name in request.form if name == MASK or is_image(name)), None)
    if text is not None and any(request.form.getlist(text)):
        message = f"{text}: this field of the form takes a file; put the id or URL of an image into 'params'."
        raise StudioError("invalid_value", message, param=text)
    unknown = [name for name in request.form if name not in {"params", "rows", text}]
    if unknown:
        raise StudioError(
            "unknown_parameter",
            f"'{unknown[0][:60]}' is not a field of the form; send 'params' (JSON), and files as 'image', 'mask' "
            "and, for a batch, 'rows'.",
            param=unknown[0][:60],
        )
    uploads = read_uploads(others=("rows",))
    body = read_json(request.form.get("params", "{}").encode("utf-8", "surrogatepass"))
    rows, warnings = _read_rows(body)
    return {**body, **rows}, uploads, warnings


def _read_rows(body: Mapping[str, Any]) -> tuple[dict[str, str], Sequence[str]]:
    """Return the table of a batch as the parameter `rows`, where it is a field of the form: a file, or text."""
    files = [(file.filename, file.read()) for file in request.files.getlist("rows")]
    sent = [data for filename, data in files if filename or data]
    sent += [text.encode("utf-8", "surrogatepass") for text in request.form.getlist("rows")]
    if not sent:
        return {}, ()
    if len(sent) > 1 or "rows" in body:
        raise StudioError("invalid_value", "rows: send one table, as a file or within 'params'.", param="rows")
    if len(sent[0]) <= MAX_TABLE_BYTES:
        table = read_file(sent[0])
        if len(table.text.encode()) <= MAX_JSON_BYTES:
            return {"rows": table.text}, table.warnings
    most = f"{MAX_JSON_BYTES // 1000} kB as UTF-8"
    message = f"rows: the table has more than {most}; send it as several batches."
    raise StudioError("body_too_large", message, param="rows")


@route(
    blueprint,
    "POST",
    "",
    body=Body(_read_submission, JobBody, Form(files=_FILES, max_files=MAX_INPUTS, params="params")),
    returns={202: JobView},
    errors=("unknown_operation", "too_many_styles", *SUBMIT_ERRORS),
    guests=True,
    scope=PAINTS,
    submits=True,
    headers={"Idempotency-Key": "A request sent again with the same key gives the same job."},
)
def submit(body: Submission) -> tuple[JobView, int, dict[str, str]]:
    """Queue a job.

    Answers once the job is kept durably; the Location header names where to look for it.
    """
    g.submission = body = for_caller(body)
    job, how = services().intake.accept(body, caller())
    submitted(job)
    headers = {"Location": url_for("jobs.show", job_id=job.id)}
    if how is Submitted.REPLAYED:
        headers["Idempotent-Replayed"] = "true"
    view = job_view(job)
    if warning := services().offered.warning(job):  # said now, and not kept with the job
        view = view.model_copy(update={"warnings": [*view.warnings, warning]})
    return view, 202, headers


@route(blueprint, "GET", "", errors=("not_found",), guests=True)
def index(query: JobsQuery) -> JobList:
    """List the owner's jobs, newest first; or the rows of a batch, first row first."""
    found, has_more = services().store.jobs.page(
        caller().owner,
        limit=query.limit,
        after=query.after,
        state=query.state,
        operation=query.operation,
        parent_id=query.parent_id,
        user=query.user,
        guest=caller().guest,
    )
    return job_list(found, has_more)


@route(blueprint, "GET", "/<job_id>", errors=("not_found",), guests=True, waits=True)
def show(job_id: str, query: JobQuery) -> JobView:
    """Look at one job, waiting for news of it where asked to; what waits for a reviewer is news enough."""
    with services().changes.watching(job_id) as watch:
        job, view = LOOKS.run(partial(_look, job_id))
        wait = min(query.wait, REVIEW_WAIT_S) if view.state is State.REVIEW else query.wait
        if not job.state.final and watch.wait(tag_of(job, view), wait, PACE_S):
            _, view = LOOKS.run(partial(_look, job_id, watch.tag))
        return view


@route(
    blueprint,
    "GET",
    "/<job_id>/events",
    returns="text/event-stream",
    errors=("not_found",),
    guests=True,
    headers={"Last-Event-ID": "Sent by browsers that reconnect; the same state is not told twice."},
)
def events(job_id: str) -> Response:
    """Follow one job as server-sent events.

    Each event is named `job` and carries the whole JobView; the stream ends with the job, and goes on while it is in
    review. A client that reconnects
    after the end is answered 204, which tells browsers to stop.
    """
    last = request.headers.get("Last-Event-ID", "")
    job, view = _look(job_id)
    if job.state.final and last == _event_id(tag_of(job, view)):
        return Response(status=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(stream_with_context(_events(job_id, last)), mimetype="text/event-stream", headers=headers)


@route(
    blueprint,
    "POST",
    "/<job_id>/cancel",
    errors=("not_found", "job_finished", "invalid_value"),
    guests=True,
    scope=PAINTS,
    headers={"Idempotency-Key": "The one of the submit that is taken back, where several share the job."},
)
def cancel(job_id: str) -> JobView:
    """Cancel a job: a queued one at once, a running one at its next step, a batch with all its rows.

    Where several submits share it, one of them is taken back, and the job goes on for the others: the one with the
    Idempotency-Key, else the oldest that came without one, else the oldest. Images that rows have painted already stay;
    those that wait for a reviewer are deleted.
    """
    who = caller()
    key = who.own_key(read_idempotency_key())
    return job_view(services().store.jobs.cancel(job_id, who.owner, key=key, guest=who.guest))


@route(
    blueprint,
    "DELETE",
    "/<job_id>",
    returns={204: None},
    errors=("not_found", "job_not_ended", "image_in_use", "invalid_value"),
    scope=PAINTS,
)
def delete(job_id: str) -> tuple[str, int]:
    """Delete a job that has ended, with its images and files, and what was uploaded for it alone.

    A batch is deleted with all its rows; a single row cannot be deleted. A second request gets 404.
    """
    services().gallery.forget_job(job_id, caller().owner)
    return "", 204


@route(
    blueprint,
    "GET",
    "/<job_id>/archive",
    returns=tuple(ARCHIVE_TYPES.values()),
    errors=("not_found", "invalid_value", "queue_full"),
)
def archive(job_id: str, query: ArchiveQuery) -> Response:
    """Get a job's images as one ZIP; layers also as one PSD or PPTX.

    The ZIP of a batch can be fetched at any time, with the rows done so far; its rows.csv tells what became of each.
    """
    return archive_response(services().store.jobs.get(job_id, caller().owner), query.format)


def _look(job_id: str, known: Tag | None = None) -> tuple[Job, JobView]:
    job = services().store.jobs.get(job_id, caller().owner, caller().guest)
    return job, job_view(job, known)


def _events(job_id: str, last: str) -> Iterator[str]:
    admission = Admission()
    with services().changes.watching(job_id) as watch:
        while True:
            try:
                job, view = LOOKS.run(partial(_look, job_id, watch.tag))
            except StudioError as error:
                if error.code != "not_found":
                    raise
                return  # it was deleted; who asks again is told so
            if (event_id := _event_id(tag_of(job, view))) != last:
                yield f"id: {event_id}\nevent: job\ndata: {view.model_dump_json(exclude={'request'})}\n\n"
                last = event_id
            if job.state.final:
                return
            if not watch.wait(tag_of(job, view), KEEP_ALIVE_S):
                yield ": still here\n\n"
            if not admission.holds():  # what waits for a reviewer does so for days
                return


def _event_id(tag: Tag) -> str:
    return f"{tag.version}.{tag.phase}.{tag.step}.{'' if tag.place is None else tag.place}"
