"""Answers to calls: a text for the model, the images themselves, variables for programs, and the price."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from mcp_types import CallToolResult, TextContent

from qwen_image_studio.contract.answers import ImageView, JobView
from qwen_image_studio.contract.mcp import Inline, ToolAnswer
from qwen_image_studio.contract.words import State
from qwen_image_studio.jobs import Job, StoredImage
from qwen_image_studio.web.mcp.pictures import contents_of
from qwen_image_studio.web.mcp.tools import JOB_TOOL
from qwen_image_studio.web.present import job_view
from qwen_image_studio.web.routing import services


def answer_about(job: Job, inline: Inline) -> CallToolResult:
    """Return what there is of a job now: its images, or where to ask for them. Raises StudioError."""
    view, pictures = job_view(job), _given_out(job)
    seen = [each for each in view.images if not each.deleted]
    # The text ends with a line break: some clients put the next sentence right behind it, which breaks an address.
    text = TextContent(text="\n".join([*_lines(view, seen), *(f"Note: {each}" for each in view.warnings), ""]))
    return CallToolResult(
        content=[text, *contents_of(pictures, inline)],
        structured_content=_variables(view, seen).model_dump(mode="json"),
        _meta=_price(job, view),
    )


def _given_out(job: Job) -> list[StoredImage]:
    made = services().store.images.of_jobs([job.id]).get(job.id, ())
    return [each for each in made if each.is_given_out]


# -- the text ------------------------------------------------------------------------------------------------------


def _lines(view: JobView, images: Sequence[ImageView]) -> list[str]:
    """Return the text line by line. It begins with a letter, since clients take what may be JSON apart."""
    lines = [_first_line(view, len(images)), *map(_image_line, images)]
    if len(images) > 1 and view.archive_url:
        lines.append(f"All images as a ZIP: {view.archive_url}")
    if view.held:
        lines.append(
            f"{_images(view.held)} {'waits' if view.held == 1 else 'wait'} for a reviewer and cannot be seen before. "
            f"Call {JOB_TOOL} with this job_id after that."
        )
    return lines


def _first_line(view: JobView, count: int) -> str:
    name = f"job_id {view.id}"
    if view.state in {State.QUEUED, State.RUNNING}:
        return f"The images are not ready yet ({_how_far(view)}). Call {JOB_TOOL} with {name} to get them."
    if view.state is State.CANCELLED:
        return f"The job was cancelled; {name}."
    if view.rows is not None:
        ended = f"{view.rows.succeeded} of {view.rows.total} rows have images"
        return f"{ended}: {view.archive_url or 'none can be had'}; {name}."
    known = ", taken from an earlier job" if view.cached else ""
    return f"{_images(count)} by {view.model}{known}; {name}."


def _how_far(view: JobView) -> str:
    if view.state is State.QUEUED:
        return "waiting in the queue" if view.queue_position is None else f"place {view.queue_position} in the queue"
    now = view.progress
    left = "" if now.eta_s is None else f", about {max(1, round(now.eta_s))} seconds left"
    return f"step {now.step} of {now.steps}{left}" if now.steps else (now.phase or "begun")


def _image_line(image: ImageView) -> str:
    kind = image.mime_type.removeprefix("image/").upper()
    seed = "" if image.seed is None else f", seed {image.seed}"
    layer = "" if image.layer is None else f", layer {image.layer} of which 0 is the backmost"
    return f"Image {image.id}: {image.width}x{image.height} {kind}{layer}{seed}, {image.url}"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count or 'No'} images"


# -- what programs read --------------------------------------------------------------------------------------------


def _variables(view: JobView, images: Sequence[ImageView]) -> ToolAnswer:
    first = images[0] if images else None
    return ToolAnswer(
        job_id=view.id,
        state=view.state,
        image_id=first.id if first else "",
        image_url=first.url if first else "",
        image_ids=[each.id for each in images],
        image_urls=[each.url for each in images],
        seed=(first.seed or 0) if first else 0,
        width=first.width if first else 0,
        height=first.height if first else 0,
        studio_url=(first.studio_url or "") if first else "",
        archive_url=view.archive_url or "",
        model=view.model,
        count=len(images),
        held=view.held,
        warnings=view.warnings,
    )


def _price(job: Job, view: JobView) -> dict[str, Any] | None:
    """Return what the images cost, under the names that Dify shows; None where the operator has set no price."""
    each, _, currency = services().settings.mcp_price.partition(" ")
    if not each or view.state in {State.QUEUED, State.RUNNING, State.CANCELLED}:
        return None
    painted = 0 if view.cached or view.engine == "cv" else len(view.images) + view.held
    return {"usage": {"total_price": str(Decimal(each) * painted), "currency": currency}}
