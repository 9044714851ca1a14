"""Images as OpenAI's clients and those of other servers write them: ids, URLs, data URLs and base64, under any name."""

from collections.abc import Mapping
from typing import Any

from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.contract.words import MAX_DATA_URLS
from qwen_image_studio.recipe import MASK, Upload, image_params
from qwen_image_studio.web.json_pictures import LongText, Picture, is_picture, picture_bytes

IMAGES = ("image", "images", "url")
"""Names under which images are sent: ours, OpenAI's list of objects, and the one of vLLM-Omni and SGLang."""


def with_pictures(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[Upload]]:
    """Return the body with the ids and URLs of its images as `image`, and its pictures in base64 as files.

    Raises StudioError that names the parameter at fault.
    """
    rest = {name: value for name, value in body.items() if name not in {*IMAGES, MASK}}
    sent = {name: body[name] for name in IMAGES if body.get(name) not in (None, "", [])}
    if len(sent) > 1:
        raise refusal([*sent][1], f"send {' or '.join(sent)}, not both")
    said = next(iter(sent.values()), None)
    listed = [_reference(each) for each in (said if isinstance(said, list) else [said])]
    pictures: list[Picture] = [each for each in listed if is_picture(each)]
    others = [each for each in listed if not is_picture(each) and each not in (None, "")]
    if len(pictures) > MAX_DATA_URLS:
        raise refusal("image", f"there are more than {MAX_DATA_URLS} images; send fewer")
    named = zip(image_params(len(pictures)), pictures, strict=True)
    uploads = [Upload(name, picture_bytes(each, name)) for name, each in named]
    if others:
        rest["image"] = others if isinstance(said, list) else others[0]
    mask = _reference(body.get(MASK))
    if is_picture(mask):
        uploads.append(Upload(MASK, picture_bytes(mask, MASK)))
    elif mask:
        rest[MASK] = mask
    return rest, uploads


def _reference(value: Any) -> Any:
    """Return the id, URL or picture in one of OpenAI's objects for an image; anything else as it is."""
    if isinstance(value, dict):
        found = next((value[name] for name in ("image_url", "file_id", "url", "b64_json") if value.get(name)), value)
        value = found["url"] if isinstance(found, dict) and isinstance(found.get("url"), str | LongText) else found
    return value.text() if isinstance(value, LongText) and not is_picture(value) else value
