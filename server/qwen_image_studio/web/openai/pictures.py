"""Images within JSON, as OpenAI's clients send them: data URLs among ids and URLs, in `image`, `images` and `mask`."""

import binascii
import re
from collections.abc import Mapping
from typing import Any, TypeGuard
from urllib.parse import unquote_to_bytes

from flask import request

from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.contract.words import MAX_DATA_URLS
from qwen_image_studio.recipe import MASK, Upload, image_params
from qwen_image_studio.web.routing import read_json

_IN_JSON = re.compile(rb'(?<!\\)"(data:image[^"\\]*(?:\\/[^"\\]*)*)"')
"""A data URL as a text of JSON; some clients write / with a backslash."""
_MARK = "data:taken-out,"
_DATA_URL = re.compile(r"data:([^,]*),", re.IGNORECASE)


def read_body() -> dict[str, Any]:
    """Return the JSON of the current request. Raises StudioError.

    Data URLs do not count towards the size that JSON may have, and nothing but the request's own limit holds for them,
    as for files.
    """
    taken: list[str] = []

    def take_out(found: re.Match[bytes]) -> bytes:
        if len(taken) > MAX_DATA_URLS:
            raise refusal("image", f"there are more than {MAX_DATA_URLS} images; send fewer")
        taken.append(found[1].replace(b"\\/", b"/").decode("ascii", "replace"))
        return b'"%s%d"' % (_MARK.encode(), len(taken) - 1)

    data = _IN_JSON.sub(take_out, request.get_data(cache=False))
    body = read_json(data, such_as='{"prompt": "a red apple"}')
    return {name: _put_back(value, taken) for name, value in body.items()} if taken else body


def _put_back(value: Any, taken: list[str], depth: int = 0) -> Any:
    """Return the value with the data URLs that were taken out of it, as deep as images may stand."""
    if isinstance(value, str) and value.startswith(_MARK):
        number = value.removeprefix(_MARK)
        return taken[int(number)] if number.isascii() and number.isdigit() and int(number) < len(taken) else value
    if isinstance(value, list) and depth < 2:
        return [_put_back(each, taken, depth + 1) for each in value]
    if isinstance(value, dict) and depth < 3:
        return {name: _put_back(each, taken, depth + 1) for name, each in value.items()}
    return value


def with_pictures(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[Upload]]:
    """Return the body with the ids and URLs of its images as `image`, and its data URLs as files.

    `images` is OpenAI's list of objects with `image_url` or `file_id`. Raises StudioError that names the parameter at
    fault.
    """
    if body.get("image") not in (None, [], "") and body.get("images") not in (None, []):
        raise refusal("images", "send image or images, not both")
    rest = {name: value for name, value in body.items() if name not in {"images", MASK}}
    said = body.get("images") or body.get("image")
    listed = [_reference(each) for each in said] if isinstance(said, list) else said
    several = listed if isinstance(listed, list) else [listed]
    data_urls = [each for each in several if _is_data_url(each)]
    others = [each for each in several if not _is_data_url(each)]
    named = zip(image_params(len(data_urls)), data_urls, strict=True)
    uploads = [Upload(name, _bytes(each, name)) for name, each in named]
    if isinstance(listed, list):
        rest["image"] = others or None
    else:
        rest["image"] = None if data_urls else listed
    mask = _reference(body.get(MASK))
    if _is_data_url(mask):
        uploads.append(Upload(MASK, _bytes(mask, MASK)))
    elif mask:
        rest[MASK] = mask
    return rest, uploads


def _reference(value: Any) -> Any:
    """Return the id or URL in one of OpenAI's objects for an image; anything else as it is."""
    if not isinstance(value, dict):
        return value
    found = next((value[name] for name in ("image_url", "file_id", "url") if value.get(name)), value)
    return found["url"] if isinstance(found, dict) and isinstance(found.get("url"), str) else found


def _is_data_url(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value[:5].casefold() == "data:"


def _bytes(url: str, param: str) -> bytes:
    """Return the file in a data URL. Raises StudioError for one that holds none."""
    match = _DATA_URL.match(url[:1000])
    if match is None:
        raise refusal(param, "is no data URL that can be read; write data:image/png;base64, and the file in base64")
    content = url[match.end() :]
    if not match[1].casefold().endswith(";base64"):
        return unquote_to_bytes(content)
    try:
        return binascii.a2b_base64(content.encode("ascii"))
    except (ValueError, binascii.Error):
        raise refusal(param, "holds no base64 that can be read; send the file itself, or encode it again") from None
