"""Reading requests of Hugging Face's clients. Neither address nor headers say what is asked for: the body does, and
then the model.

A body that is not JSON is a picture; `inputs` as an object holds a picture and an instruction; as a text it is a
picture in base64 where the model edits, else the prompt. Of a model that does both, it is what it looks like.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flask import request

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.huggingface import MAX_PARAMETERS, InferenceOptions
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import OutputFormat, Way
from qwen_image_studio.imaging.formats import format_of
from qwen_image_studio.recipe import MASK, Submission, Upload, image_params
from qwen_image_studio.web.bodies import begins_with
from qwen_image_studio.web.forms import check_names, read_uploads
from qwen_image_studio.web.huggingface.requests import Wanted, job_request, model_at, ways_of
from qwen_image_studio.web.json_pictures import (
    LongText,
    Picture,
    begins_as_picture,
    is_picture,
    picture_bytes,
    read_with_pictures,
    with_texts,
)
from qwen_image_studio.web.routing import read_idempotency_key, services
from qwen_image_studio.web.waiting import WAIT_S

_EXAMPLE = '{"inputs": "a red apple"}'
_EDIT_EXAMPLE = '{"inputs": "<picture in base64>", "parameters": {"prompt": "make it green"}}'
_NO_PROMPT = (
    "prompt: is missing, since a picture alone does not say what to make of it; send one, as "
    f'image_to_image(picture, prompt="make it green") does: {_EDIT_EXAMPLE}.'
)
_WITH_PICTURES = ("inputs", "parameters", "image", "images", MASK, "mask_image")
_ANSWERED = [each.mime_type for each in OutputFormat]
_TRANSPARENT = [OutputFormat.PNG.mime_type, OutputFormat.WEBP.mime_type]
_OBJECTS = ("inputs", "parameters", "options", "target_size", "region", "slots")
"""Fields of a form that may hold JSON."""


@dataclass(frozen=True)
class Inference:
    """A request as a job, and for how many seconds its answer waits."""

    submission: Submission
    fingerprint: str
    """By which the same request is known again, where it has no idempotency key."""
    wait_s: float

    @property
    def has_key(self) -> bool:
        """Return whether the client has an idempotency key, by which it gets the same picture each time."""
        return self.submission.idempotency_key is not None


def read_inference() -> Inference:
    """Read the current request, to the model in its path. Raises StudioError that names the parameter at fault."""
    name = str((request.view_args or {})["model"]).strip("/")
    model = model_at(name, services().models)
    body, uploads = _form() if request.mimetype == "multipart/form-data" else (_json(), [])
    options = _options(body.pop("options", None))
    ways = ways_of(name, model)
    asked, files = _asked(body, uploads, ways)
    asked.output_format, asked.use_cache = _wanted_format(asked), options.use_cache
    job = job_request(asked, name, ways)
    wait_s = WAIT_S if options.wait_for_model else services().settings.hf_wait_s
    submission = Submission(job, files, read_idempotency_key(), asked.warnings).check()
    fingerprint = services().store.prompts.fingerprint(submission.fingerprint())
    return Inference(submission, fingerprint, wait_s)


def _wanted_format(asked: Wanted) -> str | None:
    """Return the format of the answer by the Accept header; None for the usual one. Of several that are accepted, a
    transparent picture is in one that has transparency.
    """
    clear = str(asked.params.get("background", "")).strip().casefold() == Background.TRANSPARENT
    wanted = clear and request.accept_mimetypes.best_match(_TRANSPARENT)
    wanted = wanted or request.accept_mimetypes.best_match(_ANSWERED)
    return None if wanted is None else wanted.removeprefix("image/")


def _options(sent: Any) -> InferenceOptions:
    """Return the options of the body, or of the headers that say the same."""
    if sent is not None and not isinstance(sent, Mapping):
        raise refusal("options", 'takes an object such as {"wait_for_model": true}')
    said = {name: value for name, value in dict(sent or {}).items() if value is not None}
    for name in InferenceOptions.model_fields:
        header = request.headers.get(f"X-{name.replace('_', '-')}", "").strip().casefold()
        if header in {"true", "1", "false", "0"}:
            said.setdefault(name, header in {"true", "1"})
        if not isinstance(said.get(name, True), bool):
            raise refusal(f"options.{name}", "takes true or false")
    return InferenceOptions.model_validate(said)


# -- what was sent -------------------------------------------------------------------------------------------------


def _json() -> dict[str, Any]:
    """Return the JSON of the current request, whatever its type says: some clients say none."""
    begins = begins_with()
    if not begins:
        raise StudioError("malformed_body", f"The body is empty; send JSON such as {_EXAMPLE}.")
    if request.mimetype != "application/json" and begins[:1] not in {b"{", b"[", b'"'}:
        raise _not_json(begins)
    return read_with_pictures(_WITH_PICTURES, such_as=_EXAMPLE)


def _not_json(data: bytes) -> StudioError:
    """Return the error for a body that is none, after what it is."""
    try:
        format_of(data, "inputs")
    except StudioError:
        return StudioError("malformed_body", f"The body is neither JSON such as {_EXAMPLE} nor a picture.")
    return StudioError("invalid_value", _NO_PROMPT, param="prompt")


def _form() -> tuple[dict[str, Any], list[Upload]]:
    """Return the fields of the current form, and its files: `image`, `image[]`, `inputs` and `mask`."""
    check_names()
    body: dict[str, Any] = {name: text for name, text in request.form.items() if text.strip()}
    for name in _OBJECTS:
        with suppress(ValueError, RecursionError):  # a prompt in braces, or what is refused under its own name
            if str(body.get(name, "")).lstrip()[:1] == "{":
                body[name] = json.loads(body[name])
    files = read_uploads(others=["inputs"])
    sent = [file.read() for file in request.files.getlist("inputs")]
    return body, [*(Upload("inputs", data) for data in sent if data), *files]


def _asked(body: dict[str, Any], uploads: list[Upload], ways: frozenset[Way]) -> tuple[Wanted, list[Upload]]:
    """Return what is asked for, and the files that came for it."""
    inputs, parameters = body.pop("inputs", None), body.pop("parameters", None)
    for name, sent in (("inputs", inputs), ("parameters", parameters)):
        if isinstance(sent, dict) and len(sent) > MAX_PARAMETERS:
            raise refusal(name, f"has {len(sent)} fields; at most {MAX_PARAMETERS} are taken")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise refusal("parameters", 'takes an object such as {"num_inference_steps": 20}')
    if isinstance(inputs, list) and len(inputs) == 1:
        [inputs] = inputs
    values = {**body, **(parameters or {}), **(inputs if isinstance(inputs, Mapping) else {})}
    pictures = [*(upload.data for upload in uploads if upload.param != MASK), *_popped(values, "image", "images")]
    masks = [*(upload.data for upload in uploads if upload.param == MASK), *_popped(values, MASK, "mask_image")]
    if isinstance(inputs, str | LongText):
        if inputs and _is_picture(inputs, ways):
            pictures.insert(0, inputs)
        elif inputs:
            values["prompt"] = inputs
    elif inputs is not None and not isinstance(inputs, Mapping):
        raise refusal("inputs", "takes one text, or an object with image and instruction")
    if len(masks) > 1:
        raise refusal(MASK, "was sent more than once")
    return _with_files({name: with_texts(value) for name, value in values.items()}, pictures, masks)


def _popped(values: dict[str, Any], *names: str) -> list[Any]:
    """Return what stands under these names, alone or in lists, and take it out."""
    found = [values.pop(name, None) for name in names]
    return [each for one in found for each in (one if isinstance(one, list) else [one]) if each is not None]


def _with_files(values: dict[str, Any], pictures: list[Any], masks: list[Any]) -> tuple[Wanted, list[Upload]]:
    references = [each for each in pictures if _is_reference(each)]
    sent = [each for each in pictures if not _is_reference(each)]
    files = [Upload(name, _bytes(each, name)) for name, each in zip(image_params(len(sent)), sent, strict=True)]
    mask = next((each for each in masks if _is_reference(each)), None)
    sent_masks = [Upload(MASK, _bytes(each, MASK)) for each in masks if mask is None]
    return Wanted(values, references, len(files), bool(sent_masks), mask), files + sent_masks


# -- pictures within JSON ------------------------------------------------------------------------------------------


def _is_picture(text: Picture, ways: frozenset[Way]) -> bool:
    """Return whether `inputs` is a picture and no prompt. Raises StudioError where it has to be one, and is none."""
    if begins_as_picture(text):
        return True
    if ways != {Way.EDIT}:
        return False
    is_said = isinstance(text, str) and (" " in text.strip() or not is_picture(text))
    if is_said and not _is_reference(text):
        raise refusal("inputs", f"is a text, and this model changes pictures; send {_EDIT_EXAMPLE}")
    return True


def _is_reference(value: object) -> bool:
    """Return whether it is the id or the URL of an image; neither is base64."""
    return isinstance(value, str) and value[:5].casefold() != "data:" and ("://" in value[:20] or value[:4] == "img_")


def _bytes(value: Any, param: str) -> bytes:
    """Return the file of a picture: itself, a data URL or base64. Raises StudioError that names the parameter."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str | LongText):
        raise refusal(param, "takes a picture in base64, as a data URL, or by its id or URL")
    return picture_bytes(value, param)
