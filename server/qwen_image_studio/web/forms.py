"""The files of a multipart form: images in their order, and a mask."""

import re
from collections.abc import Iterable

from flask import request

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.recipe import MASK, Upload, image_params

IMAGE_FIELDS = ("image", "image[]")
"""Names of the fields that hold images; image[0], image[1] and so on say their order."""
IMAGE = re.compile(r"image(?:\[([0-9]{0,4})\])?")
"""The same as a pattern, with the number as its group."""


def check_names() -> None:
    """Raise StudioError for a part of the current form that has no name."""
    if any(name is None for name in (*request.form, *request.files)):
        raise StudioError("malformed_body", "A part of the form has no name; give each one in Content-Disposition.")


def is_image(name: str) -> bool:
    """Return whether a field of that name holds an image."""
    return IMAGE.fullmatch(name) is not None


def in_order(names: Iterable[str], images: re.Pattern[str] = IMAGE) -> list[int]:
    """Return the positions of the images' fields in the order of their numbers; those without come first."""
    numbered = [int(match[1]) if (match := images.fullmatch(name)) and match[1] else -1 for name in names]
    return sorted(range(len(numbered)), key=numbered.__getitem__)


def read_uploads(others: Iterable[str] = (), images: re.Pattern[str] = IMAGE) -> list[Upload]:
    """Return the images of the current form in their order, then its masks; parts without name and bytes are left out.

    `images` is a pattern of the names of fields that hold one. Raises StudioError for a file in any other field than
    these and `others`.
    """
    known = {MASK, *others}
    files = [(name, file) for name, sent in request.files.lists() for file in sent]
    if unknown := [name[:60] for name, _ in files if name not in known and not images.fullmatch(name)]:
        fields = ", ".join(f"'{name}'" for name in (*IMAGE_FIELDS, *sorted(known)))
        raise StudioError(
            "unknown_parameter",
            f"'{unknown[0]}' is not a file of this form; send files as {fields}.",
            param=unknown[0],
        )
    read = [(name, file.filename, file.read()) for name, file in files if name not in others]
    sent = [(name, data) for name, filename, data in read if filename or data]
    found = [(name, data) for name, data in sent if name != MASK]
    found = [found[index] for index in in_order((name for name, _ in found), images)]
    uploads = [Upload(name, data) for name, (_, data) in zip(image_params(len(found)), found, strict=True)]
    return uploads + [Upload(MASK, data) for name, data in sent if name == MASK]
