"""Keys: the names of stored files. Only the gallery makes and reads them; all other code passes them on unchanged.

A key begins with the day, such as ``2026/11/21/``. In the keys of an attempt at a job the job's id follows, so that
files left behind can be found by it.
"""

import hashlib
import mimetypes
import re
import time
from typing import NamedTuple

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.jobs import Lease

MAX_KEY_CHARS = 400
# With an allow-list nothing has to be escaped: no "..", hidden name, empty segment, NUL, backslash, drive or space can
# occur. A segment stays below 255 bytes, the longest file name of common file systems.
_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}(?:\.[A-Za-z0-9_-]{1,20}){0,2}"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)
_UPLOAD = re.compile(r"\d{4}/\d{2}/\d{2}/img_[0-9a-f]{24}\.[a-z.]+", re.ASCII)
_STORED = re.compile(
    r"\d{4}/\d{2}/\d{2}/(?:img_[0-9a-f]{24}|job_[0-9a-f]+-[0-9]+(?:-img_[0-9a-f]{24})?)"
    r"(?:\.(?:thumbnail|comparison|preview))?\.(?:png|jpeg|webp)",
    re.ASCII,
)
INSTALLATION_KEY = "installation.id"
"""Key of the file with the id of the database that the stored pictures belong to."""
_PREVIEW = ".preview.webp"
_ARCHIVE = re.compile(r"archives/(job_[0-9a-f]+)\.zip", re.ASCII)


class PictureKeys(NamedTuple):
    """The keys of one picture's files; an upload has no file under `comparison`."""

    picture: str
    thumbnail: str
    comparison: str


def check_key(key: str) -> str:
    """Return ``key`` unchanged, such as ``2026/11/21/img_1.png``.

    Raises:
        StudioError: ``not_found`` for a key that no image can have.
    """
    if len(key) > MAX_KEY_CHARS or not _KEY.fullmatch(key):
        raise no_such_image()
    return key


def mime_type_of(key: str) -> str:
    """Return the type of the file at a key, by its extension."""
    return mimetypes.guess_type(key)[0] or "application/octet-stream"


def no_such_image() -> StudioError:
    """Return the error for a key under which nothing is stored."""
    return StudioError("not_found", "There is no such image. It may have been deleted; make it again.")


def is_picture_key(key: str) -> bool:
    """Return whether the gallery may have made the key; everything else in a folder belongs to somebody else."""
    return _STORED.fullmatch(key) is not None


def is_upload_key(key: str) -> bool:
    """Return whether the key is one of `upload_keys`; those of attempts begin with a job."""
    return _UPLOAD.fullmatch(key) is not None


def is_preview_key(key: str) -> bool:
    """Return whether the key is one of `preview_key`, under which one file after the other is stored."""
    return key.endswith(_PREVIEW)


def upload_keys(image_id: str, created_at: float) -> PictureKeys:
    """Return the keys of an uploaded image, which is stored as PNG."""
    return _picture_keys(f"{_day(created_at)}/{image_id}", "png")


def attempt_keys(lease: Lease, token: int, number: int, extension: str) -> PictureKeys:
    """Return the keys of the picture with this number (from 0) of the attempt with this token."""
    return _picture_keys(f"{_stem(lease, token)}-{attempt_image_id(lease, token, number)}", extension)


def attempt_image_id(lease: Lease, token: int, number: int) -> str:
    """Return the id of the picture with this number (from 0); it is different in each attempt, so that none overwrites
    another's.
    """
    return f"img_{hashlib.sha256(f'{lease.job.id}/{token}/{number}'.encode()).hexdigest()[:24]}"


def preview_key(lease: Lease, token: int) -> str:
    """Return the key of the preview of an attempt's unfinished picture."""
    return f"{_stem(lease, token)}{_PREVIEW}"


def archive_key(job_id: str) -> str:
    """Return the key for links to a job's archive. No file has such a key, since those begin with a year."""
    return f"archives/{job_id}.zip"


def archived_job(key: str) -> str | None:
    """Return the id of the job whose archive has this key, or None for any other key."""
    match = _ARCHIVE.fullmatch(key)
    return match[1] if match else None


def _picture_keys(beginning: str, extension: str) -> PictureKeys:
    return PictureKeys(f"{beginning}.{extension}", f"{beginning}.thumbnail.webp", f"{beginning}.comparison.webp")


def _stem(lease: Lease, token: int) -> str:
    return f"{_day(lease.job.created_at)}/{lease.job.id}-{token}"


def _day(created_at: float) -> str:
    return time.strftime("%Y/%m/%d", time.gmtime(created_at))
