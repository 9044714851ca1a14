"""From stored rows to the answers that a caller sees."""

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from qwen_image_studio.contract.answers import (
    ChangeView,
    ImageRecord,
    ImageView,
    JobError,
    JobList,
    JobView,
    PaintedView,
    ProgressView,
    RowsView,
)
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.service import LoraView, ModelView, SizeView, TierView
from qwen_image_studio.contract.words import (
    ADJUSTED,
    MAX_IMAGES,
    MAX_INPUTS,
    MAX_SIDE,
    MAX_STEPS,
    MIN_SIDE,
    MIN_STEPS,
    Cached,
    HeldFor,
    Lane,
    Review,
    State,
    Tier,
)
from qwen_image_studio.gallery.documents import formats_of
from qwen_image_studio.jobs import Job, RowCounts, StoredImage, Tag, WorkerReport, state_shown
from qwen_image_studio.jobs.held import held_for_review
from qwen_image_studio.models.known_words import vocabulary_of
from qwen_image_studio.models.lora_files import place_of
from qwen_image_studio.models.loras import usable
from qwen_image_studio.models.table import Model
from qwen_image_studio.models.tiers import Recipe
from qwen_image_studio.operations.again import recovered
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.health import painting_workers
from qwen_image_studio.web.links import archive_link, link_to, preview_link, studio_link
from qwen_image_studio.web.offered import UNOFFERED
from qwen_image_studio.web.routing import services

_SINCE = int(time.time())
"""When this process began to offer its models, in Unix seconds."""


def job_view(job: Job, known: Tag | None = None) -> JobView:
    """Return one job with its images and its place in the queue, as they are now; or with the place in the tag that is
    `known` of it.
    """
    store = services().store
    tag = None  # stays so for a job that was deleted a moment ago
    if job.state is State.QUEUED and job.rows is None:
        is_fresh = known is not None and known.version == job.version and known.place is not None
        tag = known if is_fresh else store.jobs.tags([job.id]).get(job.id)
    rows = store.rows.counts([job.id]).get(job.id) if job.rows is not None else None
    images = () if job.state is State.QUEUED else store.images.of_jobs([job.id], with_deleted=True).get(job.id, ())
    return _job_view(job, images, tag.place if tag else None, rows)


def job_list(found: Sequence[Job], has_more: bool) -> JobList:
    """Return a page of jobs; `has_more` tells whether another one follows."""
    store = services().store
    ids = [job.id for job in found]
    images, tags, rows = store.images.of_jobs(ids, with_deleted=True), store.jobs.tags(ids), store.rows.counts(ids)
    return JobList(
        data=[
            _job_view(job, images.get(job.id, ()), tags[job.id].place, rows.get(job.id))
            for job in found
            if job.id in tags  # else it was deleted a moment ago
        ],
        has_more=has_more,
    )


def tag_of(job: Job, view: JobView) -> Tag:
    """Return the tag that belongs to a job and the view made of it."""
    place = view.queue_position if job.state is State.QUEUED and job.rows is None else None
    return Tag(job.version, job.progress.phase, job.progress.step, place, view.state)


def pictures_of(job: Job) -> list[StoredImage]:
    """Return the images of a job that may be given out. Raises StudioError where there is none."""
    made = services().store.images.of_jobs([job.id]).get(job.id, ())
    if pictures := [each for each in made if not each.review.withheld]:
        return pictures
    if made:
        raise held_for_review("what you asked for", job.id)
    raise StudioError("not_found", f"The images of job {job.id} are not there any more.")


def image_view(image: StoredImage, key: str | None) -> ImageView:
    """Return one image, made with an API key of that name, with fresh links; those of a withheld one, which only
    reviewers see, open for them alone.
    """
    compared = None if image.deleted_at is not None else image.comparison_key
    link = partial(link_to, review=image.review.withheld)
    return ImageView(
        id=image.id,
        url=link(image.key),
        thumbnail_url=link(image.thumbnail_key),
        width=image.width,
        height=image.height,
        mime_type=image.mime_type,
        seed=image.seed,
        layer=image.layer,
        sha256=image.sha256,
        unsigned_sha256=image.made_sha256,
        deleted=image.deleted_at is not None,
        change=_change(image),
        comparison_url=link(compared) if compared else None,
        studio_url=studio_link(image, key),
    )


def _change(image: StoredImage) -> ChangeView | None:
    if image.comparison_key is None or image.deleted_at is not None:
        return None
    return ChangeView(inside=image.change_inside, outside=image.change_outside)


def image_record(image: StoredImage, key: str | None) -> ImageRecord:
    """Return one image, made with an API key of that name, with its job, size in bytes and time."""
    return ImageRecord(
        **image_view(image, key).model_dump(),
        job_id=image.job_id,
        bytes=image.bytes,
        created_at=image.created_at,
        expires_at=image.expires_at,
        review=image.review,
        held_for=HeldFor(image.held_for) if image.held_for else None,
        review_reasons=list(image.review_reasons),
    )


def model_views(models: Iterable[Model]) -> list[ModelView]:
    """Return models of the table, with whether a worker has each in memory."""
    workers = painting_workers(services().store, services().settings)
    return [_model_view(each, workers) for each in models]


