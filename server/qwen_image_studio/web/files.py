"""Files behind signed, expiring links: whoever holds a link may read that one image or archive until its hour."""

import mimetypes
import time

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery.archive import archive, archived_job
from qwen_image_studio.gallery.links import verify
from qwen_image_studio.jobs import Job
from qwen_image_studio.web.openapi import Facts, describe
from qwen_image_studio.web.services import services

blueprint = Blueprint("files", __name__, url_prefix="/files")


@blueprint.get("/<path:key>")
@describe(Facts(returns={200: "image/*"}, errors=("link_refused", "not_found", "storage_failed")))
def file(key: str) -> ResponseReturnValue:
    """Get the image or the ZIP of a link from a JobView."""
    if ".." in key.split("/"):
        raise StudioError("not_found", "There is no such file.")
    expires, now = request.args.get("expires", ""), time.time()
    verify(key, expires, request.args.get("signature", ""), services().link_keys, now)
    if job_id := archived_job(key):
        return archive_response(services().store.get(job_id))
    data = services().storage.open(key)
    response = Response(data, mimetype=mimetypes.guess_type(key)[0] or "application/octet-stream")
    response.headers["Cache-Control"] = f"private, max-age={int(int(expires) - now)}, immutable"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def archive_response(job: Job) -> Response:
    """The ZIP of a job's images, written while the caller reads it. Raises StudioError ``not_found``."""
    response = Response(archive(job, services().store, services().storage), mimetype="application/zip")
    response.headers["Cache-Control"] = "no-store"  # a batch's grows
    response.headers["Content-Disposition"] = f'attachment; filename="{job.id}.zip"'
    return response
