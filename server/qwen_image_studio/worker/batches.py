"""The light worker's part in a batch: it makes the rows into jobs, and at the end paints the contact sheet."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from PIL import Image

from qwen_image_studio.adjusting.contact_sheet import contact_sheet
from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import AttemptOver, Cancelled, Released, StudioError
from qwen_image_studio.contract.limits import NO_LIMITS
from qwen_image_studio.contract.words import Lane, State, Tier
from qwen_image_studio.credentials import open_credentials
from qwen_image_studio.gallery import Gallery
from qwen_image_studio.gallery.attempt import Attempt
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.imaging import open_image, read_origin
from qwen_image_studio.imaging.encoding import THUMBNAIL_SIDE
from qwen_image_studio.intake import Intake
from qwen_image_studio.jobs import OPEN_ROWS, Job, JobStore, Lease, NewJob, StoredImage
from qwen_image_studio.models.table import Model
from qwen_image_studio.operations.batch import row_request
from qwen_image_studio.planning.engine import Painted
from qwen_image_studio.planning.plan import BatchPlan
from qwen_image_studio.prompts.filling import fill
from qwen_image_studio.recipe import Submission
from qwen_image_studio.settings import Settings
from qwen_image_studio.worker.faults import contained
from qwen_image_studio.worker.keeper import LeaseKeeper

_log = logging.getLogger(__name__)

TURN_S = 2.0
"""Time for which one claim makes rows into jobs before other work has its turn, in seconds."""
PAUSE_S = 0.5
"""Pause before work that a busy database or a failing storage has interrupted goes on, in seconds."""
STORAGE_PATIENCE_S = 30.0
"""Time for which one row waits for a failing storage before it is refused, in seconds."""
TRIES = 5
"""Number of times that a failing storage is asked again in all, while one contact sheet is made."""
_TEMPORARY = frozenset({"database_busy", "storage_failed"})
"""Codes of errors that are not the fault of the batch; it waits until they have passed, to save its rows."""
_NO_SHEET_WARNING = "There is no contact sheet, since it could not be made; the rows have their pictures all the same."
_BROKEN_ROW_MESSAGE = "The server failed at making a job of this row; its log has the cause."


@dataclass(frozen=True)
class Gathered:
    """The result of a batch."""

    images: Sequence[StoredImage]
    warnings: Sequence[str]


class Batches:
    """The batches of one server; each call of `run` does the work of one claim."""

    def __init__(
        self, settings: Settings, store: JobStore, gallery: Gallery, intake: Intake, models: Mapping[str, Model]
    ) -> None:
        self._settings, self._store, self._gallery, self._intake = settings, store, gallery, intake
        self._models, self._keys, self._credentials = models, KeyStore(store.database), open_credentials(settings)
        self._waiting_since: dict[str, tuple[int, float]] = {}
        """The next row of each batch, by job id, that waits for the storage, and since when (monotonic seconds)."""

    def run(self, lease: Lease, keeper: LeaseKeeper) -> Gathered:
        """Go on with a batch, and return its result once all its rows have ended.

        Raises Released before that; what LeaseKeeper.report raises; and StudioError ``rows_failed`` where no row has
        succeeded.
        """
        try:
            return self._go_on(lease, keeper)
        except StudioError as error:
            if error.code not in _TEMPORARY:
                raise
            _log.warning("job %s waits: %s", lease.job.id, error)
            time.sleep(PAUSE_S)
            raise Released from error

    def _go_on(self, lease: Lease, keeper: LeaseKeeper) -> Gathered:
        plan = BatchPlan.model_validate(lease.job.plan)
        counts = self._store.rows.counts([lease.job.id])[lease.job.id]
        was_poisoned = lease.job.attempt > 1 and lease.job.attempt >= self._settings.max_attempts
        if not counts.missing:
            if counts.review:  # they are for reviewers to end; until then the batch is put aside
                raise Released
            return self._gather(lease, plan, keeper, with_sheet=not was_poisoned)
        # Rows are made in order, so the existing ones are the first ones. Only OPEN_ROWS of them are made ahead of the
        # painting.
        open_rows = counts.queued + counts.running - counts.missing
        until = time.monotonic() + TURN_S
        for number in range(counts.total - counts.missing, counts.total):
            keeper.report("rows", number, counts.total)
            open_rows += self._add_row(lease, plan, number, was_poisoned=was_poisoned)
            was_poisoned = False
            if open_rows >= OPEN_ROWS or time.monotonic() > until:
                break
        raise Released

    # -- rows ------------------------------------------------------------------------------------------------------

    def _add_row(self, lease: Lease, plan: BatchPlan, number: int, *, was_poisoned: bool) -> bool:
        """Make a row into a job; return whether the job is to be painted, rather than refused.

        Raises Cancelled and what the job store raises.
        """
        began = self._store.database.now()
        new, refusal = self._refused_row(lease, plan, number) if was_poisoned else self._row_job(lease, plan, number)
        with ExitStack() as undo:
            undo.callback(self._intake.withdraw_inputs, new, began)
            try:
                if not self._store.rows.add(lease, number, new, refusal):
                    raise Cancelled
                undo.pop_all()  # the row is a job now, and keeps its inputs
            except StudioError as error:
                if error.code != "image_not_found":
                    raise
                refusal = error.code, error.message  # it was deleted a moment ago
                if not self._store.rows.add(lease, number, self._placeholder_job(lease, plan, number), refusal):
                    raise Cancelled from error
        self._waiting_since.pop(lease.job.id, None)
        return refusal is None

    def _row_job(self, lease: Lease, plan: BatchPlan, number: int) -> tuple[NewJob, tuple[str, str] | None]:
        """Return the job of one row; where none can be made, a placeholder with the code and message of the reason."""
        try:
            with contained("job %s: row %d", lease.job.id, number, message=_BROKEN_ROW_MESSAGE):
                submission, caller = _submission(lease.job, plan, number), self._caller(lease.job)
                return self._intake.new_job(submission, caller, row_of=lease.job.id), None
        except StudioError as error:
            if error.code in _TEMPORARY and not self._has_waited(lease, number, error):
                raise
            _log.info("job %s: row %d: %s", lease.job.id, number, self._store.prompts.told(error.message))
            return self._placeholder_job(lease, plan, number), (error.code, error.message)

    def _caller(self, batch: Job) -> Caller:
        """Return the caller of a batch, with the limits that its key has now; what its key may do was asked before."""
        key = None if batch.key is None else self._keys.get(batch.key)
        return Caller(batch.owner, batch.key, limits=NO_LIMITS if key is None else key.limits)

    def _has_waited(self, lease: Lease, number: int, error: StudioError) -> bool:
        """Return whether the row has waited long enough for the storage; for a busy database it goes on waiting."""
        if error.code != "storage_failed":
            return False
        row, since = self._waiting_since.get(lease.job.id, (number, time.monotonic()))
        self._waiting_since[lease.job.id] = number, since if row == number else time.monotonic()
        return row == number and time.monotonic() - since > STORAGE_PATIENCE_S

    def _placeholder_job(self, lease: Lease, plan: BatchPlan, number: int) -> NewJob:
        """Return a job without a plan for a row that none could be made of, on the model that would have painted it."""
        asked = fill(plan.job, plan.table[number])
        operation = str(asked["operation"])  # it was checked when the batch was submitted
        able = (model.name for model in self._models.values() if operation in model.operations)
        model = str(asked.get("model") or next(able, ""))
        lane = Lane.PAINT if model else Lane.LIGHT
        tier = asked.get("tier")
        shown = tier if tier in {*Tier} else lease.job.tier  # what is no tier may be why there is no job
        return NewJob(lease.job.owner, operation, lane, model, tier=str(shown), plan={})

    def _refused_row(self, lease: Lease, plan: BatchPlan, number: int) -> tuple[NewJob, tuple[str, str]]:
        message = (
            f"The worker died or fell silent {lease.job.attempt - 1} times while making a job of this row. Look at the "
            "images that it names; the server's log has the cause."
        )
        return self._placeholder_job(lease, plan, number), ("worker_lost", message)

    # -- gathering -------------------------------------------------------------------------------------------------

    def _gather(self, lease: Lease, plan: BatchPlan, keeper: LeaseKeeper, *, with_sheet: bool) -> Gathered:
        """Return the result of a batch whose rows have all ended, without what reviewers rejected. It succeeds even
        where its contact sheet fails.
        """
        rows = self._store.rows.of_batch(lease.job.id)
        made = self._store.images.of_jobs([row.id for row in rows if row.state is State.SUCCEEDED])
        images = {row_id: seen for row_id, each in made.items() if (seen := _given_out(each))}
        lost = _loss_warnings(rows)
        if not images:
            raise StudioError("rows_failed", " ".join(lost) or "No row has a picture.")
        warnings = [*lease.job.warnings, *_shared_warnings(rows), *lost]
        if not with_sheet:  # the workers before this one died while making it
            return Gathered([], [*warnings, _NO_SHEET_WARNING])
        try:
            with contained("job %s has no contact sheet", lease.job.id, message=_NO_SHEET_WARNING):
                stored, notes = self._sheet(lease, plan, keeper, rows, images)
                return Gathered(stored, [*warnings, *notes])
        except (AttemptOver, StudioError) as error:
            Attempt(self._gallery, lease).clear()
            if isinstance(error, AttemptOver) or error.code == "database_busy":
                raise
            _log.warning("job %s has no contact sheet: %s", lease.job.id, error)
            return Gathered([], [*warnings, _NO_SHEET_WARNING])

    def _sheet(
        self,
        lease: Lease,
        plan: BatchPlan,
        keeper: LeaseKeeper,
        rows: Sequence[Job],
        images: Mapping[str, Sequence[StoredImage]],
    ) -> tuple[Sequence[StoredImage], Sequence[str]]:
        """Store the contact sheet; return its row, and the warnings about it."""
        files = _RowFiles(self._gallery)
        origin = _origin_of_sheet(rows, images, files, keeper)
        thumbnails = _Thumbnails(rows, images, files, keeper)
        sheet = Painted(contact_sheet(thumbnails, len(rows)), None)
        while True:
            attempt = Attempt(self._gallery, lease, credentials=self._credentials)
            try:
                attempt.store(sheet, plan, before=origin)
                break
            except StudioError as error:
                files.wait_for(error)
        lost = thumbnails.lost
        warning = f"{lost} of {len(images)} pictures are not on the contact sheet, since they could not be read."
        return attempt.stored, [*attempt.warnings, *([warning] if lost else [])]


class _RowFiles:
    """The files of the rows; a store that fails is asked again a few times."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery, self._tries = gallery, TRIES

    def opened(self, key: str) -> bytes:
        """Return a file's bytes; none where it is gone or stays unreadable, since the sheet can do without."""
        while True:
            try:
                return self._gallery.open(key)
            except StudioError as error:
                if error.code == "database_busy":
                    raise
                try:
                    self.wait_for(error)
                except StudioError:
                    _log.warning("%s: %s", key, error)
                    return b""

    def wait_for(self, error: StudioError) -> None:
        """Wait a moment for a storage that failed. Raise the error again where waiting is of no use."""
        self._tries -= 1
        if error.code != "storage_failed" or self._tries < 0:
            raise error
        time.sleep(PAUSE_S)


