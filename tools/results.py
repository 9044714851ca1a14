"""The messages of a successful tool: blobs, one line of text, one JSON, and every variable of its output schema.

What an agent's language model reads of a call, the line and the JSON, is kept short: it stays in its context for the
rest of the conversation. So it reads one link of a picture at most: that of the studio's page, where a person sees,
edits and saves it, else the picture's own. In plain workflows, where no model reads it, the JSON has each image's link
and measures.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools.delivery import delivered, is_shown_by_dify
from tools.messages import Call
from tools.summaries import (
    batch_summary,
    campaign_summary,
    cancelled_summary,
    failures,
    layers_summary,
    list_summary,
    reason,
    reviewed_summary,
    row_number,
    styles_summary,
    succeeded,
    summary,
    table_of_texts,
)
from tools.views import Change, Image, Job, Painted, Reviewed, Rows, Style
from tools.wishes import Language, Written
from tools.words import said

UNKNOWN = -1
"""Value for a change that was not measured, since a later node that uses a number must get one."""

_NO_IMAGE = Image(id="", url="", width=0, height=0, mime_type="")
_NO_JOB = Job(id="", operation="", model="", state="")


def of_images(call: Call, painted: Painted, written: Written | None = None) -> Iterator[ToolInvokeMessage]:
    """Yield all messages about a job's images, also where it has none yet; with the prompt that was written for it."""
    job = painted.job
    more: dict[str, Any] = {}
    named: dict[str, Any] = {}
    if written is not None:
        job = job.model_copy(update={"warnings": [*written.warnings, *job.warnings]})
        named = {"prompt": written.prompt}
        more = named | {"enhanced_by": written.enhanced_by} if written.enhanced_by else named
    data = _job_json(call, job) | ({} if _is_read_by_models(call) else more)
    yield from _messages(call, painted, summary(job, call.language), data, variables(job) | named)


def of_layers(call: Call, painted: Painted) -> Iterator[ToolInvokeMessage]:
    """Yield all messages about a picture that was taken apart, also where it has no layers yet."""
    job = painted.job
    line = layers_summary(job, call.language)
    yield from _messages(call, painted, line, _layers_json(call, job), layers_variables(job))


def of_batch(call: Call, painted: Painted) -> Iterator[ToolInvokeMessage]:
    """Yield all messages about a batch, also an unfinished one; its own image is the contact sheet."""
    line = batch_summary(painted, call.language)
    yield from _messages(call, painted, line, _batch_json(call, painted), batch_variables(painted))


def of_campaign(call: Call, painted: Painted, warnings: Sequence[str] = ()) -> Iterator[ToolInvokeMessage]:
    """Yield all messages about a campaign, also an unfinished one; ``warnings`` are those of the language model."""
    job = painted.job.model_copy(update={"warnings": [*warnings, *painted.job.warnings]})
    painted = replace(painted, job=job)
    line = campaign_summary(painted, call.language, warnings)
    yield from _messages(call, painted, line, _campaign_json(call, painted), campaign_variables(painted, call.language))


def of_any(call: Call, painted: Painted) -> Iterator[ToolInvokeMessage]:
    """Yield the messages that the tool of the job itself would send, with every variable of image_job."""
    job, language = painted.job, call.language
    if job.operation == "campaign":
        line, data = campaign_summary(painted, language), _campaign_json(call, painted)
        named = campaign_variables(painted, language)
    elif job.rows is not None or job.operation == "batch":
        line, data, named = batch_summary(painted, language), _batch_json(call, painted), batch_variables(painted)
    elif job.operation == "layers":
        line, data, named = layers_summary(job, language), _layers_json(call, job), layers_variables(job)
    else:
        line, data, named = summary(job, language), _job_json(call, job), variables(job)
    yield from _messages(call, painted, line, data, {**NOTHING, **named})


def of_list(call: Call, jobs: Sequence[Job], now: float) -> Iterator[ToolInvokeMessage]:
    """Yield jobs as text with a line for each, as JSON, and as ids and states; ``now`` is in seconds since 1970."""
    named = {"job_ids": [job.id for job in jobs], "states": [job.state for job in jobs]}
    about = {"created_at", "archive_url", "error"}
    listed = [_job_json(call, job) | job.model_dump(include=about, exclude_none=True) for job in jobs]
    data = {} if _is_read_by_models(call) else {"jobs": listed}
    yield from _messages(call, None, list_summary(jobs, now, call.language), data, {**NOTHING, **named})


def of_cancelled(call: Call, job: Job) -> Iterator[ToolInvokeMessage]:
    """Yield the messages about a cancelled job, and about what is kept of it."""
    model = "" if job.rows else job.model  # as in the other answers about a batch
    known = {"job_id": job.id, "state": job.state, "model": model, "warnings": job.warnings}
    named = {**known, "archive_url": job.archive_url or "", "succeeded": job.rows.succeeded if job.rows else 0}
    link = {"archive_url": job.archive_url} if job.archive_url and not _is_read_by_models(call) else {}
    line = cancelled_summary(job, call.language)
    yield from _messages(call, None, line, _job_json(call, job) | link, {**NOTHING, **named})


