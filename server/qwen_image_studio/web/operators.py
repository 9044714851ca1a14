"""What operators see and steer over HTTP: the queue of all owners, and the call log."""

from flask import Blueprint, Response

from qwen_image_studio.contract.operators import (
    CallList,
    CallsQuery,
    CancelledView,
    CancelRequest,
    CancelScope,
    DeviceView,
    FailureView,
    OperatorView,
    QueueEntry,
    QueueList,
    QueueQuery,
    SpeedView,
)
from qwen_image_studio.contract.sheets import CSV
from qwen_image_studio.contract.words import ADJUSTED, Scope, State
from qwen_image_studio.jobs import Job
from qwen_image_studio.jobs.calls import Sought, as_sheet, view_of
from qwen_image_studio.web.health import known_workers
from qwen_image_studio.web.routing import Body, Services, read_model, route, services, wants_csv

blueprint = Blueprint("operators", __name__, url_prefix="/v1")

LAST_FAILURES = 10
_STATES = {CancelScope.WAITING: [State.QUEUED], CancelScope.ALL: [State.QUEUED, State.RUNNING]}


@route(blueprint, "GET", "/queue", errors=("not_found",), scope=Scope.OPERATE)
def queue(query: QueueQuery) -> QueueList:
    """List the jobs of all owners that have not ended, oldest first, without what they say."""
    store = services().store
    now = store.database.now()
    found, has_more = store.queue.page(query.limit, query.after)
    waiting, running = store.jobs.counts()
    entries = [_entry(job, place, now) for job, place in found]
    return QueueList(data=entries, has_more=has_more, waiting=waiting, running=running)


def _entry(job: Job, place: int | None, now: float) -> QueueEntry:
    return QueueEntry(
        id=job.id,
        owner=job.owner,
        key=job.key,
        person=job.person,
        operation=job.operation,
        model=job.model or ADJUSTED,
        tier=job.tier,
        state=job.state,
        queue_position=place,
        phase=job.progress.phase,
        step=job.progress.step,
        steps=job.progress.steps,
        attempt=job.attempt,
        worker=job.leased_by if job.state is State.RUNNING else None,
        parent_id=job.parent_id,
        rows=job.rows,
        age_s=round(max(0.0, now - job.created_at), 1),
        cancel_requested=job.cancel_requested,
    )


def _read_cancel() -> CancelRequest:
    """Read the current request. Raises StudioError that names the parameter at fault."""
    return read_model(CancelRequest, "cancel", '{"scope": "waiting"}')


@route(
    blueprint,
    "POST",
    "/queue/cancel",
    body=Body(_read_cancel, CancelRequest),
    errors=("not_found", "job_finished"),
    scope=Scope.OPERATE,
)
def cancel(body: CancelRequest) -> CancelledView:
    """Cancel the jobs of all owners: those of which nothing has begun, or all; or one of them.

    A batch of which a row has begun runs. What waits for a reviewer stays, and so does what is submitted meanwhile; by
    its id, what waits for a reviewer is cancelled too. Doing it again changes nothing.
    """
    queue = services().store.queue
    if body.job_id is not None:
        return CancelledView(cancelled=queue.cancel_one(body.job_id))
    return CancelledView(cancelled=queue.cancel(_STATES[body.scope or CancelScope.WAITING]))


@route(blueprint, "GET", "/calls", returns=CallList, also=CSV, scope=Scope.OPERATE)
def calls(query: CallsQuery) -> CallList | Response:
    """List the call log, newest first: jobs that have ended, and requests that were refused or changed something.

    As CSV with `Accept: text/csv` or `format=csv`.
    """
    store, asked = services().store, query.model_dump(exclude={"limit", "after", "format", "q"})
    sought = Sought(**asked, words=store.prompts.sought(query.q))
    found, has_more = store.calls.page(sought, query.limit, query.after)
    if wants_csv(query.format):
        return Response(as_sheet(found), mimetype=CSV)
    return CallList(data=[view_of(row) for row in found], has_more=has_more)


# -- beside the health ---------------------------------------------------------------------------------------------


def operator_view(parts: Services) -> OperatorView:
    """Return what operators see beside the health. Raises StudioError where the job store cannot be read."""
    return OperatorView(
        devices=[
            DeviceView(
                name=report.name,
                host=report.host,
                device=report.device,
                model=report.model,
                memory_used=report.memory_used,
                memory_total=report.memory_total,
            )
            for report, _ in known_workers(parts.store, parts.settings)
        ],
        failures=[
            FailureView(
                at=row.at,
                job_id=row.job_id,
                owner=row.owner,
                operation=row.operation,
                model=row.model,
                code=row.outcome.partition(":")[2],
                attempt=row.attempt,
            )
            for row in parts.store.calls.failures(LAST_FAILURES)
        ],
        speeds=[
            SpeedView(model=model, tier=tier, operation=operation, seconds=seconds)
            for (model, tier, operation), seconds in parts.speeds.now().items()
        ],
        calls_dropped=parts.call_log.dropped,
    )
