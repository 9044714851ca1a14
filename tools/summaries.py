"""What people and language models read of a job: what was made, under which ids, and how to go on; in few words."""

from collections.abc import Mapping, Sequence

from tools.views import Job, Painted, Piece, Reviewed, Rows, Style
from tools.wishes import Language
from tools.words import said, translated

_VERBS: Mapping[str, str] = {"generate": "Painted", "outpaint": "Extended"}
_LONGEST_REASON = 300
_LONGEST_SHORT = 60
"""Longest reason of one of several failures, in characters."""
_MOST = 440
"""Longest line of a batch, or of layers, in characters; with its JSON it stays below 500."""
_SHORTEST_NOTE = 30
_LONGEST_NOTE = 120
"""Longest note at the end of a line, in characters; ``warnings`` holds all of them."""
_ROOM_FOR_ROWS = 160
"""Room for failures and ids of single rows of a batch, in characters; the variables hold all of them."""


def summary(job: Job, language: Language) -> str:
    """Return one line: the images, the image_id under which each can be edited, and how many wait for a reviewer."""
    if not job.images:
        return pending_summary(job, language)
    first, count = job.images[0], len(job.images)
    made = said(language, f"{_VERBS.get(job.operation, 'Edited')} {{count}} {'image' if count == 1 else 'images'}")
    model = "without a model" if job.engine == "cv" else "with {model} ({tier})" if job.fast else "with {model}"
    how = said(language, model, model=job.model, tier=job.fast)
    line = (
        f"{made.format(count=count)}, {first.width}x{first.height}, {how}: "
        f"image_id {', '.join(image.id for image in job.images)}. "
    )
    to_change = "To change it, call image_edit." if count == 1 else "To change one, call image_edit with its image_id."
    return _noted(
        line + said(language, to_change) + _before(job, language) + _held(job, language), job.warnings, language
    )


def layers_summary(job: Job, language: Language) -> str:
    """Return one line: the picture with its image_id, those of its layers as far as there is room, and the link to all
    as one file.
    """
    if not job.layers:
        return pending_summary(job, language)
    whole, count = job.images[0], len(job.layers)
    how = said(language, "with {model}", model=job.model)
    stop = "。" if language == "zh" else ". "
    taken = said(language, "Taken apart into {count} layers", count=count)
    line = f"{taken}, {whole.width}x{whole.height}, {how}: image_id {whole.id}{stop}"
    link = said(language, " All layers as one file: ") + job.archive_url if job.archive_url else ""
    ids = [layer.id for layer in job.layers]
    named = said(language, "Layers from the back: ")
    more = f"{_before(job, language)}{_held(job, language)}{link}"
    line += f"{named}{_some(ids, ', ', _MOST - len(line) - len(named) - len(more))}{stop.rstrip()}{more}"
    return _noted(line, job.warnings, language, min(_LONGEST_NOTE, _MOST - len(line)))


def _before(job: Job, language: Language) -> str:
    """Return a sentence about the earlier run that the images come from; empty where they were painted for this one."""
    if not job.cached:
        return ""
    if not job.similar_prompt:
        return f" {said(language, 'Taken from an earlier run.')}"
    prompt = _cut(" ".join(job.similar_prompt.split()), _LONGEST_SHORT)
    return f" {said(language, 'Taken from an earlier run with the prompt “{prompt}”.', prompt=prompt)}"


def _held(job: Job, language: Language) -> str:
    """Return a sentence about the images that wait for a reviewer; empty where none does."""
    if not job.held:
        return ""
    english = "{count} more wait for a reviewer; fetch them later with image_job, job_id {job}."
    return f" {said(language, english, count=job.held, job=job.id)}"


def _noted(line: str, warnings: Sequence[str], language: Language, longest: int = _LONGEST_NOTE) -> str:
    """Return the line with the warnings at its end, in short; without, where there is no room for them."""
    notes = " ".join(translated(" ".join(warning.split()), language) for warning in warnings)
    fits = notes and longest >= min(len(notes), _SHORTEST_NOTE)
    return f"{line} {said(language, 'Note: ')}{_cut(notes, longest)}" if fits else line


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def pending_summary(job: Job, language: Language) -> str:
    """Return one line about an unfinished job: its state, and how to fetch its result."""
    states = {"running": "is running", "review": "waits for a person's approval", "queued": "is queued"}
    state = said(language, states.get(job.state, job.state))
    if job.state == "queued" and job.queue_position:
        state = said(language, "is queued at place {place}", place=job.queue_position)
    rows = f", {_so_far(job, language)}" if job.rows else ""
    fetch = said(language, "fetch it with image_job" if job.state != "review" else "then fetch it with image_job")
    return said(language, "Job {job} {state}; {fetch}.", job=job.id, state=f"{state}{rows}", fetch=fetch)


