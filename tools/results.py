"""The messages of a successful tool: blobs, one line of text, one JSON, and every variable of its output schema."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools.delivery import delivered, is_shown_by_dify
from tools.views import Change, Image, Job, Painted, Rows
from tools.wishes import Written

UNKNOWN = -1
"""Value for a change that was not measured, since a later node that uses a number must get one."""

_VERBS: Mapping[str, str] = {"generate": "Painted", "outpaint": "Extended"}
_NO_IMAGE = Image(id="", url="", width=0, height=0, mime_type="")
_NO_JOB = Job(id="", operation="", model="", state="")
_SHOWN = 3
"""Largest number of things of one kind in the line of text; the variables hold all of them."""
_LONGEST_REASON = 300


def of_images(tool: Tool, painted: Painted, written: Written | None = None) -> Iterator[ToolInvokeMessage]:
    """Yield all messages about a job's images, also where it has none yet; with the prompt that was written for it."""
    job = painted.job
    more: dict[str, Any] = {}
    named: dict[str, Any] = {}
    if written is not None:
        job = job.model_copy(update={"warnings": [*written.warnings, *job.warnings]})
        more, named = {"prompt": written.prompt, "enhanced_by": written.enhanced_by}, {"prompt": written.prompt}
    yield from _messages(tool, painted, summary(job), _job_json(job) | more, variables(job) | named)


def of_batch(tool: Tool, painted: Painted) -> Iterator[ToolInvokeMessage]:
    """Yield all messages about a batch, also an unfinished one; its own image is the contact sheet."""
    yield from _messages(tool, painted, batch_summary(painted), _batch_json(painted), batch_variables(painted))


def of_any(tool: Tool, painted: Painted) -> Iterator[ToolInvokeMessage]:
    """Yield the messages that the tool of the job itself would send, with every variable of image_job."""
    job = painted.job
    if job.operation == "batch":
        line, data, named = batch_summary(painted), _batch_json(painted), batch_variables(painted)
    else:
        line, data, named = summary(job), _job_json(job), variables(job)
    yield from _messages(tool, painted, line, data, {**NOTHING, **named})


def of_list(tool: Tool, jobs: Sequence[Job], now: float) -> Iterator[ToolInvokeMessage]:
    """Yield jobs as text with a line for each, as JSON, and as ids and states; ``now`` is in seconds since 1970."""
    lines = [f"{len(jobs)} jobs, newest first:" if len(jobs) > 1 else "1 job:", *(_list_line(job, now) for job in jobs)]
    named = {"job_ids": [job.id for job in jobs], "states": [job.state for job in jobs]}
    data = {"jobs": [_job_json(job) | job.model_dump(include={"created_at", "archive_url", "error"}) for job in jobs]}
    text = "\n".join(lines) if jobs else "There are no jobs yet."
    yield from _messages(tool, None, text, data, {**NOTHING, **named})


def of_cancelled(tool: Tool, job: Job) -> Iterator[ToolInvokeMessage]:
    """Yield the messages about a cancelled job, and about what is kept of it."""
    line = f"Job {job.id} is cancelled." if job.ended else f"Job {job.id} stops at its next step."
    line += f" {job.what_is_kept or 'It leaves no image; all others stay.'}"
    model = "" if job.rows else job.model  # as in the other answers about a batch
    known = {"job_id": job.id, "state": job.state, "model": model, "warnings": job.warnings}
    named = {**known, "archive_url": job.archive_url or "", "succeeded": job.rows.succeeded if job.rows else 0}
    yield from _messages(tool, None, line, _job_json(job) | {"archive_url": job.archive_url}, {**NOTHING, **named})


def of_prompt(tool: Tool, written: Written) -> Iterator[ToolInvokeMessage]:
    """Yield a prompt as the text, and with all its settings as JSON and variables."""
    named = asdict(written) | {"warnings": list(written.warnings)}
    yield from _messages(tool, None, written.prompt, named, named)


