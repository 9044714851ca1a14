"""Forms of OpenAI's clients and of those of other servers: a field for each parameter, and images as files or texts."""

import json
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

from flask import request
from werkzeug.datastructures import MultiDict

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.words import MAX_JSON_BYTES
from qwen_image_studio.recipe import MASK, Upload
from qwen_image_studio.web.bodies import received
from qwen_image_studio.web.forms import check_names, in_order, read_uploads
from qwen_image_studio.web.routing import URLENCODED

MAX_PARTS = 60
"""Largest number of a form's fields and files."""
FORMS = frozenset({"multipart/form-data", URLENCODED})
"""Types of content that are forms."""
_IMAGE = re.compile(r"(?:images?|url)(?:\[([0-9]{0,4})\])?")
"""Names of fields that hold an image."""
_PART_OF = re.compile(r"(slots|region|target_size|direction)\[(\w{1,64})\]")
"""Names of fields for the parts of an object, as OpenAI's client writes one of extra_body."""
_FIELD_OF = re.compile(r"loras\[([0-9]{0,2})\]\[(name|scale)\]")
"""Names of fields for the parts of a LoRA, likewise; what has no number is told by its place."""
_ROLES = "roles[]"
"""Name of the fields that hold the role of an image each, as OpenAI's client writes a list."""
_OBJECTS = frozenset({"slots", "region", "target_size", "direction"})


def read_form(known: Collection[str]) -> tuple[dict[str, Any], list[Upload]]:
    """Return the fields of the current form, and its files in order. Raises StudioError.

    Images may also be fields, with ids, URLs or base64. Only the `known` fields may not come twice.
    """
    texts, uploads = _urlencoded() if request.mimetype == URLENCODED else _multipart()
    sent = [(name, [value for value in values if value.strip()]) for name, values in texts.lists()]
    images = [(name, value) for name, values in sent if _IMAGE.fullmatch(name) for value in values]
    others = {name: values for name, values in sent if values and name != _ROLES and not _IMAGE.fullmatch(name)}
    if sum(len(value) for name, values in others.items() if name != MASK for value in values) > MAX_JSON_BYTES:
        message = f"The form is larger than {MAX_JSON_BYTES} bytes without its images; send less."
        raise StudioError("body_too_large", message)
    body = _fields(others, known)
    if roles := texts.getlist(_ROLES):  # with the empty ones, which say that a picture has none
        if "roles" in body:
            raise _twice("roles")
        body["roles"] = roles
    if images:
        body["image"] = [images[index][1] for index in in_order((name for name, _ in images), _IMAGE)]
    return body, uploads


def _multipart() -> tuple[MultiDict[str, str], list[Upload]]:
    check_names()
    return request.form, read_uploads(images=_IMAGE)


def _urlencoded() -> tuple[MultiDict[str, str], list[Upload]]:
    try:
        pairs = parse_qsl(received().decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_PARTS)
    except ValueError as error:
        raise StudioError("body_too_large", f"The form has more than {MAX_PARTS} fields; send fewer.") from error
    return MultiDict(pairs), []


def _fields(sent: dict[str, list[str]], known: Collection[str]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    objects: dict[str, dict[str, str]] = {}
    for name, values in sent.items():
        if _FIELD_OF.fullmatch(name):
            continue
        if len(values) > 1 and name in known:  # clients send empty fields for what was left open, which are gone here
            raise _twice(name)
        if part := _PART_OF.fullmatch(name):
            objects.setdefault(part[1], {})[part[2]] = values[0]
        else:
            body[name] = _object(values[0]) if name in _OBJECTS else values[0]
    parts: dict[str, Any] = {**objects, **_loras(sent)}
    if both := body.keys() & parts:
        raise _twice(both.pop())
    return {**body, **parts}


def _loras(sent: dict[str, list[str]]) -> dict[str, list[dict[str, str]]]:
    """Return the LoRAs that come as a field for each part. Raises StudioError where it is not clear which is whose."""
    found: dict[tuple[int, int], dict[str, str]] = {}
    for name, values in sent.items():
        if match := _FIELD_OF.fullmatch(name):
            for place, value in enumerate(values):
                found.setdefault((int(match[1] or 0), place), {})[match[2]] = value
    if 0 < len(sent.get("loras[][scale]", ())) < len(found):
        raise refusal("loras", "in a form, send a scale for each name, or all of them as one text: ink-wash:0.8, photo")
    return {"loras": [found[place] for place in sorted(found)]} if found else {}


def _twice(name: str) -> StudioError:
    return StudioError("invalid_value", f"{name[:60]}: was sent more than once.", param=name[:60])


def _object(text: str) -> Any:
    """Return an object that was sent as a field of JSON; other text as it is, to be refused under its field's name."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