def of_verdict(call: Call, image: Reviewed) -> Iterator[ToolInvokeMessage]:
    """Yield the messages about a reviewer's verdict; a rejected image has no link."""
    links = {"image_url": image.url, "studio_url": image.studio_url or ""}
    if image.review != "approved":
        links = dict.fromkeys(links, "")
    named = {"image_id": image.id, "verdict": image.review, **links, "job_id": image.job_id or ""}
    data = {name: value for name, value in named.items() if value}
    if "studio_url" in data and _is_read_by_models(call):
        del data["image_url"]
    yield from _messages(call, None, reviewed_summary(image, call.language), data, named)


def of_styles(call: Call, styles: Sequence[Style], action: str) -> Iterator[ToolInvokeMessage]:
    """Yield saved art directions: one that was shown, saved or deleted, or all that there are."""
    first = styles[0] if styles and action != "list" else Style()
    told = first.model_dump(exclude={"name", "style", "reference", "seed"})
    named = {
        "styles": [style.name for style in styles] if action != "delete" else [],
        "style_words": first.style,
        **told,
        "seed": first.seed or 0,
        "image_id": first.reference or "",
    }
    kept = [style.model_dump(exclude_none=True, exclude_defaults=True) for style in styles]
    data = {} if _is_read_by_models(call) or action == "delete" else {"styles": kept}
    yield from _messages(call, None, styles_summary(styles, action, call.language), data, named)


def of_prompt(call: Call, written: Written) -> Iterator[ToolInvokeMessage]:
    """Yield a prompt as the text, and with all its settings as JSON and variables; the JSON does not repeat it."""
    named = asdict(written) | {"warnings": list(written.warnings)}
    data = {name: value for name, value in named.items() if value and name != "prompt"}
    yield call.tool.create_text_message(f"{written.prompt}\n")
    yield call.tool.create_json_message(data)
    yield from _variables(call, named)


def _is_read_by_models(call: Call) -> bool:
    """Return whether a language model may read the answer: everywhere but in a plain workflow."""
    return bool(call.tool.session.conversation_id) or not is_shown_by_dify(call.tool)


def _messages(
    call: Call, painted: Painted | None, line: str, data: dict[str, Any], named: dict[str, Any]
) -> Iterator[ToolInvokeMessage]:
    yield from call.ended()
    if painted is not None:
        yield from delivered(call.tool, painted)
        if painted.contents and not is_shown_by_dify(call.tool):
            shown = " ".join(f"![image]({image.url})" for image in painted.job.whole)
            line = f"{line}{said(call.language, ' Show it to the person with: ')}{shown}"
            data.pop("url", None)  # once is enough
    yield call.tool.create_text_message(f"{line}\n")  # agents join texts without a separator
    if data:
        yield call.tool.create_json_message(data)
    yield from _variables(call, named)


def _variables(call: Call, named: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    for name, value in named.items():
        # Where an answer is streamed, a variable sent in one piece can get lost (dify#32903), so texts are streamed.
        streaming = isinstance(value, str) and bool(value)
        tool = call.tool
        send = tool.create_stream_variable_message if streaming else tool.create_variable_message
        yield send(name, value)


# -- one job -------------------------------------------------------------------------------------------------------


def _job_json(call: Call, job: Job) -> dict[str, Any]:
    """Return one job as JSON, without what it has not. For models it has what the line of text does not say."""
    if _is_read_by_models(call):
        seeds = [image.seed for image in job.whole if image.seed is not None]
        one = {"seed": seeds[0]} if len(seeds) == 1 else {"seeds": seeds}
        link = {"url": job.whole[0].url} if len(job.whole) == 1 else {}
        return {"job_id": job.id, **(one if seeds else {}), **(_studio_link(job.images) or link)}
    kept = {"operation", "model", "tier", "loras", "engine", "state", "queue_position", "attempt", "compute_saved"}
    kept |= {"cached", "cache", "similar_prompt"}
    known = job.model_dump(mode="json", include=kept, exclude_none=True)
    left_out = {"sha256", "studio_url"}
    images = [image.model_dump(mode="json", exclude_none=True, exclude=left_out) for image in job.images]
    found = {"job_id": job.id, **known, "warnings": job.warnings, **_studio_link(job.images), "images": images}
    return {name: value for name, value in found.items() if value not in ("", [])}


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
        "tier": job.tier,
        "loras": [str(lora) for lora in job.loras],
        "seconds": round(job.seconds, 2),
        "comparison_url": first.comparison_url or "",
        "studio_url": _studio_link(job.images).get("studio_url", ""),
        "change_inside": _measured(change.inside),
        "change_outside": _measured(change.outside),
        "compute_saved": job.compute_saved or 0,
        "cache": job.cache or "",
        "job_id": job.id,
        "state": job.state,
        "count": len(job.images),
        "held": job.held,
        "warnings": job.warnings,
    }


