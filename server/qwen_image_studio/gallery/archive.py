"""The images of a job as one ZIP, written while it is read: it never lies on a disk nor whole in memory."""

import csv
import io
import re
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.fields import Cell
from qwen_image_studio.contract.words import State
from qwen_image_studio.gallery.gallery import Gallery
from qwen_image_studio.jobs import Job, JobStore, StoredImage

_COLUMNS = ("row", "state", "files", "job_id", "image_id", "seed", "error")
_RISKY = re.compile(r"[\t\r\n]|[\s\0\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""How cells begin that spreadsheets run, signs of full width too (OWASP, CSV Injection)."""


def archive(job: Job, store: JobStore, gallery: Gallery) -> Iterator[bytes]:
    """The ZIP in pieces. Raises StudioError, before the first piece where that can be known: ``not_found`` where the
    job has no image yet or no longer, ``storage_failed``.
    """
    rows = store.row_jobs(job.id) if job.rows is not None else []
    images = store.images([job.id, *(row.id for row in rows)], with_deleted=True)
    if all(image.deleted_at is not None for its in images.values() for image in its):
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
            stem = "image" if job.rows is None else "contact-sheet"
            owner, stem = (job, stem) if row is None else (row, f"row-{(row.row or 0) + 1:03d}")
            names, gone = [], []
            for name, image in _named(stem, images.get(owner.id, ())):
                if image.deleted_at is not None:
                    gone.append(f"Image {image.id} was deleted.")
                    continue
                try:
                    data = gallery.open(image.key)
                except StudioError as error:
                    if error.code != "not_found":
                        raise
                    gone.append(f"The file of image {image.id} is gone.")  # the others are worth having
                    continue
                written.writestr(_info(name, image.created_at), data)
                yield pipe.taken()
                names.append(name)
            if row is not None:
                lines.append(_line(row, names, images.get(row.id, ()), gone))
        if job.rows is not None:
            written.writestr(_info("rows.csv", job.created_at), _csv(job, lines))
        elif not written.namelist():
            raise StudioError("not_found", f"The images of job {job.id} are gone.")
    yield pipe.taken()


class _Pipe(io.RawIOBase):
    """Takes what the ZIP writer writes until it is taken on.

    The writer goes back to the head of a file to fill in its size and checksum, for readers that do not look behind
    the file for these (Java's ZipInputStream); so no piece is taken before its file is whole.
    """

    def __init__(self) -> None:
        self._piece, self._before = io.BytesIO(), 0

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def seekable(self) -> bool:
        """Within what was not taken yet."""
        return True

    def tell(self) -> int:
        """Bytes from the beginning of the ZIP."""
        return self._before + self._piece.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the ZIP. Raises ValueError where that was taken."""
        return self._before + self._piece.seek(offset - self._before, whence)

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        """Keep the bytes."""
        return self._piece.write(data)

    def taken(self) -> bytes:
        """What was written since the last time."""
        piece = self._piece.getvalue()
        self._piece, self._before = io.BytesIO(), self._before + len(piece)
        return piece


def _named(stem: str, images: Sequence[StoredImage]) -> Iterator[tuple[str, StoredImage]]:
    """row-001.png; of several images row-001-1.png, row-001-2.png."""
    for number, image in enumerate(images, start=1):
        kind = image.mime_type.partition("/")[2].replace("jpeg", "jpg")
        yield f"{stem}.{kind}" if len(images) == 1 else f"{stem}-{number}.{kind}", image


def _info(name: str, created_at: float) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, time.gmtime(created_at)[:6])
    info.external_attr = 0o644 << 16
    return info


# -- rows.csv ------------------------------------------------------------------------------------------------------


def _line(row: Job, names: Sequence[str], images: Sequence[StoredImage], gone: Sequence[str]) -> list[str]:
    images = [image for image in images if image.deleted_at is None]
    seeds = [str(image.seed) for image in images if image.seed is not None]
    errors = [row.error_message] if row.error_message else []
    its = (row.id, " ".join(image.id for image in images), " ".join(seeds), " ".join([*errors, *gone]))
    return [str((row.row or 0) + 1), row.state.value, " ".join(names), *its]


def _csv(job: Job, lines: Sequence[Sequence[str]]) -> bytes:
    """A header and a line for each row, also for those that are no jobs yet; the caller's own columns come last."""
    table: Sequence[Mapping[str, Cell]] = job.plan["table"]
    columns = list(dict.fromkeys(name for row in table for name in row))
    text = io.StringIO(newline="")
    written = csv.writer(text, quoting=csv.QUOTE_ALL)
    written.writerow(_headers(columns))
    missing = (State.CANCELLED if job.state.final else State.QUEUED).value
    for number, row in enumerate(table):
        made = lines[number] if number < len(lines) else [str(number + 1), missing, *[""] * (len(_COLUMNS) - 2)]
        cells = [*made, *("" if row.get(name) is None else str(row[name]) for name in columns)]
        written.writerow(_safe(cell) for cell in cells)
    return text.getvalue().encode("utf-8-sig", "replace")


def _headers(columns: Sequence[str]) -> list[str]:
    """The names of all columns, each there once."""
    headers = list(_COLUMNS)
    for name in columns:
        header = _safe(name)
        while header in headers:
            header = f"{header} (of the table)"
        headers.append(header)
    return headers


def _safe(cell: str) -> str:
    """A cell that a spreadsheet would run as a formula, marked as text; spreadsheets look past leading blanks."""
    return f"'{cell}" if _RISKY.match(cell) else cell
