"""The images of a job as one ZIP, written while it is read: it never lies on a disk nor whole in memory."""

import csv
import io
import re
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence

from server.errors import StudioError
from server.jobs import Job, JobStore, StoredImage
from server.schemas import Cell
from server.storage import Storage
from server.vocabulary import State

_KEY = re.compile(r"archives/(job_[0-9a-f]+)\.zip", re.ASCII)
_COLUMNS = ("row", "state", "files", "job_id", "image_id", "seed", "error")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How cells begin that spreadsheets run (OWASP, CSV Injection)."""


def archive_key(job_id: str) -> str:
    """Key under which a job's archive has a link. No image has such a key: theirs begin with a year."""
    return f"archives/{job_id}.zip"


def archived_job(key: str) -> str | None:
    """The job whose archive has the key; None where it is the key of something else."""
    match = _KEY.fullmatch(key)
    return match[1] if match else None


def archive(job: Job, store: JobStore, storage: Storage) -> Iterator[bytes]:
    """The ZIP in pieces. Raises StudioError ``not_found``, before the first piece, where the job has no image yet."""
    rows = store.row_jobs(job.id) if job.rows is not None else []
    images = store.images([job.id, *(row.id for row in rows)])
    if not images:
        raise StudioError("not_found", f"Job {job.id} has no image yet; ask again once it has.")
    return _written(job, rows, images, storage)


def _written(
    job: Job, rows: Sequence[Job], images: Mapping[str, Sequence[StoredImage]], storage: Storage
) -> Iterator[bytes]:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as written:
        lines = []
        for row in (None, *rows):
            stem = "image" if job.rows is None else "contact-sheet"
            owner, stem = (job, stem) if row is None else (row, f"row-{(row.row or 0) + 1:03d}")
            names = []
            for name, image in _named(stem, images.get(owner.id, ())):
                try:
                    data = storage.open(image.key)
                except StudioError:  # deleted from the disk; the others are worth having
                    continue
                written.writestr(_info(name, image.created_at), data)
                yield pipe.taken()
                names.append(name)
            if row is not None:
                lines.append(_line(row, names, images.get(row.id, ())))
        if job.rows is not None:
            text = io.StringIO(newline="")
            csv.writer(text).writerows(_safe(line) for line in _table(job, lines))
            written.writestr(_info("rows.csv", job.created_at), text.getvalue().encode("utf-8-sig", "replace"))
    yield pipe.taken()


class _Pipe(io.RawIOBase):
    """Takes what the ZIP writer writes until it is taken on."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        """It is for writing, and cannot seek: the writer puts each size behind its file."""
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        """Keep the bytes."""
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


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


def _line(row: Job, names: Sequence[str], images: Sequence[StoredImage]) -> list[str]:
    seeds = [str(image.seed) for image in images if image.seed is not None]
    its = (row.id, " ".join(image.id for image in images), " ".join(seeds), row.error_message or "")
    return [str((row.row or 0) + 1), row.state.value, " ".join(names), *its]


def _table(job: Job, lines: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """A header and a line for each row, also for those that are no jobs yet; the caller's own columns come last."""
    table: Sequence[Mapping[str, Cell]] = job.plan["table"]
    columns = list(dict.fromkeys(name for row in table for name in row))
    yield [*_COLUMNS, *(f"{name} (of the table)" if name in _COLUMNS else name for name in columns)]
    missing = (State.CANCELLED if job.state.final else State.QUEUED).value
    for number, row in enumerate(table):
        made = lines[number] if number < len(lines) else [str(number + 1), missing, *[""] * (len(_COLUMNS) - 2)]
        yield [*made, *("" if row.get(name) is None else str(row[name]) for name in columns)]


def _safe(line: Sequence[str]) -> list[str]:
    """Cells that a spreadsheet would run as formulas, marked as text."""
    return [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in line]
