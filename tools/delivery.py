"""Delivery of images to Dify: as bytes, or, where bytes would go to the language model, as files uploaded to Dify."""

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools.client import StudioClient, Update
from tools.dify import DifyFailed, from_dify
from tools.errors import ClientError
from tools.views import Archive, Image, Job, Painted

UPLOAD_S = 10
"""Time limit for Dify to name an upload address, in seconds; the SDK allows as much for the upload itself."""

_ARCHIVES: Mapping[str, str] = {
    "zip": "application/zip",
    "psd": "application/x-photoshop",  # what begins with image/ Dify shows as a picture, and no browser shows this one
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}
"""Media types of the files that layers are given in, by their suffixes."""
_SUFFIXES: Mapping[str, str] = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def is_shown_by_dify(tool: Tool) -> bool:
    """Return whether Dify itself shows a tool's images to the person.

    It does so in workflows, chatflows and classic agents, all of which name their app. The new Agent does not: it gives
    bytes as text to the language model (dify#40425). Agent strategies name no app either, but take files as well.
    """
    return bool(tool.session.app_id)


def with_pieces(tool: Tool, painted: Painted, studio: StudioClient) -> Generator[Update, None, Painted]:
    """Return a campaign with the images of its pieces where Dify shows them; elsewhere the contact sheet has to do."""
    if painted.job.operation != "campaign" or not is_shown_by_dify(tool):
        return painted
    return (yield from studio.with_pieces(painted))


def with_archive(tool: Tool, painted: Painted, studio: StudioClient, kind: str) -> Generator[Update, None, Painted]:
    """Return the layers of a picture with the link to the file that holds them all, and where Dify shows it with the
    file itself. Where the server makes no such file, layers are given all the same, in a ZIP file and with a warning:
    they were painted already.
    """
    job = painted.job
    if kind not in _ARCHIVES or not job.layers:
        return painted
    if not is_shown_by_dify(tool):
        return replace(painted, job=_linked(job, kind)) if kind in job.archive_formats else painted
    try:
        content = yield from studio.archive(job, kind)
    except ClientError as error:
        said = f"There is no {kind.upper()} file: {error}"
        without = replace(painted, job=job.model_copy(update={"warnings": [*job.warnings, said]}))
        return without if kind == "zip" else (yield from with_archive(tool, without, studio, "zip"))
    return replace(painted, job=_linked(job, kind), archive=Archive(f"{job.id}.{kind}", _ARCHIVES[kind], content))


def _linked(job: Job, kind: str) -> Job:
    """Return a job whose link leads to the file of that kind."""
    if job.archive_url is None or kind == "zip":
        return job
    more = "&" if "?" in job.archive_url else "?"
    return job.model_copy(update={"archive_url": f"{job.archive_url}{more}format={kind}"})


def delivered(tool: Tool, painted: Painted) -> Iterator[ToolInvokeMessage]:
    """Yield one message for each image, in order: bytes, or where Dify would not show those, a link to its own copy.

    Where the copy fails, bytes are sent. The server's URL never is: Dify silently refuses to download from private
    addresses.
    """
    uploading = not is_shown_by_dify(tool)
    for image, content in _shown(painted, only_whole=uploading):
        in_time = time.monotonic() + 2 * UPLOAD_S < painted.deadline  # a call that is killed shows nothing at all
        link = _uploaded(tool, image, content) if uploading and in_time else None
        uploading = link is not None  # if one upload fails, the next would too, and each costs its time limit
        meta = {"mime_type": image.mime_type, "filename": filename(image)}
        if link is None:
            yield tool.create_blob_message(content, meta=meta)
        else:
            message = ToolInvokeMessage.TextMessage(text=link)
            yield ToolInvokeMessage(type=ToolInvokeMessage.MessageType.IMAGE_LINK, message=message, meta=meta)
    if (archive := painted.archive) is not None:
        meta = {"mime_type": archive.mime_type, "filename": archive.name}
        yield tool.create_blob_message(archive.content, meta=meta)


def _shown(painted: Painted, *, only_whole: bool) -> Iterable[tuple[Image, bytes]]:
    """Return the images to show: a contact sheet first, and before a single picture none; of layers, where nobody would
    know them apart, only the picture that they make.
    """
    own = list(zip(painted.job.images, painted.contents, strict=True))
    if only_whole and painted.job.layers:
        return [(image, content) for image, content in own if image.layer is None]
    return painted.pieces if len(painted.pieces) == 1 else [*own, *painted.pieces]


def _uploaded(tool: Tool, image: Image, content: bytes) -> str | None:
    """Return the path of Dify's own copy of the image; None where the upload failed."""
    tool.session.max_invocation_timeout = UPLOAD_S
    try:
        kept = from_dify(lambda: tool.session.file.upload(filename(image), content, image.mime_type))
    except DifyFailed:  # bytes are better than no picture
        return None
    return f"/files/tools/{kept.id}.{_suffix(image)}"


def filename(image: Image) -> str:
    """Return a file name with the suffix of the image's true type; that of a layer begins as in the server's ZIP."""
    named = "" if image.layer is None else f"{image.layer + 1:02}-{_layer(image.layer)}-"
    return f"{named}{image.id}.{_suffix(image)}"


def _layer(number: int) -> str:
    return f"layer-{number}" if number else "background"


def _suffix(image: Image) -> str:
    return _SUFFIXES.get(image.mime_type, image.mime_type.rpartition("/")[2])
