"""Keys: the names of stored files. Only the gallery makes and reads them; everyone else hands them on as they are.

A key begins with the day, such as ``2026/11/21/``. What an attempt at a job stores goes on with the job's id, so that
what it leaves behind is found by that.
"""

import hashlib
import re
import time
from typing import NamedTuple

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.jobs import Lease

MAX_KEY_CHARS = 400
# An allow-list leaves nothing to escape: no "..", no hidden name, no empty segment, NUL, backslash, drive or space.
# A segment stays below 255 bytes, the longest file name of common file systems.
_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}(?:\.[A-Za-z0-9_-]{1,20}){0,2}"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)
_ARCHIVE = re.compile(r"archives/(job_[0-9a-f]+)\.zip", re.ASCII)


class PictureKeys(NamedTuple):
    """Keys of one picture's files; an upload has no comparison."""

    picture: str
    thumbnail: str
    comparison: str


def check_key(key: str) -> str:
    """Return ``key`` as it is, such as ``2026/11/21/img_1.png``.

    Raises:
        StudioError: ``not_found`` for a key that no image can have.
    """
    if len(key) > MAX_KEY_CHARS or not _KEY.fullmatch(key):
        raise no_such_image()
    return key


def no_such_image() -> StudioError:
    """Return the error for a key under which nothing is stored."""
    return StudioError("not_found", "There is no such image. It may have been deleted; make it again.")


def upload_keys(image_id: str, created_at: float) -> PictureKeys:
    """Return the keys of an uploaded image, which is kept as PNG."""
    return _picture_keys(f"{_day(created_at)}/{image_id}", "png")


def attempt_keys(lease: Lease, token: int, number: int, extension: str) -> PictureKeys:
    """Return the keys of the picture with that number (from 0) of the attempt with that token."""
    return _picture_keys(f"{_stem(lease, token)}-{attempt_image_id(lease, token, number)}", extension)


def attempt_image_id(lease: Lease, token: int, number: int) -> str:
    """Return the id of that picture: each attempt has ids of its own, so that none disturbs another."""
    return f"img_{hashlib.sha256(f'{lease.job.id}/{token}/{number}'.encode()).hexdigest()[:24]}"


def preview_key(lease: Lease, token: int) -> str:
    """Return the key of the picture in between that an attempt shows."""
    return f"{_stem(lease, token)}.preview.webp"


def archive_key(job_id: str) -> str:
    """Return the key under which a job's archive has a link. No file has such a key: theirs begin with a year."""
    return f"archives/{job_id}.zip"


def archived_job(key: str) -> str | None:
    """Return the id of the job whose archive has the key; None where it is the key of something else."""
    match = _ARCHIVE.fullmatch(key)
    return match[1] if match else None


def _picture_keys(beginning: str, extension: str) -> PictureKeys:
    return PictureKeys(f"{beginning}.{extension}", f"{beginning}.thumbnail.webp", f"{beginning}.comparison.webp")


def _stem(lease: Lease, token: int) -> str:
    return f"{_day(lease.job.created_at)}/{lease.job.id}-{token}"


def _day(created_at: float) -> str:
    return time.strftime("%Y/%m/%d", time.gmtime(created_at))
