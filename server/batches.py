"""What the light worker does for a batch: it makes its rows into jobs, and at the end their contact sheet."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from server.engine import Painted
from server.engine.light import BatchPlan
from server.errors import StudioError
from server.imaging import open_image, read_facts
from server.imaging.contact_sheet import contact_sheet
from server.imaging.encoding import THUMBNAIL_SIDE
from server.intake import Intake, Submission, row_submission
from server.jobs import Job, JobStore, Lease, NewJob, StoredImage
from server.keeper import Cancelled, Keeper, Released
from server.pictures import Pictures
from server.prompts.rows import fill
from server.settings import Settings
from server.storage import Storage
from server.vocabulary import LIGHT, Operation, State

_log = logging.getLogger(__name__)

TURN_S = 2.0
"""Seconds for which rows are made into jobs before others have their turn."""
PAUSE_S = 0.5
_PASSING = frozenset({"database_busy", "storage_failed"})
"""Codes of errors that say nothing of the batch: it waits until they have passed, for its rows are worth it."""


@dataclass(frozen=True)
class Gathered:
    """What a batch came to."""

    images: Sequence[StoredImage]
    warnings: Sequence[str]


class Batches:
    """Runs the batches of one server; each call is one claim's worth of work."""

    def __init__(self, settings: Settings, store: JobStore, storage: Storage, intake: Intake) -> None:
        self._settings, self._store, self._storage, self._intake = settings, store, storage, intake

    def run(self, lease: Lease, keeper: Keeper) -> Gathered:
        """Go on with a batch. Raises Released while its rows are not done; what Keeper.report raises; and StudioError
        ``rows_failed`` where no row has succeeded.
        """
        try:
            return self._go_on(lease, keeper)
        except StudioError as error:
            if error.code not in _PASSING:
                raise
            _log.warning("job %s waits: %s", lease.job.id, error)
            time.sleep(PAUSE_S)
            raise Released from error

    def _go_on(self, lease: Lease, keeper: Keeper) -> Gathered:
        plan = BatchPlan.model_validate(lease.job.plan)
        stand = self._store.rows([lease.job.id])[lease.job.id]
        if not stand.missing:
            return self._gather(lease, plan, keeper)
        # Rows are made in order, so those that are there are the first ones.
        until = time.monotonic() + TURN_S
        suspect = lease.job.attempt > 1 and lease.job.attempt >= self._settings.max_attempts
        for number in range(stand.total - stand.missing, stand.total):
            keeper.report("rows", number, stand.total)
            new, refusal = _given_up(lease, plan, number) if suspect else self._prepared(lease, plan, number)
            if not self._store.add_row(lease, number, new, refusal):
                raise Cancelled
            suspect = False
            if time.monotonic() > until:
                break
        raise Released

    # -- rows ------------------------------------------------------------------------------------------------------

    def _prepared(self, lease: Lease, plan: BatchPlan, number: int) -> tuple[NewJob, tuple[str, str] | None]:
        """The job of one row; where none can be made of it, one in its place and why."""
        try:
            return self._intake.prepare(_submission(plan, number), lease.job.owner, is_row=True), None
        except StudioError as error:
            if error.code in _PASSING:
                raise
            _log.info("job %s: row %d: %s", lease.job.id, number, error)
            return _in_place(lease, plan, number), (error.code, error.message)

    # -- gathering -------------------------------------------------------------------------------------------------

    def _gather(self, lease: Lease, plan: BatchPlan, keeper: Keeper) -> Gathered:
        rows = self._store.row_jobs(lease.job.id)
        lost = _told_lost(rows)
        done = [row for row in rows if row.state is State.SUCCEEDED]
        images = self._store.images([row.id for row in done])
        if not images:
            raise StudioError("rows_failed", " ".join(lost) or "No row has a picture.")
        first = [images[row.id][0] if images.get(row.id) else None for row in rows]
        pictures = Pictures(self._storage, lease, plan, [], self._made_by(done, images[next(iter(images))][0]))
        pictures.keep(Painted(contact_sheet(self._small(first, keeper), len(rows)), None))
        return Gathered(pictures.stored, [*lease.job.warnings, *lost])

    def _small(self, images: Sequence[StoredImage | None], keeper: Keeper) -> Iterator[Image.Image | None]:
        for number, image in enumerate(images):
            keeper.report("rows", number, len(images))
            data = self._opened(image.thumbnail_key) if image is not None else b""
            side = 4 * THUMBNAIL_SIDE
            yield open_image(data, max_bytes=len(data), max_pixels=side * side, param="row") if data else None

    def _opened(self, key: str) -> bytes:
        """A file of a row's; empty where it is gone: the sheet does without."""
        try:
            return self._storage.open(key)
        except StudioError as error:
            if error.code in _PASSING:
                raise
            _log.warning("%s: %s", key, error)
            return b""

    def _made_by(self, done: Sequence[Job], first: StoredImage) -> dict[str, str | int | float]:
        """The model behind the pictures, so that the sheet says as they do that AI was at work."""
        painted = next((row.model for row in done if row.model != LIGHT), None)
        model = painted or read_facts(self._opened(first.key)).get("model")
        return {} if model is None else {"model": model}


def _submission(plan: BatchPlan, number: int) -> Submission:
    submission, seed = row_submission(plan.job, plan.table[number]), plan.row_seeds[number]
    return (
        submission
        if seed is None
        else replace(submission, request=submission.request.model_copy(update={"seed": seed}))
    )


def _in_place(lease: Lease, plan: BatchPlan, number: int) -> NewJob:
    """A job for a row of which none could be made."""
    operation = Operation(fill(plan.job, plan.table[number])["operation"])  # it was tried when the batch came
    return NewJob(owner=lease.job.owner, operation=operation, model=LIGHT, tier=lease.job.tier, plan={})


def _given_up(lease: Lease, plan: BatchPlan, number: int) -> tuple[NewJob, tuple[str, str]]:
    message = (
        f"The worker died or fell silent {lease.job.attempt - 1} times while making a job of this row. Look at the "
        "images that it names; the server's log has the cause."
    )
    return _in_place(lease, plan, number), ("worker_lost", message)


def _told_lost(rows: Sequence[Job]) -> list[str]:
    """What became of the rows without pictures, in a sentence."""
    failed = [row for row in rows if row.state is State.FAILED]
    cancelled = sum(row.state is State.CANCELLED for row in rows)
    told = []
    if failed:
        first = f"row {(failed[0].row or 0) + 1}: {failed[0].error_message}"
        told.append(f"{len(failed)} of {len(rows)} rows failed; the first: {first}")
    if cancelled:
        told.append(f"{cancelled} of {len(rows)} rows were cancelled.")
    return told
