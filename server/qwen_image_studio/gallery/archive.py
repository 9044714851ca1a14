"""The images of a job as one ZIP, written while it is read: it is never on a disk, nor whole in memory."""

import csv
import io
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.fields import Cell
from qwen_image_studio.contract.sheets import as_csv, harmless
from qwen_image_studio.contract.words import Review, State
from qwen_image_studio.gallery.gallery import Gallery
from qwen_image_studio.imaging.documents import layer_stem
from qwen_image_studio.jobs import Job, JobStore, StoredImage

_OF_PIECE = ("channel", "language", "headline", "subline")
_ALONE = "image"
_COLUMNS = ("row", "state", "files", "job_id", "image_id", "seed", "error")


def archive(job: Job, store: JobStore, gallery: Gallery) -> Iterator[bytes]:
    """Return the ZIP in pieces, without what is withheld. Raises StudioError ``not_found`` where the job has no image
    yet or none any more, and ``storage_failed``; before the first piece where that can be known.
    """
    rows = store.rows.of_batch(job.id) if job.rows is not None else []
    images = store.images.of_jobs([job.id, *(row.id for row in rows)], with_deleted=True)
    if not any(image.is_given_out for group in images.values() for image in group):
        raise StudioError("not_found", f"Job {job.id} has no image yet, or none any more; ask again once it has.")
    pieces = _written(job, rows, images, gallery)
    return chain([next(pieces)], pieces)


def _written(
    job: Job, rows: Sequence[Job], images: Mapping[str, Sequence[StoredImage]], gallery: Gallery
) -> Iterator[bytes]:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as written:
        lines = []
        for row in (None, *rows):
            stem = _ALONE if job.rows is None else "contact-sheet"
            owner, stem = (job, stem) if row is None else (row, f"row-{(row.row or 0) + 1:03d}")
            names, gone = [], []
            for name, image in _named(stem, images.get(owner.id, ())):
                if not image.is_given_out:
                    gone.append(_why_not(image))
                    continue
                try:
                    data = gallery.open(image.key)
                except StudioError as error:
                    if error.code != "not_found":
                        raise
                    gone.append(f"The file of image {image.id} is gone.")  # the other files are still worth having
                    continue
                written.writestr(_info(name, image.created_at), data)
                yield pipe.taken()
                names.append(name)
            if row is not None:
                lines.append(_line(row, names, images.get(row.id, ()), gone))
        if job.rows is not None:
            written.writestr(_info("rows.csv", job.created_at), _csv(job, lines))
            if pieces := (job.request or {}).get("pieces"):
                sizes = [
                    [f"{one.width}x{one.height}" for one in images.get(row.id, ()) if one.is_given_out] for row in rows
                ]
                written.writestr(_info("texts.csv", job.created_at), _texts(pieces, lines, sizes))
        elif not written.namelist():
            raise StudioError("not_found", f"The images of job {job.id} are gone.")
    yield pipe.taken()


class _Pipe(io.BytesIO):
    """A buffer for what the ZIP writer writes, until `taken` takes it out.

    The writer goes back to the header of each file to fill in size and checksum, so no piece is taken before its file
    is complete. Libraries that stream ZIPs (zipstream-ng) put both after the file, where readers of streams that meet
    uncompressed files do not look for them (Java's ZipInputStream).
    """

    _before = 0

    def tell(self) -> int:
        """Return the position, in bytes from the beginning of the ZIP."""
        return self._before + super().tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position in the ZIP. Raises ValueError where that part has been taken."""
        return self._before + super().seek(offset - self._before, whence)

    def taken(self) -> bytes:
        """Return what was written since the last call, and drop it."""
        piece = self.getvalue()
        super().seek(0)
        self.truncate()
        self._before += len(piece)
        return piece


def _named(stem: str, images: Sequence[StoredImage]) -> Iterator[tuple[str, StoredImage]]:
    """Yield each image with its file name: ``row-001.png``, or of several ``row-001-1.png``, ``row-001-2.png``; of
    layers ``row-001-01-background.png``, ``row-001-02-layer-1.png`` and at last ``row-001-recomposed.png``, of a job
    that has nothing else without the beginning.
    """
    is_apart = any(image.layer is not None for image in images)
    for number, image in enumerate(images, start=1):
        kind = image.mime_type.partition("/")[2].replace("jpeg", "jpg")
        if is_apart:
            name = layer_stem(image.layer)
            yield f"{name}.{kind}" if stem == _ALONE else f"{stem}-{name}.{kind}", image
        else:
            yield f"{stem}.{kind}" if len(images) == 1 else f"{stem}-{number}.{kind}", image


def _why_not(image: StoredImage) -> str:
    if image.review is Review.HELD:
        return f"Image {image.id} is held for a reviewer."
    if image.review is Review.REJECTED:
        return f"Image {image.id} was rejected: {', '.join(image.review_reasons) or 'no reason given'}."
    return f"Image {image.id} was deleted."


def _info(name: str, created_at: float) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, time.gmtime(created_at)[:6])
    info.external_attr = 0o644 << 16
    return info


# -- rows.csv ------------------------------------------------------------------------------------------------------


def _line(row: Job, names: Sequence[str], images: Sequence[StoredImage], gone: Sequence[str]) -> list[str]:
    images = [image for image in images if image.is_given_out]
    seeds = [str(image.seed) for image in images if image.seed is not None]
    errors = [row.error_message] if row.error_message else []
    cells = (row.id, " ".join(image.id for image in images), " ".join(seeds), " ".join([*errors, *gone]))
    return [str((row.row or 0) + 1), row.state.value, " ".join(names), *cells]


def _csv(job: Job, lines: Sequence[Sequence[str]]) -> bytes:
    """Return rows.csv: a header and a line for each row, also for rows that are not jobs yet; the caller's own columns
    come last.
    """
    table: Sequence[Mapping[str, Cell]] = job.plan["table"]
    columns = list(dict.fromkeys(name for row in table for name in row))
    text = io.StringIO(newline="")
    written = csv.writer(text, quoting=csv.QUOTE_ALL)
    written.writerow(_headers(columns))
    missing = (State.CANCELLED if job.state.final else State.QUEUED).value
    for number, row in enumerate(table):
        made = lines[number] if number < len(lines) else [str(number + 1), missing, *[""] * (len(_COLUMNS) - 2)]
        cells = [*made, *("" if row.get(name) is None else str(row[name]) for name in columns)]
        written.writerow(harmless(cell) for cell in cells)
    return text.getvalue().encode("utf-8-sig", "replace")


def _texts(
    pieces: Sequence[Mapping[str, Any]], lines: Sequence[Sequence[str]], sizes: Sequence[Sequence[str]]
) -> bytes:
    """Return the table of a campaign's texts, with the file and the size of each picture there is."""
    made = dict(enumerate(zip((line[2] for line in lines), sizes, strict=True)))
    header = ("piece", *_OF_PIECE, "file", "size")
    rows = []
    for number, piece in enumerate(pieces):
        file, size = made.get(number, ("", ()))
        rows.append([number + 1, *(piece.get(name) or "" for name in _OF_PIECE), file, " ".join(size)])
    return as_csv(header, rows).encode("utf-8-sig", "replace")


def _headers(columns: Sequence[str]) -> list[str]:
    """Return the names of all columns, made unique."""
    headers = list(_COLUMNS)
    for name in columns:
        header = harmless(name)
        while header in headers:
            header = f"{header} (of the table)"
        headers.append(header)
    return headers