def _so_far(job: Job, language: Language) -> str:
    """Return how far a job with rows is."""
    rows = job.rows or Rows(total=0)
    return said(language, f"{{done}} of {{total}} {job.parts} done", done=rows.done, total=rows.total)


def reviewed_summary(image: Reviewed, language: Language) -> str:
    """Return one line about a verdict, and about whose name is in the record."""
    line = "Image {image} is approved." if image.review == "approved" else "Image {image} is rejected."
    named = "The record names the person who started this run."
    return f"{said(language, line, image=image.id)} {said(language, named)}"


def cancelled_summary(job: Job, language: Language) -> str:
    """Return one line about a job that was cancelled, and about what is kept of it; or about one that goes on, since
    others share it.
    """
    if job.shared and not job.ended:
        return said(language, "Job {job} goes on for others that share it; cancel it again for each.", job=job.id)
    line = said(language, "Job {job} is cancelled." if job.ended else "Job {job} stops at its next step.", job=job.id)
    return f"{line} {job.what_is_kept or said(language, 'It leaves no image; all others stay.')}"


# -- lists ---------------------------------------------------------------------------------------------------------


def list_summary(jobs: Sequence[Job], now: float, language: Language) -> str:
    """Return a line for each job, newest first; ``now`` is in seconds since 1970."""
    if not jobs:
        return said(language, "There are no jobs yet.")
    first = "1 job:" if len(jobs) == 1 else "{count} jobs, newest first:"
    return "\n".join([said(language, first, count=len(jobs)), *(_list_line(job, now, language) for job in jobs)])


def _list_line(job: Job, now: float, language: Language) -> str:
    parts = [job.operation, job.state]
    if job.rows:
        parts.append(_rows_text(job, job.rows, language))
    elif job.images:
        more = f" (+{len(job.images) - 1})" if len(job.images) > 1 else ""
        parts.append(f"{job.images[0].id}{more}")
    if job.state == "queued" and job.queue_position:
        parts.append(said(language, "place {place}", place=job.queue_position))
    return f"{job.id}: {', '.join([*parts, _ago(now - job.created_at, language)])}"


def _rows_text(job: Job, rows: Rows, language: Language) -> str:
    """Return how many rows of a batch are done; image_job gives their images."""
    if not job.ended:
        return _so_far(job, language)
    failed = said(language, ", {count} failed", count=rows.failed) if rows.failed else ""
    return (
        said(language, f"{{count}} of {{total}} {job.parts} succeeded", count=rows.succeeded, total=rows.total) + failed
    )


