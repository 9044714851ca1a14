"""Files over HTTP: a signed link opens one image or archive until it expires. Also how any file is answered, in
pieces and conditionally.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request
from werkzeug.datastructures import Range
from werkzeug.exceptions import HTTPException, PreconditionFailed
from werkzeug.wsgi import FileWrapper

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.layers import ArchiveFormat
from qwen_image_studio.gallery.archive import archive
from qwen_image_studio.gallery.direct import Address
from qwen_image_studio.gallery.documents import layers_document
from qwen_image_studio.gallery.links import is_for_review
from qwen_image_studio.gallery.names import archived_job
from qwen_image_studio.gallery.store import StoredFile
from qwen_image_studio.jobs import Job
from qwen_image_studio.system.threads import FILES, INTAKE
from qwen_image_studio.web.links import from_own_page
from qwen_image_studio.web.routing import route, services

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

blueprint = Blueprint("files", __name__, url_prefix="/files")

PIECE_BYTES = 64 * 1024
_LOADING_S = 300
"""Time that a redirect which was kept leaves for getting the file, in seconds."""
_FROM_WHERE = ("Sec-Fetch-Site", "Cookie")
"""Headers on which it depends whether a file is led to or sent; a browser is not to take the one for the other."""
FILE_ANSWERS = {200: "image/*", 206: "image/*", 304: None}
FILE_ERRORS = ("not_found", "storage_failed", "precondition_failed", "range_not_satisfiable")


@route(
    blueprint,
    "GET",
    "/<path:key>",
    returns={**FILE_ANSWERS, 302: None},
    errors=("link_refused", "database_busy", "held_for_review", "invalid_value", "queue_full", *FILE_ERRORS),
    needs_key=False,
)
def file(key: str) -> Response:
    """Get the image or the archive of a link from a JobView.

    Images answer If-None-Match and Range; a ZIP is written while it is read, and is always whole. To the link of an
    archive, `&format=psd` or `&format=pptx` can be added, as `archive_formats` of the JobView lists. A withheld image
    opens by a reviewer's link alone. Where images lie in an object store, a GET may be answered with an address there;
    to this server's own page the bytes are passed on, since that takes none from elsewhere.
    """
    if ".." in key.split("/"):
        raise StudioError("not_found", "There is no such file.")
    gallery = services().gallery
    expires = gallery.check_link(key, request.args)
    if job_id := archived_job(key):
        return archive_response(services().store.jobs.get(job_id), _archive_format())
    is_review = is_for_review(request.args)
    # A HEAD is answered here: the signature of an address at a store is good for a GET alone.
    may_lead = request.method == "GET" and not is_review and not from_own_page()
    if may_lead and (address := gallery.address(key, expires)) is not None:
        return _redirect(address)
    found = gallery.stream(key, review=is_review)
    response = file_response(found, max_age_s=int(expires - time.time()))
    response.vary.update(_FROM_WHERE)
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def file_response(found: StoredFile, *, max_age_s: int, tag: str | None = None) -> Response:
    """Return a response with the file, or with the part that the request's conditions and range ask for (RFC 9110, 13
    and 14). The file is read in pieces while it is sent. `tag`, where given, replaces the store's entity tag.

    Raises HTTPException for a precondition that fails, and for a range outside of the file.
    """
    response = Response(_Pieces(found.stream, PIECE_BYTES), mimetype=found.mime_type, direct_passthrough=True)
    try:
        response.content_length = found.size
        response.headers["Cache-Control"] = f"private, max-age={max_age_s}, immutable"
        response.set_etag(tag or found.tag)
        asked = _asked(found.size)
        response.make_conditional(asked, accept_ranges=True)  # preconditions are evaluated before ranges
        if response.status_code == 412:
            raise PreconditionFailed
        if response.status_code == 200 and _asks_for_one_range():
            response.make_conditional(asked, accept_ranges=True, complete_length=found.size)
    except HTTPException:
        found.stream.close()
        raise
    return response


def _redirect(address: Address) -> Response:
    """Return a redirect, which browsers keep for a shorter time than the address works."""
    kept_s = int(address.expires_at - time.time()) - _LOADING_S
    response = Response(status=302)
    response.vary.update(_FROM_WHERE)
    response.headers["Location"] = address.url
    response.headers["Cache-Control"] = f"private, max-age={kept_s}" if kept_s > 0 else "no-store"
    return response


class _Pieces(FileWrapper):
    """A file read in pieces, each in a thread. It is closed with its last reference at the latest, since not every
    server closes it.
    """

    def __next__(self) -> bytes:
        return FILES.run(super().__next__)

    def __del__(self) -> None:
        self.close()


def archive_response(job: Job, kind: ArchiveFormat = ArchiveFormat.ZIP) -> Response:
    """Return a response with what a job has made as one file; a ZIP is written as it is read. Raises StudioError as
    `archive` and `layers_document` do.
    """
    store, gallery, producer = services().store, services().gallery, services().settings.label_producer
    body: Iterator[bytes] | bytes
    if kind is ArchiveFormat.ZIP:
        body = FILES.each(archive(job, store, gallery))
    else:
        made = INTAKE.run(lambda: layers_document(job, kind, store, gallery, producer))
        body = bytes(made)  # a decoder gives a bytearray, which strict WSGI servers refuse
    response = Response(body, mimetype=kind.mime_type)
    response.headers["Cache-Control"] = "no-store"  # that of a batch grows
    response.headers["Content-Disposition"] = f'attachment; filename="{job.id}.{kind.value}"'
    return response


def _archive_format() -> ArchiveFormat:
    """Return the format that is asked for beside a link's signature, which is about the job alone."""
    asked = request.args.get("format", ArchiveFormat.ZIP.value)
    if asked not in {*ArchiveFormat}:
        raise refusal("format", f"must be one of {', '.join(ArchiveFormat)}")
    return ArchiveFormat(asked)


def _asked(size: int) -> "WSGIEnvironment":
    """Return the request's environment with two headers put as werkzeug understands them: the last bytes of a file that
    has fewer are all of it (RFC 9110, 14.1.2), and `If-Match: *` is true of any file that there is (13.1.1).
    """
    asked = dict(request.environ)
    if request.range is not None and len(request.range.ranges) == 1 and request.range.ranges[0][0] < -size:
        asked["HTTP_RANGE"] = "bytes=0-"
    if asked.get("HTTP_IF_MATCH", "").strip() == "*":
        del asked["HTTP_IF_MATCH"]
    return asked


def _asks_for_one_range() -> bool:
    """Return whether the request asks for exactly one range of bytes. Other units, several ranges, methods other than
    GET and weak tags in If-Range get the whole file, as RFC 9110 (13.1.5, 14.2) demands.
    """
    if request.method != "GET" or request.headers.get("If-Range", "").startswith("W/"):
        return False
    asked: Range | None = request.range
    return asked is not None and asked.units == "bytes" and len(asked.ranges) == 1
