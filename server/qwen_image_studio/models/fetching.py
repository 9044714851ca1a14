"""One file from the hub to the disk: it goes on where an earlier try broke off, and is kept only with the right sum."""

import threading
from collections.abc import Callable
from pathlib import Path

import httpx2
from huggingface_hub import constants, get_session, get_token, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError

from qwen_image_studio.models.pins import Listed

TRIES = 4
"""Tries in a row that may bring nothing before a file is given up; one that brings something starts them anew."""
PAUSE_S = 1.0
"""Seconds between two such tries, at first."""
_PASSES = {408, 429, 500, 502, 503, 504}
"""Statuses of an answer that may be another one a moment later."""

Count = Callable[[int], None]
"""Told of bytes that have come; of a negative number where some were thrown away."""


class Stopped(Exception):
    """Another file of the same pull was given up, or the person stopped it; what has come stays."""


class WrongSum(Exception):
    """A file came twice with a sum that is not the listed one; nothing of it was kept."""

    def __init__(self, file: Listed, found: str) -> None:
        super().__init__(file.path)
        self.file, self.found = file, found


def partial(target: Path) -> Path:
    """Return where the beginning of a file lies that has not come whole yet."""
    return target.with_name(f"{target.name}.partial")


def size_of(path: Path) -> int:
    """Return a file's size in bytes; 0 where it is not there."""
    return path.stat().st_size if path.is_file() else 0


def fetch(url: str, file: Listed, target: Path, count: Count, stop: threading.Event) -> None:
    """Bring a file to `target`. Raises WrongSum, Stopped, OSError, or what the hub's client raises.

    A beginning that is there already is gone on with. Content with a wrong sum is thrown away and fetched once more.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beginning = partial(target)
    for _ in range(2):
        _complete(url, file.size, beginning, count, stop)
        if (found := file.sum_of(beginning)) == file.digest and size_of(beginning) == file.size:
            beginning.replace(target)
            return
        count(-size_of(beginning))
        beginning.unlink()
    raise WrongSum(file, found)


def _complete(url: str, size: int, beginning: Path, count: Count, stop: threading.Event) -> None:
    """Stream until the beginning is the whole; a connection that breaks off is taken up again."""
    beginning.touch()
    idle = 0
    while (had := size_of(beginning)) < size:
        try:
            _stream(url, beginning, had, count, stop)
        except (httpx2.TransportError, HfHubHTTPError) as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code not in _PASSES:
                raise
            idle = 0 if size_of(beginning) > had else idle + 1
            if idle >= TRIES:
                raise
            if stop.wait(PAUSE_S * idle):
                raise Stopped from error


def _stream(url: str, beginning: Path, had: int, count: Count, stop: threading.Event) -> None:
    with get_session().stream("GET", url, headers=_headers(had), timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as answer:
        hf_raise_for_status(answer)
        goes_on = answer.status_code == httpx2.codes.PARTIAL_CONTENT
        if not goes_on:  # the whole file comes, whatever was asked for
            count(-had)
        came = False
        with beginning.open("ab" if goes_on else "wb") as out:
            for chunk in answer.iter_bytes():
                if stop.is_set():
                    raise Stopped
                out.write(chunk)
                count(len(chunk))
                came = came or bool(chunk)
        if not came:
            raise httpx2.RemoteProtocolError("an answer without content")


def _headers(had: int) -> dict[str, str]:
    """Return the headers of a request for a file of which so many bytes are here; who may have it is in the token."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "qwen-image-studio"}
    if token := None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token():
        headers["Authorization"] = f"Bearer {token}"
    if had:
        headers["Range"] = f"bytes={had}-"
    return headers
