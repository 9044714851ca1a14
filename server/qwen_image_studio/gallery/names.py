"""What a storage key may look like: the one check that stands between a name in a URL and a file of the host."""

import re

from qwen_image_studio.contract.errors import StudioError

MAX_KEY_CHARS = 400
# An allow-list leaves nothing to escape: no "..", no hidden name, no empty segment, NUL, backslash, drive or space.
# A segment stays below 255 bytes, the longest file name of common file systems.
_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}(?:\.[A-Za-z0-9_-]{1,20}){0,2}"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)


def check_key(key: str) -> str:
    """Return ``key`` as it is, such as ``2026/11/21/img_1.png``.

    Raises:
        StudioError: ``not_found`` for a key that no image can have.
    """
    if len(key) > MAX_KEY_CHARS or not _KEY.fullmatch(key):
        raise no_such_image()
    return key


def no_such_image() -> StudioError:
    """The error for a key under which nothing is stored."""
    return StudioError("not_found", "There is no such image. It may have been deleted; make it again.")