def _model_view(model: Model, workers: Sequence[WorkerReport]) -> ModelView:
    return ModelView(
        id=model.name,
        repository=f"{model.owner}/{model.name}" if model.owner else model.name,
        created=_SINCE,
        owned_by=model.owner or "this server",
        licence=model.licence,
        licence_id=model.licence_id or None,
        operations=list(model.operations),
        transparency=list(model.transparent_operations),
        sizes={name: SizeView(width=width, height=height) for name, (width, height) in model.sizes.items()},
        min_side=MIN_SIDE,
        max_side=MAX_SIDE,
        max_pixels=model.max_pixels,
        max_aspect=model.max_aspect,
        max_inputs=min(model.max_images, MAX_INPUTS),
        max_images=MAX_IMAGES,
        min_steps=MIN_STEPS,
        max_steps=MAX_STEPS,
        default_steps=model.recipe().steps,
        default_guidance_scale=model.recipe().guidance_scale,
        tiers=[_tier_view(model, tier, recipe) for tier, recipe in model.tiers.items()],
        loras=[LoraView.model_validate(each, from_attributes=True) for each in usable(model.loras, caller()).values()],
        vocabulary=vocabulary_of(model),
        loaded=any(worker.model == model.name for worker in workers),
        unavailable=None if any(worker.offers_model(model.name) for worker in workers) else UNOFFERED,
    )


def _tier_view(model: Model, tier: Tier, recipe: Recipe) -> TierView:
    lora = recipe.lora
    return TierView(
        tier=tier,
        steps=recipe.steps,
        guidance_scale=recipe.guidance_scale,
        distilled=recipe.distilled,
        skips_steps=recipe.step_cache is not None,
        precision=recipe.precision or model.precisions[0],
        max_pixels=model.limits_at(tier).largest,
        licence=lora.licence if lora else None,
        lora_here=place_of(lora) is not None if lora else None,
        seconds=services().speeds.of_tier(model, tier),
    )


def _job_view(job: Job, images: Sequence[StoredImage], place: int | None, rows: RowCounts | None) -> JobView:
    state = job.state if rows is None else state_shown(job, rows)
    position = place if state is State.QUEUED and rows is None else (0 if state is State.RUNNING else None)
    seen = [image for image in images if not image.review.withheld]
    has_images = any(image.is_given_out for image in images) or (rows is not None and rows.succeeded > 0)
    return JobView(
        id=job.id,
        operation=job.operation,
        model=ADJUSTED if job.lane is Lane.LIGHT else job.model,
        tier=Tier(job.tier),
        painted=_painted(job),
        loras=job.plan.get("loras", []),
        state=state,
        queue_position=position,
        progress=_progress(job) if rows is None else _progress_of_rows(state, rows),
        attempt=job.attempt,
        images=[image_view(image, job.key) for image in seen],
        held=sum(image.review is Review.HELD for image in images) if rows is None else rows.held,
        warnings=list(job.warnings),
        compute_saved=job.compute_saved,
        cached=job.cache is not None,
        cache=None if job.cache is None else Cached(job.cache),
        similar_prompt=job.similar_prompt,
        shared=job.shared,
        engine="cv" if job.lane is Lane.LIGHT else "qwen",
        error=JobError(code=job.error_code, message=job.error_message or "") if job.error_code else None,
        parent_id=job.parent_id,
        row=job.row,
        rows=None if rows is None else RowsView.model_validate(rows, from_attributes=True),
        archive_url=archive_link(job.id) if has_images else None,
        archive_formats=formats_of(job) if has_images else [],
        created_at=job.created_at,
        started_at=job.started_at if rows is None else rows.started_at,
        finished_at=job.finished_at,
        user=None if caller().guest else job.user,
        request=_request(job),
    )


def _painted(job: Job) -> PaintedView | None:
    plan = job.plan
    if "paint_width" not in plan:
        return None
    size, names = {"width": plan["paint_width"], "height": plan["paint_height"]}, ("steps", "guidance_scale")
    return PaintedView(**size, **{name: plan[name] for name in names}, precision=plan.get("precision"))


def _request(job: Job) -> dict[str, Any] | None:
    return recovered(job.operation, job.plan, job.inputs) if job.request is None else dict(job.request)


def _progress_of_rows(state: State, rows: RowCounts) -> ProgressView:
    left = None
    if state is State.RUNNING and rows.ended and rows.started_at is not None:
        left = round((services().store.database.now() - rows.started_at) / rows.ended * (rows.total - rows.ended), 1)
    phase = "" if state is State.QUEUED else "rows"
    return ProgressView(phase=phase, step=rows.ended, steps=rows.total, eta_s=left)


def _progress(job: Job) -> ProgressView:
    now = job.progress
    preview_url = preview_link(now.preview_key, now.step) if now.preview_key else None
    return ProgressView(phase=now.phase, step=now.step, steps=now.steps, eta_s=_eta(job), preview_url=preview_url)


def _eta(job: Job) -> float | None:
    """Return the seconds left if all steps take as long as the past ones, loading included; None if unknown."""
    step, steps = job.progress.step, job.progress.steps
    if job.state is not State.RUNNING or job.claimed_at is None or not 0 < step <= steps:
        return None
    return round((services().store.database.now() - job.claimed_at) / step * (steps - step), 1)
