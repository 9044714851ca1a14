"""From a request's body to a queued job: read, check, fetch and keep the inputs, plan, submit."""

import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from flask import request
from PIL import Image
from pydantic import ValidationError

from server.engine.plan import plan
from server.errors import StudioError, from_validation
from server.fetch import fetch
from server.imaging import open_image, read_facts, store_copy, thumbnail
from server.jobs import Job, NewJob, StoredImage
from server.prompts.templates import filled
from server.schemas import JOB_REQUEST, AdjustRequest, GenerateRequest, Request
from server.storage.links import verify
from server.vocabulary import Operation
from server.web.services import services

MAX_JSON_BYTES = 1_000_000
FILE_FIELDS = ("image", "image[]")


@dataclass(frozen=True)
class Upload:
    """One file of a multipart body."""

    param: str
    data: bytes


@dataclass(frozen=True)
class Submission:
    """What one request asks for."""

    request: Request
    uploads: Sequence[Upload]
    idempotency_key: str | None

    def fingerprint(self) -> str:
        """SHA-256 of what was asked, by which a repeated request is known (not the key, not drawn seeds)."""
        asked = self.request.model_dump(mode="json", exclude_unset=True)
        files = [hashlib.sha256(upload.data).hexdigest() for upload in self.uploads]
        return hashlib.sha256(json.dumps([asked, files], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Input:
    """One image to edit: kept already under an id, or new."""

    size: tuple[int, int]
    id: str | None = None
    image: Image.Image | None = None
    painted_by: str = ""
    """The model that had painted it, as its metadata says."""


def read_submission() -> Submission:
    """Read the current request. Raises StudioError with the parameter at fault."""
    if request.mimetype == "multipart/form-data":
        body, uploads = _read_multipart()
    elif request.mimetype == "application/json":
        body, uploads = _read_json(request.get_data(cache=False)), []
    else:
        raise StudioError(
            "unsupported_media_type", "Send application/json, or multipart/form-data with a 'params' field of JSON."
        )
    return Submission(_validated(body, uploads), uploads, _idempotency_key())


def accept(submission: Submission, owner: str) -> tuple[Job, bool]:
    """Queue the submission; the flag is false where the same one had come before."""
    parts = services()
    fingerprint = submission.fingerprint()
    if earlier := parts.store.replay(owner, submission.idempotency_key, fingerprint):
        return earlier, False
    asked = filled(submission.request, parts.settings.templates)
    inputs = _inputs(submission, owner)
    sizes, has_font = [each.size for each in inputs], parts.settings.font is not None
    planned, warnings = plan(asked, parts.models, sizes, has_font=has_font)
    parts.store.check_room(parts.settings.queue_limit, planned.model)  # before files are kept for a job that cannot be
    kept = [each.id or _keep(each, owner) for each in inputs]
    new = NewJob(
        owner=owner,
        operation=planned.operation,
        model=planned.model,
        tier=planned.tier,
        plan=planned.model_dump(mode="json"),
        inputs=kept,
        warnings=warnings,
        idempotency_key=submission.idempotency_key,
        fingerprint=fingerprint,
    )
    return parts.store.submit(new, queue_limit=parts.settings.queue_limit)


# -- reading -------------------------------------------------------------------------------------------------------


def _read_multipart() -> tuple[dict[str, Any], list[Upload]]:
    unknown = [name for name in (*request.form, *request.files) if name not in {"params", *FILE_FIELDS}]
    if unknown:
        raise StudioError(
            "unknown_parameter",
            f"'{unknown[0][:60]}' is not a field of the form; send 'params' (JSON) and the files as 'image'.",
            param=unknown[0][:60],
        )
    files = [file for name in FILE_FIELDS for file in request.files.getlist(name)]
    names = ["image"] if len(files) == 1 else [f"image[{index}]" for index in range(len(files))]
    uploads = [Upload(name, file.read()) for name, file in zip(names, files, strict=True)]
    return _read_json(request.form.get("params", "{}").encode("utf-8", "surrogatepass")), uploads


def _read_json(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_JSON_BYTES:
        raise StudioError("body_too_large", f"The JSON is larger than {MAX_JSON_BYTES} bytes; send images as files.")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StudioError("malformed_body", "The body is not JSON that can be read.") from error
    if not isinstance(body, dict):
        raise StudioError("malformed_body", 'The body must be a JSON object such as {"operation": "generate", ...}.')
    return body


def _validated(body: dict[str, Any], uploads: Sequence[Upload]) -> Request:
    operations = [operation.value for operation in Operation]
    if body.get("operation") not in operations:
        raise StudioError("unknown_operation", f"operation: must be one of {', '.join(operations)}.", param="operation")
    try:
        asked = JOB_REQUEST.validate_python(body)
    except ValidationError as error:
        raise from_validation(error, where=f"{body['operation']} request") from error
    if isinstance(asked, GenerateRequest):
        if uploads:
            message = "image: generate takes no image; use the edit operation."
            raise StudioError("unknown_parameter", message, param="image")
        return asked
    if isinstance(asked, AdjustRequest) and len(asked.images) + len(uploads) != 1:
        message = "image: adjust takes one image, either as a file or as an id or URL."
        raise StudioError("invalid_value", message, param="image")
    if bool(asked.images) == bool(uploads):
        raise StudioError(
            "invalid_value", "image: send 1 to 3 images, either as files or as ids and URLs.", param="image"
        )
    return asked


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        raise StudioError(
            "invalid_value",
            "Idempotency-Key: use 1 to 255 printable ASCII characters, such as a UUID.",
            param="Idempotency-Key",
        )
    return key


# -- inputs --------------------------------------------------------------------------------------------------------


def _inputs(submission: Submission, owner: str) -> list[Input]:
    if isinstance(submission.request, GenerateRequest):
        return []
    if submission.uploads:
        return [_opened(upload.data, upload.param) for upload in submission.uploads]
    references = submission.request.images
    names = ["image"] if len(references) == 1 else [f"image[{index}]" for index in range(len(references))]
    return [_referred(reference, owner, name) for reference, name in zip(references, names, strict=True)]


def _referred(reference: str, owner: str, param: str) -> Input:
    parts = services()
    if reference.startswith(f"{parts.settings.address}/files/"):
        return _opened(_own_link(reference, param), param)
    if "://" in reference:
        data = fetch(
            reference,
            max_bytes=parts.settings.max_image_mb * 10**6,
            timeout_s=parts.settings.fetch_timeout_s,
            allow=parts.settings.fetch_allow,
            param=param,
        )
        return _opened(data, param)
    try:
        image = parts.store.image(reference, owner)
    except StudioError as error:
        message = f"{param}: there is no image '{reference[:80]}' of yours; send an image id, a URL or a file."
        raise StudioError("image_not_found", message, param=param) from error
    return Input((image.width, image.height), id=image.id)


def _own_link(url: str, param: str) -> bytes:
    """The bytes behind a link that this server gave out: fetching it would be refused as a private address."""
    parts = services()
    split = urlsplit(url)
    key, query = unquote(split.path.partition("/files/")[2]), parse_qs(split.query)
    expires, signature = query.get("expires", [""])[0], query.get("signature", [""])[0]
    try:
        verify(key, expires, signature, parts.link_keys, time.time())
        return parts.storage.open(key)
    except StudioError as error:
        raise StudioError("image_not_found", f"{param}: {error.message}", param=param) from error


def _opened(data: bytes, param: str) -> Input:
    settings = services().settings
    image = open_image(
        data, max_bytes=settings.max_image_mb * 10**6, max_pixels=settings.max_image_mpx * 10**6, param=param
    )
    return Input(image.size, image=image, painted_by=str(read_facts(data).get("model", ""))[:200])


def _keep(each: Input, owner: str) -> str:
    """Store a new input, normalised, and record it as an image of the owner's."""
    assert each.image is not None  # noqa: S101 - an input without an id has its pixels
    parts = services()
    now = time.time()
    image_id = f"img_{token_hex(12)}"
    key = f"{time.strftime('%Y/%m/%d', time.gmtime(now))}/{image_id}.png"
    thumbnail_key = key.replace(".png", ".thumbnail.webp")
    data = store_copy(each.image, each.painted_by)
    parts.storage.put(key, data, "image/png")
    parts.storage.put(thumbnail_key, thumbnail(each.image), "image/webp")
    parts.store.add_image(
        StoredImage(
            id=image_id,
            owner=owner,
            key=key,
            thumbnail_key=thumbnail_key,
            width=each.size[0],
            height=each.size[1],
            mime_type="image/png",
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            created_at=now,
        )
    )
    return image_id