def _messages(
    tool: Tool, painted: Painted | None, line: str, data: dict[str, Any], named: dict[str, Any]
) -> Iterator[ToolInvokeMessage]:
    if painted is not None:
        yield from delivered(tool, painted)
        if painted.contents and not is_shown_by_dify(tool):
            shown = " ".join(f"![image]({image.url})" for image in painted.job.images)
            line = f"{line} Show it to the person with: {shown}"
    yield tool.create_text_message(f"{line}\n")  # agents join texts without a separator
    yield tool.create_json_message(data)
    for name, value in named.items():
        # Where an answer is streamed, a variable sent in one piece can get lost (dify#32903), so texts are streamed.
        send = tool.create_stream_variable_message if isinstance(value, str) and value else tool.create_variable_message
        yield send(name, value)


def pending_summary(job: Job) -> str:
    """Return one line about an unfinished job: its state, and how to fetch its result."""
    place = f" at place {job.queue_position}" if job.state == "queued" and job.queue_position else ""
    rows = f", {job.rows.so_far}" if job.rows else ""
    states = {"queued": f"is queued{place}", "running": "is running", "review": "waits for a person's approval"}
    return f"Job {job.id} {states.get(job.state, job.state)}{rows}; fetch it with image_job."


# -- one job -------------------------------------------------------------------------------------------------------


def summary(job: Job) -> str:
    """Return one line for people and language models: the images, and the image_id under which each can be edited."""
    if not job.ended:
        return pending_summary(job)
    first = job.images[0]
    verb = _VERBS.get(job.operation, "Edited")
    count = "1 image" if len(job.images) == 1 else f"{len(job.images)} images"
    images = "; ".join(_image_text(image) for image in job.images)
    how = "without a model" if job.engine == "cv" else f"with {job.model}"
    return _noted(f"{verb} {count}, {first.width}x{first.height}, {how}: {images}", job.warnings)


def _noted(line: str, warnings: Sequence[str]) -> str:
    """Return the line with the warnings at its end."""
    notes = " ".join(" ".join(warning.split()) for warning in warnings)
    return f"{line} Note: {notes}" if notes else line


def _image_text(image: Image) -> str:
    seed = "" if image.seed is None else f"seed {image.seed}, "
    return f"image_id {image.id}, {seed}{image.url}"


def _job_json(job: Job) -> dict[str, Any]:
    """Return one job as JSON."""
    kept = {
        *("operation", "model", "engine", "state", "queue_position", "attempt", "cached", "warnings"),
        *("compute_saved", "images"),
    }
    return {"job_id": job.id, **job.model_dump(mode="json", include=kept)}


def _list_line(job: Job, now: float) -> str:
    """Return one job as a line of a list."""
    parts = [job.operation, job.state]
    if job.rows:
        parts.append(_rows_text(job, job.rows))
    elif job.images:
        parts.append(("image_id " if len(job.images) == 1 else "image_ids ") + "; ".join(i.id for i in job.images))
    if job.state == "queued" and job.queue_position:
        parts.append(f"place {job.queue_position} in the queue")
    return f"{job.id}: {', '.join([*parts, _ago(now - job.created_at)])}"


def _rows_text(job: Job, rows: Rows) -> str:
    """Return how many rows of a batch are done; for one that has ended, also the link to its images."""
    if not job.ended:
        return rows.so_far
    failed = f", {rows.failed} failed" if rows.failed else ""
    link = f": {job.archive_url}" if job.archive_url and rows.succeeded else ""
    return f"{rows.succeeded} of {rows.total} rows succeeded{failed}{link}"