class _Thumbnails:
    """The thumbnails of each row's first picture, read one by one; None for a row without a picture."""

    def __init__(
        self, rows: Sequence[Job], images: Mapping[str, Sequence[StoredImage]], files: _RowFiles, keeper: LeaseKeeper
    ) -> None:
        self._rows, self._images, self._files, self._keeper = rows, images, files, keeper
        self.lost = 0
        """Number of thumbnails that could not be read."""

    def __iter__(self) -> Iterator[Image.Image | None]:
        for number, row in enumerate(self._rows):
            self._keeper.report("rows", number, len(self._rows))
            images = self._images.get(row.id)
            picture = self._opened(images[0]) if images else None
            self.lost += bool(images) and picture is None
            yield picture

    def _opened(self, image: StoredImage) -> Image.Image | None:
        data, side = self._files.opened(image.thumbnail_key), 4 * THUMBNAIL_SIDE
        try:
            return open_image(data, max_bytes=len(data), max_pixels=side * side, param="row")
        except StudioError as error:
            _log.warning("%s: %s", image.thumbnail_key, error)
            return None


def _origin_of_sheet(
    rows: Sequence[Job], images: Mapping[str, Sequence[StoredImage]], files: _RowFiles, keeper: LeaseKeeper
) -> dict[str, str | int | float]:
    """Return the metadata of the sheet: a model that painted any of the pictures, so that the sheet is labelled as made
    by AI just as they are.
    """
    for row in rows:
        if row.id in images and row.model:
            return {"model": row.model}
    for number, row in enumerate(rows):
        for image in images.get(row.id, ()):
            keeper.report("rows", number, len(rows))
            if (model := read_origin(files.opened(image.key)).get("model")) is not None:
                return {"model": model}
    return {}


