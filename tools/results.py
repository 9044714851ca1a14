"""What a tool gives Dify on success: blobs, one line of text, one JSON, and every variable of its output schema."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools.views import Change, Image, Job, Painted

UNKNOWN = -1
"""In place of a change that was not measured: a later node that uses a number must get one."""

_SUFFIXES: Mapping[str, str] = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
_VERBS: Mapping[str, str] = {"generate": "Painted", "outpaint": "Extended"}
_TOLD_FAILURES = 3
_LONGEST_REASON = 300


def of_images(tool: Tool, painted: Painted) -> Iterator[ToolInvokeMessage]:
    """All messages about one job's images."""
    job = painted.job
    kept = {"operation", "model", "engine", "attempt", "cached", "warnings", "compute_saved", "images"}
    told = {"job_id": job.id, **job.model_dump(mode="json", include=kept)}
    yield from _messages(tool, painted, summary(job), told, variables(job))


def of_batch(tool: Tool, painted: Painted) -> Iterator[ToolInvokeMessage]:
    """All messages about a batch; its own image is the contact sheet."""
    job = painted.job
    told = {
        "job_id": job.id,
        "operation": job.operation,
        "archive_url": job.archive_url,
        "warnings": job.warnings,
        "rows": [_row(job) for job in painted.rows],
    }
    yield from _messages(tool, painted, batch_summary(painted), told, batch_variables(painted))


def _messages(
    tool: Tool, painted: Painted, line: str, told: dict[str, Any], named: dict[str, Any]
) -> Iterator[ToolInvokeMessage]:
    for image, content in zip(painted.job.images, painted.contents, strict=True):
        # Bytes, never the URL: Dify's own download of a URL is blocked for private addresses, and says so nowhere.
        yield tool.create_blob_message(content, meta={"mime_type": image.mime_type, "filename": filename(image)})
    yield tool.create_text_message(f"{line}\n")  # agents join texts without a separator
    yield tool.create_json_message(told)
    for name, value in named.items():
        yield tool.create_variable_message(name, value)


def filename(image: Image) -> str:
    """A file name with the suffix of the image's true type."""
    return f"{image.id}.{_SUFFIXES.get(image.mime_type, image.mime_type.rpartition('/')[2])}"


# -- one job -------------------------------------------------------------------------------------------------------


def summary(job: Job) -> str:
    """One line for people and language models: what there is now and under which image_id it can be edited."""
    first = job.images[0]
    verb = _VERBS.get(job.operation, "Edited")
    count = "1 image" if len(job.images) == 1 else f"{len(job.images)} images"
    images = "; ".join(_told(image) for image in job.images)
    how = "without a model" if job.engine == "cv" else f"with {job.model}"
    line = f"{verb} {count}, {first.width}x{first.height}, {how}: {images}"
    notes = " ".join(" ".join(warning.split()) for warning in job.warnings)
    return f"{line} Note: {notes}" if notes else line


def _told(image: Image) -> str:
    seed = "" if image.seed is None else f"seed {image.seed}, "
    return f"image_id {image.id}, {seed}{image.url}"


def variables(job: Job) -> dict[str, Any]:
    """Every variable of the output schema but ``progress``, which is streamed."""
    first = job.images[0]
    change = first.change or Change()
    return {
        "image_url": first.url,
        "image_urls": [image.url for image in job.images],
        "image_id": first.id,
        "image_ids": [image.id for image in job.images],
        "seed": first.seed or 0,  # 0 where none took part
        "width": first.width,
        "height": first.height,
        "model": job.model,
        "comparison_url": first.comparison_url or "",
        "change_inside": _measured(change.inside),
        "change_outside": _measured(change.outside),
        "compute_saved": job.compute_saved or 0,
        "job_id": job.id,
        "count": len(job.images),
        "warnings": job.warnings,
    }


def _measured(value: float | None) -> float:
    return UNKNOWN if value is None else value


# -- batches -------------------------------------------------------------------------------------------------------


def batch_summary(painted: Painted) -> str:
    """One line: how many rows there are, which failed and why, and where all images lie."""
    job, failed = painted.job, failures(painted.rows)
    succeeded = len(_succeeded(painted.rows))
    line = f"{succeeded} of {len(painted.rows)} rows succeeded"
    if failed:
        more = f" and {len(failed) - _TOLD_FAILURES} more" if len(failed) > _TOLD_FAILURES else ""
        line += f", {len(failed)} failed ({'; '.join(failed[:_TOLD_FAILURES])}{more})"
    # Without the job's warnings: they tell the failed rows once more.
    return f"{line}. All images as a ZIP file: {job.archive_url}" if job.archive_url else f"{line}."


def batch_variables(painted: Painted) -> dict[str, Any]:
    """Every variable of the output schema but ``progress``, which is streamed."""
    job, images = painted.job, [image for row in _succeeded(painted.rows) for image in row.images]
    return {
        "archive_url": job.archive_url or "",
        "image_url": job.images[0].url,
        "image_urls": [image.url for image in images],
        "image_ids": [image.id for image in images],
        "succeeded": len(_succeeded(painted.rows)),
        "failed": len(failures(painted.rows)),
        "failures": failures(painted.rows),
        "job_id": job.id,
        "count": len(images),
        "warnings": job.warnings,
    }


def failures(rows: Sequence[Job]) -> list[str]:
    """Why rows have no image, such as ``row 5: reason``; rows count from 1."""
    return [f"row {_number(row)}: {_reason(row)}" for row in rows if row.state != "succeeded"]


def _succeeded(rows: Sequence[Job]) -> list[Job]:
    return [row for row in rows if row.state == "succeeded"]


def _number(row: Job) -> int:
    return (row.row or 0) + 1


def _reason(row: Job) -> str:
    said = (row.error.message or row.error.code) if row.error else row.state
    return " ".join(said.split())[:_LONGEST_REASON].rstrip(".")


def _row(row: Job) -> dict[str, Any]:
    """One row as JSON."""
    images = [image.model_dump(mode="json", include={"id", "url", "seed", "width", "height"}) for image in row.images]
    error = _reason(row) if row.state != "succeeded" else None
    return {"row": _number(row), "state": row.state, "job_id": row.id, "images": images, "error": error}
