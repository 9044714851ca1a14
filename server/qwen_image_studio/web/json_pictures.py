"""Pictures within JSON, in base64 with or without the start of a data URL.

A picture's text is never copied: it is decoded where it lies in the body. So a request with pictures takes as much
memory as its body and the files in it together, and the body goes as soon as they are decoded.
"""

import binascii
import json
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeGuard, cast
from urllib.parse import unquote_to_bytes

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.words import MAX_JSON_BYTES, MAX_REFERENCE_CHARS
from qwen_image_studio.imaging.formats import format_of
from qwen_image_studio.web.bodies import read_json, received

_LEAST = 64
"""Shortest base64 that is taken for a picture without the start of a data URL, in characters; ids are shorter."""
_TEXT = re.compile(rb'"((?:[^"\\]++|\\.)*+)"?', re.DOTALL)
"""A text of JSON, or one that never ends: so each byte is looked at once, whatever was sent."""
_ESCAPE = re.compile(rb"\\[^/]")
"""An escape of JSON other than that of a slash, which some clients send and base64's decoder passes over."""
_DATA_URL = re.compile(rb"data:([^,]*),", re.IGNORECASE)
_NO_LETTER = re.compile(rb"\\[nr]|\\(?=/)|\s")
"""What base64 may have between its letters, in JSON."""
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/=]|\\[/nr]|\s)*+")


@dataclass(frozen=True, repr=False)
class LongText:
    """A text that may be a picture's, as it stands in the JSON."""

    written: memoryview

    def text(self) -> str:
        """Return the text itself. Raises StudioError ``malformed_body``."""
        try:
            return str(json.loads(b'"%b"' % bytes(self.written)))
        except ValueError as error:
            raise StudioError("malformed_body", "The body is not JSON that can be read.") from error


Picture = str | LongText
"""A picture as it was written into JSON."""


def read_with_pictures(fields: Collection[str], such_as: str) -> dict[str, Any]:
    """Return the JSON object of the current request, whose route says ``Body(max_json=None)``.

    Within the `fields`, pictures and other long texts are of class LongText. They do not count towards the size that
    JSON may have. Raises StudioError, which shows ``such_as`` as an example.
    """
    apart = _Apart(received())
    body = read_json(apart.rest, such_as)
    try:
        return cast(dict[str, Any], apart.put_back(body, fields))
    except RecursionError as error:
        raise StudioError("malformed_body", "The body is not JSON that can be read.") from error


def is_picture(value: object) -> TypeGuard[Picture]:
    """Return whether a value is a data URL, or base64 that is too long for an id."""
    if not isinstance(value, str | LongText):
        return False
    start = _start(value)
    if start[:5].lower() == b"data:":
        return True
    return len(start) >= _LEAST and _BASE64.fullmatch(start.removesuffix(b"\\")) is not None


def picture_bytes(picture: Picture, param: str) -> bytes:
    """Return the file in a picture's text. Raises StudioError that names the parameter for one that holds none."""
    start = _start(picture)
    match = _DATA_URL.match(start)
    if match is None and start[:5].lower() == b"data:":
        raise refusal(param, "is no data URL that can be read; write data:image/png;base64, and the file in base64")
    if isinstance(picture, LongText) and _ESCAPE.search(picture.written):
        picture = picture.text()  # a copy, where lines were broken
    try:
        written = picture.written if isinstance(picture, LongText) else picture.encode("ascii")
        content = written if match is None else written[match.end() :]
        if match is not None and not match[1].lower().endswith(b";base64"):
            return unquote_to_bytes(bytes(content))
        return _decoded(content)
    except ValueError:
        raise refusal(param, "holds no base64 that can be read; send the file itself, or encode it again") from None


def begins_as_picture(picture: Picture) -> bool:
    """Return whether a text is surely a picture: a data URL, or base64 that begins as the file of one does."""
    start = _start(picture)
    if start[:5].lower() == b"data:":
        return True
    head = _NO_LETTER.sub(b"", start)[:_LEAST]
    try:
        format_of(_decoded(head), "image")
    except (ValueError, StudioError):
        return False
    return len(head) == _LEAST and _BASE64.fullmatch(head) is not None


def with_texts(value: Any) -> Any:
    """Return a value with its long texts as what they say."""
    match value:
        case LongText():
            return value.text()
        case dict():
            return {name: with_texts(each) for name, each in value.items()}
        case list():
            return [with_texts(each) for each in value]
    return value


def _decoded(content: bytes | memoryview) -> bytes:
    """Return the bytes that are written in base64. Raises ValueError."""
    try:
        return binascii.a2b_base64(content)
    except binascii.Error:  # without its padding; too much of it does no harm
        return binascii.a2b_base64(bytes(content) + b"==")


def _start(picture: Picture) -> bytes:
    """Return the first characters of a picture's text."""
    if isinstance(picture, LongText):
        return bytes(picture.written[:1000])
    return picture[:1000].encode("utf-8", "replace")


# -- taking texts out of JSON, and putting them back -----------------------------------------------------------------


class _Apart:
    """A body without its long texts. Raises StudioError ``body_too_large`` where the rest is too long."""

    def __init__(self, body: bytearray) -> None:
        self._mark = f"text {secrets.token_hex(8)} "
        self._long: list[LongText] = []
        whole, end, size = memoryview(body), 0, 0
        pieces: list[memoryview | bytes] = []
        for match in _TEXT.finditer(body):
            first, last = match.span(1)
            if last - first > MAX_REFERENCE_CHARS:
                pieces += [whole[end:first], f"{self._mark}{len(self._long)}".encode()]
                self._long.append(LongText(whole[first:last]))
                size, end = size + first - end, last
        self._left = MAX_JSON_BYTES
        self._take(size + len(whole) - end)  # before it is copied
        self.rest = b"".join([*pieces, whole[end:]])

    def put_back(self, value: Any, fields: Collection[str] = ()) -> Any:
        """Return the value with each long text as what it says, but as it stands in the body in these fields of it."""
        match value:
            case str() if value.startswith(self._mark):
                found = self._found(value)
                self._take(len(found.written))
                return found.text()
            case dict():
                return {
                    self.put_back(name): self._kept(each) if name in fields else self.put_back(each)
                    for name, each in value.items()
                }
            case list():
                return [self.put_back(each) for each in value]
        return value

    def _kept(self, value: Any) -> Any:
        match value:
            case str() if value.startswith(self._mark):
                return self._found(value)
            case dict():
                return {self.put_back(name): self._kept(each) for name, each in value.items()}
            case list():
                return [self._kept(each) for each in value]
        return value

    def _found(self, marked: str) -> LongText:
        return self._long[int(marked.removeprefix(self._mark))]

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            message = f"The JSON is larger than {MAX_JSON_BYTES} bytes without its images; send less."
            raise StudioError("body_too_large", message)