def _layers_json(call: Call, job: Job) -> dict[str, Any]:
    """Return a picture that was taken apart as JSON; the one link that a model reads is that of the archive, in the
    line.
    """
    if _is_read_by_models(call):
        return {"job_id": job.id}
    return _job_json(call, job) | ({"archive_url": job.archive_url} if job.archive_url else {})


def layers_variables(job: Job) -> dict[str, Any]:
    """Return every variable of the output schema but ``progress``, which is streamed; empty where there are no
    layers.
    """
    layers = {"layer_urls": [layer.url for layer in job.layers], "layer_ids": [layer.id for layer in job.layers]}
    return {**variables(job), **layers, "archive_url": (job.archive_url or "") if job.layers else ""}


def _measured(value: float | None) -> float:
    return UNKNOWN if value is None else value


def _studio_link(images: Sequence[Image]) -> dict[str, str]:
    """Return the link under which people edit the first image, by its name; nothing where there is none."""
    link = images[0].studio_url if images else None
    return {"studio_url": link} if link else {}


# -- batches -------------------------------------------------------------------------------------------------------


def _batch_json(call: Call, painted: Painted) -> dict[str, Any]:
    """Return a batch as JSON; of the link to its first image a model has no use, since it opens that image alone."""
    if _is_read_by_models(call):
        return {"job_id": painted.job.id}
    kept = {"operation", "state", "archive_url", "warnings"}
    known = painted.job.model_dump(mode="json", include=kept, exclude_none=True)
    link = _studio_link(_images(painted))
    return {"job_id": painted.job.id, **known, **link, "rows": [_row(job) for job in painted.rows]}


def batch_variables(painted: Painted) -> dict[str, Any]:
    """Return every variable of the output schema but ``progress``, which is streamed; empty for an unfinished batch."""
    job, images = painted.job, _images(painted)
    rows = job.rows or Rows(total=0)
    return {
        "archive_url": job.archive_url or "",
        "image_url": (job.images[0] if job.images else _NO_IMAGE).url,
        "image_urls": [image.url for image in images],
        "image_ids": [image.id for image in images],
        "studio_url": _studio_link(images).get("studio_url", ""),
        "succeeded": len(succeeded(painted.rows)) if job.ended else rows.succeeded,
        "failed": len(failures(painted)) if job.ended else rows.failed,
        "failures": failures(painted),
        "job_id": job.id,
        "state": job.state,
        "count": len(images),
        "held": job.held,
        "warnings": job.warnings,
    }


def _images(painted: Painted) -> list[Image]:
    """Return the images of all rows; the contact sheet is none of them."""
    return [image for row in succeeded(painted.rows) for image in row.images]


def _row(row: Job) -> dict[str, Any]:
    """Return one row as JSON."""
    kept = {"id", "url", "seed", "width", "height"}
    how = row.model_dump(mode="json", include={"tier", "loras", "cache", "similar_prompt"}, exclude_none=True)
    how = {name: value for name, value in how.items() if value not in ("", [])}
    images = [image.model_dump(mode="json", include=kept, exclude_none=True) for image in row.images]
    error = {} if row.state == "succeeded" else {"error": reason(row)}
    return {"row": row_number(row), "state": row.state, "job_id": row.id, "images": images, **how, **error}


# -- campaigns -----------------------------------------------------------------------------------------------------


def _campaign_json(call: Call, painted: Painted) -> dict[str, Any]:
    """Return a campaign as JSON: that of a batch, with what was written for each piece, and the art direction."""
    data = _batch_json(call, painted)
    if _is_read_by_models(call):
        return data
    asked = painted.job.request
    pieces = [piece.model_dump(exclude_defaults=True) for piece in asked.pieces]
    rows = [told | {"piece": told.pop("row")} | pieces[told_at] for told_at, told in enumerate(data.pop("rows"))]
    return data | {"direction": asked.direction.model_dump(exclude_defaults=True), "pieces": rows or pieces}


def campaign_variables(painted: Painted, language: Language) -> dict[str, Any]:
    """Return every variable of the output schema but ``progress``, which is streamed."""
    direction = painted.job.request.direction
    return {
        **batch_variables(painted),
        "texts": table_of_texts(painted.job, language),
        "style_words": direction.style,
        "palette": direction.palette,
        "seed": direction.seed or 0,
    }


NOTHING: Mapping[str, Any] = {
    **layers_variables(_NO_JOB),
    **campaign_variables(Painted(_NO_JOB, []), "en"),
    "job_ids": [],
    "states": [],
}
"""Empty value of every variable of image_job but ``progress``, since Dify needs all of them each time."""
