"""From the client's words to Dify's: progress lines, result messages, and errors that Dify shows as they are."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]
from dify_plugin.errors.model import (  # type: ignore[import-untyped]
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

from tools.client import Update
from tools.errors import ClientError, KeyRefused, QueueFull, Refused, Unreachable, WrongServer
from tools.views import Image, Job, Painted

STEP_PACE_S = 3.0
"""Mere steps are told at most this often: a chat keeps every line. What else changes is told at once."""
SILENCE_S = 19.0
"""A line comes at least this often while something is heard from the server, so that nobody thinks it hangs."""

_PHASES: Mapping[str, str] = {
    "": "Starting.",
    "loading": "Loading the model.",
    "encoding": "Reading the prompt.",
    "denoising": "Painting.",
    "adjusting": "Adjusting.",
    "decoding": "Turning the result into pixels.",
    "storing": "Storing the images.",
}
_SUFFIXES: Mapping[str, str] = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


@contextmanager
def reported_errors() -> Iterator[None]:
    """Raise the client's errors as those of Dify that reach the person with their own sentence, and nothing else."""
    try:
        yield
    except ClientError as error:
        raise _dify_error(error) from None  # the SDK sends the chain of causes along; ours holds signed URLs


def _dify_error(error: ClientError) -> Exception:
    kinds: Sequence[tuple[type[ClientError], type[Exception]]] = (
        (Refused, InvokeBadRequestError),
        (KeyRefused, InvokeAuthorizationError),
        (QueueFull, InvokeRateLimitError),
        (Unreachable, InvokeConnectionError),
        (WrongServer, InvokeConnectionError),
    )
    for kind, dify_kind in kinds:
        if isinstance(error, kind):
            return dify_kind(str(error))
    return InvokeServerUnavailableError(str(error))  # type: ignore[no-any-return]


def streamed(tool: Tool, updates: Generator[Update, None, Painted]) -> Generator[ToolInvokeMessage, None, Painted]:
    """Turn updates into lines of the stream variable ``progress``; return what ``updates`` returns."""
    last, last_line, said_at = "", "", 0.0
    while True:
        try:
            update = next(updates)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        line = progress_line(update)
        subject, silence = line.partition(":")[0], time.monotonic() - said_at
        pace = STEP_PACE_S if subject == "Painting" else 0.0
        if subject != last or silence >= (pace if line != last_line else SILENCE_S):
            last, last_line, said_at = subject, line, time.monotonic()
            yield tool.create_stream_variable_message("progress", f"{line}\n")


def progress_line(update: Update) -> str:
    """What happens now, in one short sentence."""
    if not isinstance(update, Job):
        return f"Trying again in {max(1, round(update.seconds))} s: {update.reason}"
    if update.state == "queued":
        place = update.queue_position or 1
        return "Waiting: next in the queue." if place == 1 else f"Waiting: place {place} in the queue."
    if update.state == "review":
        return "Waiting for a person to approve the result."
    if update.state != "running":
        return {"succeeded": "Done."}.get(update.state, f"The job {update.state}.")
    progress = update.progress
    if progress.phase in {"denoising", ""} and progress.step:
        left = f", about {max(1, round(progress.eta_s))} s left" if progress.eta_s is not None else ""
        return f"Painting: step {progress.step}/{progress.steps}{left}."
    return _PHASES.get(progress.phase, "Painting.")


def results(tool: Tool, painted: Painted) -> Iterator[ToolInvokeMessage]:
    """All messages of a success: a blob per image, one line of text, one JSON, every variable of the output schema."""
    job = painted.job
    for image, content in zip(job.images, painted.contents, strict=True):
        # Bytes, never the URL: Dify's own download of a URL is blocked for private addresses, and says so nowhere.
        yield tool.create_blob_message(content, meta={"mime_type": image.mime_type, "filename": filename(image)})
    yield tool.create_text_message(f"{summary(job)}\n")  # agents join texts without a separator
    yield tool.create_json_message(essentials(job))
    for name, value in variables(job).items():
        yield tool.create_variable_message(name, value)


def filename(image: Image) -> str:
    """A file name with the suffix of the image's true type."""
    return f"{image.id}.{_SUFFIXES.get(image.mime_type, image.mime_type.rpartition('/')[2])}"


def summary(job: Job) -> str:
    """One line for people and language models: what there is now and under which image_id it can be edited."""
    first = job.images[0]
    verb = "Edited" if job.operation == "edit" else "Painted"
    count = "1 image" if len(job.images) == 1 else f"{len(job.images)} images"
    images = "; ".join(_told(image) for image in job.images)
    how = "without a model" if job.engine == "cv" else f"with {job.model}"
    line = f"{verb} {count}, {first.width}x{first.height}, {how}: {images}"
    notes = " ".join(" ".join(warning.split()) for warning in job.warnings)
    return f"{line} Note: {notes}" if notes else line


def _told(image: Image) -> str:
    seed = "" if image.seed is None else f"seed {image.seed}, "
    return f"image_id {image.id}, {seed}{image.url}"


def essentials(job: Job) -> dict[str, Any]:
    """The part of the JobView that a later node may want, as JSON."""
    kept = {"operation", "model", "engine", "attempt", "cached", "warnings", "images"}
    return {"job_id": job.id, **job.model_dump(mode="json", include=kept)}


def variables(job: Job) -> dict[str, Any]:
    """Every variable of the output schema but ``progress``, which is streamed."""
    first = job.images[0]
    return {
        "image_url": first.url,
        "image_urls": [image.url for image in job.images],
        "image_id": first.id,
        "image_ids": [image.id for image in job.images],
        "seed": _seed(first),
        "width": first.width,
        "height": first.height,
        "model": job.model,
        "job_id": job.id,
        "count": len(job.images),
        "warnings": job.warnings,
    }


def _seed(image: Image) -> int:
    """The seed; 0 where none took part, because a number that a later node uses must be a number."""
    return image.seed or 0
