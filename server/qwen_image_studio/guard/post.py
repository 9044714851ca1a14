"""Posting to an address that a user gave (`errand`): public hosts, and private ones where the operator allowed them.

Redirects are not followed, and of the answer no more is read than an operator wants to see.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from urllib3.response import BaseHTTPResponse

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.guard.errand import FAILURES, NotPlain, cause, connection, exempts, is_plainly_private, plain
from qwen_image_studio.guard.public_hosts import HostNotPublic

TOLD_CHARS = 200
"""Longest part of an answer's body that is kept, in characters."""
_READ_BYTES = 4096
# identity: nothing is unpacked here; close: one connection for each errand
_HEADERS = {"User-Agent": "qwen-image-studio", "Accept-Encoding": "identity", "Connection": "close"}


@dataclass(frozen=True)
class Answer:
    """What came of posting."""

    status: int | None
    """The HTTP status; None where there was no answer."""
    told: str = ""
    """The beginning of the answer's body; without an answer, why there was none."""
    retry_after_s: float | None = None
    """Seconds after which the receiver wants to be asked again, where it says so."""


def check_address(url: str, *, allow: Sequence[str], param: str) -> None:
    """Raise StudioError ``url_not_allowed``, which names `param`, where the URL is not one to post to, as far as that
    shows without looking its host up; `post` judges again whom it reaches.
    """
    try:
        parsed = plain(url)
    except NotPlain as error:
        message = f"{param}: the address may not be called: {error}. Send a plain http:// or https:// address."
        raise StudioError("url_not_allowed", message, param=param) from None
    if is_plainly_private(parsed) and not exempts(allow, parsed):
        message = (
            f"{param}: the address may not be called: it is not on the public Internet. Have the operator add the host "
            "to STUDIO_WEBHOOK_ALLOW."
        )
        raise StudioError("url_not_allowed", message, param=param)


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, allow: Sequence[str]) -> Answer:
    """Send one POST and return what came of it; nothing is raised.

    `timeout_s` covers everything from the look-up of the name on. `allow` names private hosts (``host`` or
    ``host:port``) that may be called all the same.
    """
    deadline = time.monotonic() + timeout_s
    try:
        parsed = plain(url)
        with closing(connection(parsed, allow=allow, deadline=deadline)) as sent:
            sent.request(
                "POST",
                parsed.request_uri,
                body=body,
                headers={**_HEADERS, **headers},
                preload_content=False,
                decode_content=False,
            )
            with closing(sent.getresponse()) as answer:
                return Answer(answer.status, _beginning(answer), _retry_after(answer.headers.get("Retry-After")))
    except (HostNotPublic, NotPlain):
        return Answer(None, "its host is not on the public Internet, or not written plainly")
    except FAILURES as error:
        return Answer(None, "it took too long" if time.monotonic() >= deadline else cause(error))


def _beginning(answer: BaseHTTPResponse) -> str:
    data = b""
    with suppress(*FAILURES):  # the status has come, and that is what counts
        data = answer.read1(_READ_BYTES)
    text = " ".join(data.decode("utf-8", "replace").split())
    return "".join(each if each.isprintable() else "?" for each in text)[:TOLD_CHARS]


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which has a number or a date; None where it cannot be read."""
    if value is None:
        return None
    if value.strip().isdecimal() and len(value.strip()) < 10:
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None
