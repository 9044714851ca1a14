"""Bodies of JSON as they are received: into memory once, and into an object of Python's."""

import json
from typing import Any

from flask import g, request

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import MAX_JSON_BYTES

_PIECE_BYTES = 64 * 1024
_MB = 10**6


def receive_once(most: int) -> None:
    """Receive the current request's body for `received`, without a second copy of it, however slowly it comes.

    Raises StudioError ``body_too_large`` for more than `most` bytes, and HTTPException.
    """
    length = request.content_length
    if length is not None and length > most:
        message = f"The JSON is larger than the {most // _MB} MB that this server takes; send images as files."
        raise StudioError("body_too_large", message)
    request.max_content_length = most
    body, stream = bytearray(), request.stream
    while (length is None or len(body) < length) and (piece := stream.read(_PIECE_BYTES)):
        body += piece
    g.received = body


def received() -> bytearray:
    """Return the body that `receive_once` received; it is the caller's alone from now on, and gone with it."""
    body: bytearray = g.pop("received")
    return body


def begins_with() -> bytes:
    """Return the first bytes of the body that `receive_once` received, white space left out."""
    return bytes(g.received[:100]).lstrip()


def read_json(data: bytes, such_as: str = '{"operation": "generate", ...}') -> dict[str, Any]:
    """Return the JSON object in the bytes. Raises StudioError, which shows ``such_as`` as an example."""
    if len(data) > MAX_JSON_BYTES:
        raise StudioError("body_too_large", f"The JSON is larger than {MAX_JSON_BYTES} bytes; send images as files.")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StudioError("malformed_body", "The body is not JSON that can be read.") from error
    if not isinstance(body, dict):
        raise StudioError("malformed_body", f"The body must be a JSON object such as {such_as}.")
    return body