def _given_out(images: Sequence[StoredImage]) -> list[StoredImage]:
    """Return the images that may be seen, whole pictures before their layers."""
    seen = [image for image in images if not image.review.withheld]
    return sorted(seen, key=lambda image: image.layer is not None)


def _submission(batch: Job, plan: BatchPlan, number: int) -> Submission:
    asked, seed = row_request(plan.job, plan.table[number], batch.inputs), plan.row_seeds[number]
    seeded = asked if seed is None else asked.model_copy(update={"seed": seed})
    return Submission(seeded, draws_seed=getattr(asked, "seed", None) is None)


def _shared_warnings(rows: Sequence[Job]) -> list[str]:
    """Return the warnings that all succeeded rows have in common, such as which model was used instead."""
    first, *others = [row.warnings for row in rows if row.state is State.SUCCEEDED]
    return [warning for warning in first if all(warning in each for each in others)]


def _loss_warnings(rows: Sequence[Job]) -> list[str]:
    """Return sentences that count the rows that failed or were cancelled."""
    failed = [row for row in rows if row.state is State.FAILED]
    cancelled = sum(row.state is State.CANCELLED for row in rows)
    sentences = []
    if failed:
        first = f"row {(failed[0].row or 0) + 1}: {failed[0].error_message}"
        sentences.append(f"{len(failed)} of {len(rows)} rows failed; the first: {first}")
    if cancelled:
        sentences.append(f"{cancelled} of {len(rows)} rows were cancelled.")
    return sentences