def _ago(seconds: float) -> str:
    """Return how long ago that was, in the largest unit that fits."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def variables(job: Job) -> dict[str, Any]:
    """Return every variable of the output schema but ``progress``, which is streamed; empty where there is no image."""
    first = job.images[0] if job.images else _NO_IMAGE
    change = first.change or Change()
    return {
        "image_url": first.url,
        "image_urls": [image.url for image in job.images],
        "image_id": first.id,
        "image_ids": [image.id for image in job.images],
        "seed": first.seed or 0,  # 0 where there is no seed
        "width": first.width,
        "height": first.height,
        "model": job.model,
        "comparison_url": first.comparison_url or "",
        "change_inside": _measured(change.inside),
        "change_outside": _measured(change.outside),
        "compute_saved": job.compute_saved or 0,
        "job_id": job.id,
        "state": job.state,
        "count": len(job.images),
        "warnings": job.warnings,
    }


def _measured(value: float | None) -> float:
    return UNKNOWN if value is None else value


# -- batches -------------------------------------------------------------------------------------------------------


def batch_summary(painted: Painted) -> str:
    """Return one line: how many rows there are, which failed and why, and the link to all images."""
    job, failed = painted.job, failures(painted.rows)
    if not job.ended:
        return pending_summary(job)
    succeeded = len(_succeeded(painted.rows))
    line = f"{succeeded} of {len(painted.rows)} rows succeeded"
    if failed:
        line += f", {len(failed)} failed ({_some(failed)})"
    line += f". To edit one, use its image_id: {_some(batch_variables(painted)['image_ids'])}" if succeeded else ""
    line += f". All images as a ZIP file: {job.archive_url}" if job.archive_url else "."
    # Only warnings that rows have too; the others of a batch repeat which rows failed.
    return _noted(line, [warning for warning in job.warnings if any(warning in row.warnings for row in painted.rows)])


def _some(entries: Sequence[str]) -> str:
    """Return the first entries, and how many more there are."""
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return f"{'; '.join(entries[:_SHOWN])}{more}"


def _batch_json(painted: Painted) -> dict[str, Any]:
    """Return a batch as JSON."""
    known = painted.job.model_dump(mode="json", include={"operation", "state", "archive_url", "warnings"})
    return {"job_id": painted.job.id, **known, "rows": [_row(job) for job in painted.rows]}


def batch_variables(painted: Painted) -> dict[str, Any]:
    """Return every variable of the output schema but ``progress``, which is streamed; empty for an unfinished batch."""
    job, images = painted.job, [image for row in _succeeded(painted.rows) for image in row.images]
    rows = job.rows or Rows(total=0)
    return {
        "archive_url": job.archive_url or "",
        "image_url": (job.images[0] if job.images else _NO_IMAGE).url,
        "image_urls": [image.url for image in images],
        "image_ids": [image.id for image in images],
        "succeeded": len(_succeeded(painted.rows)) if job.ended else rows.succeeded,
        "failed": len(failures(painted.rows)) if job.ended else rows.failed,
        "failures": failures(painted.rows),
        "job_id": job.id,
        "state": job.state,
        "count": len(images),
        "warnings": job.warnings,
    }


def failures(rows: Sequence[Job]) -> list[str]:
    """Return why rows have no image, such as ``row 5: reason``; rows are counted from 1."""
    return [f"row {_number(row)}: {_reason(row)}" for row in rows if row.state != "succeeded"]


def _succeeded(rows: Sequence[Job]) -> list[Job]:
    return [row for row in rows if row.state == "succeeded"]


def _number(row: Job) -> int:
    return (row.row or 0) + 1


def _reason(row: Job) -> str:
    said = (row.error.message or row.error.code) if row.error else row.state
    return " ".join(said.split())[:_LONGEST_REASON].rstrip(".")


def _row(row: Job) -> dict[str, Any]:
    """Return one row as JSON."""
    images = [image.model_dump(mode="json", include={"id", "url", "seed", "width", "height"}) for image in row.images]
    error = _reason(row) if row.state != "succeeded" else None
    return {"row": _number(row), "state": row.state, "job_id": row.id, "images": images, "error": error}


NOTHING: Mapping[str, Any] = {
    **variables(_NO_JOB),
    **batch_variables(Painted(_NO_JOB, [])),
    "job_ids": [],
    "states": [],
}
"""Empty value of every variable of image_job but ``progress``, since Dify needs all of them each time."""