def _ago(seconds: float, language: Language) -> str:
    """Return how long ago that was, in the largest unit that fits."""
    for unit, size in (("{count} d ago", 86400), ("{count} h ago", 3600), ("{count} min ago", 60)):
        if seconds >= size:
            return said(language, unit, count=int(seconds // size))
    return said(language, "just now")


# -- campaigns -----------------------------------------------------------------------------------------------------


def campaign_summary(painted: Painted, language: Language, warnings: Sequence[str] = ()) -> str:
    """Return one line: the pieces with their image_ids, the headlines, how to paint one again, and the link to all."""
    job, rows = painted.job, painted.rows
    if not job.ended:
        return _noted(pending_summary(job, language), warnings, language)
    stop = "。" if language == "zh" else ". "
    line = said(language, "{count} of {total} pieces painted", count=len(succeeded(rows)), total=len(rows))
    line += _without(painted, language) + stop
    rest = said(language, "To paint one again, give campaign {job} and piece.", job=job.id)
    rest += said(language, " All pieces as a ZIP file: ") + job.archive_url if job.archive_url else ""
    named = [f"{row_number(row)} {_place(job, row)} {image.id}" for row in succeeded(rows) for image in row.whole]
    line += f"{_some(named, ', ', _ROOM_FOR_ROWS - len(line))}{stop}" if named else ""
    if headlines := [
        f"“{_cut(text, 30)}”" for text in dict.fromkeys(piece.headline for piece in job.request.pieces) if text
    ]:
        shown = _some(headlines, " ", _MOST - len(line) - len(rest) - _LONGEST_SHORT)
        line += f"{said(language, 'Headlines: ')}{shown}{stop}"
    line += rest
    return _noted(line, [*warnings, *_of_all(painted)], language, min(_LONGEST_NOTE, _MOST - len(line)))


def _place(job: Job, row: Job) -> str:
    """Return the channel and language of a piece."""
    pieces = job.request.pieces
    piece = pieces[row_number(row) - 1] if row_number(row) <= len(pieces) else Piece()
    return f"{piece.channel} {piece.language}".strip()


def styles_summary(styles: Sequence[Style], action: str, language: Language) -> str:
    """Return one line about a saved art direction that was shown, saved or deleted, or about all that there are."""
    if action == "list":
        if not styles:
            return said(language, "There are no saved styles yet.")
        listed = [f"{style.name} ({_look(style, 60)})" for style in styles]
        return said(language, "Saved styles: ") + _some(listed, "; ", _MOST - _LONGEST_SHORT)
    first = styles[0]
    if action == "delete":
        return said(language, "Style {style} is deleted.", style=first.name)
    line = said(language, "Style {style} is saved: " if action == "save" else "Style {style}: ", style=first.name)
    stop = "。" if language == "zh" else ". "
    return f"{line}{_look(first, 300)}{stop}{said(language, 'Painting tools take it as style.')}"


def _look(style: Style, longest: int) -> str:
    """Return how an art direction looks, in short."""
    seed = "" if style.seed is None else f"seed {style.seed}"
    return _cut(
        "; ".join(filter(None, (", ".join(style.palette), style.style.rstrip(".。"), seed, style.reference))), longest
    )


def table_of_texts(job: Job, language: Language) -> str:
    """Return the lettering of a campaign's pieces as a table in Markdown; empty for any other job."""
    if not job.request.pieces:
        return ""
    heads = ("Piece", "Channel", "Language", "Headline", "Subline")
    rows = [
        (str(number), piece.channel, piece.language, piece.headline, piece.subline)
        for number, piece in enumerate(job.request.pieces, start=1)
    ]
    lines = [tuple(said(language, head) for head in heads), ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Return a text that ends no cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


# -- batches -------------------------------------------------------------------------------------------------------


def batch_summary(painted: Painted, language: Language) -> str:
    """Return one line: how many rows there are, which failed and why, and the link to all images."""
    job, rows = painted.job, painted.rows
    if not job.ended:
        return pending_summary(job, language)
    line = said(language, "{count} of {total} rows succeeded", count=len(succeeded(rows)), total=len(rows))
    stop = "。" if language == "zh" else ". "
    line += (without := _without(painted, language))
    if succeeded(rows):
        named = [f"{row_number(row)} {image.id}" for row in succeeded(rows) for image in row.whole]
        ids = _some(named, ", ", _ROOM_FOR_ROWS - len(without))
        line += f"{stop}{said(language, 'Row and image_id of each, for image_edit: ')}{ids}{stop.rstrip()}"
    line += said(language, " All images as a ZIP file: ") + job.archive_url if job.archive_url else ""
    return _noted(line, _of_all(painted), language, min(_LONGEST_NOTE, _MOST - len(line)))


def _without(painted: Painted, language: Language) -> str:
    """Return how many rows were not painted: those from earlier runs, and those that failed, with their reasons."""
    before, failed = sum(row.cached for row in succeeded(painted.rows)), failures(painted, _LONGEST_SHORT)
    told = said(language, ", {count} of them from earlier runs", count=before) if before else ""
    reasons = _some(failed, "; ", _ROOM_FOR_ROWS // 2)
    return told + (f"{said(language, ', {count} failed', count=len(failed))} ({reasons})" if failed else "")


def _of_all(painted: Painted) -> list[str]:
    """Return the warnings that rows have, too; the others of a batch repeat which rows failed."""
    return [each for each in painted.job.warnings if any(each in row.warnings for row in painted.rows)]


def _some(entries: Sequence[str], between: str, room: int) -> str:
    """Return the first entry, as many more as there is room for, and how many are left."""
    shown = list(entries[:1])
    while len(shown) < len(entries) and len(between.join(entries[: len(shown) + 1])) <= room:
        shown = list(entries[: len(shown) + 1])
    left = len(entries) - len(shown)
    return between.join([*shown, f"+{left}"] if left else shown)


def failures(painted: Painted, longest: int = _LONGEST_REASON) -> list[str]:
    """Return why rows have ended without an image, such as ``row 5: reason``; rows are counted from 1."""
    without = [row for row in painted.rows if row.ended and row.state != "succeeded"]
    part = painted.job.parts.removesuffix("s")
    return [f"{part} {row_number(row)}: {_cut(reason(row), longest)}" for row in without]


def succeeded(rows: Sequence[Job]) -> list[Job]:
    """Return the rows that have images."""
    return [row for row in rows if row.state == "succeeded"]


def row_number(row: Job) -> int:
    """Return the number of a row, from 1."""
    return (row.row or 0) + 1


def reason(row: Job) -> str:
    """Return why a row has no image."""
    told = (row.error.message or row.error.code) if row.error else row.state
    return " ".join(told.split())[:_LONGEST_REASON].rstrip(".")
