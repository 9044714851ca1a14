"""The layers of a job as one document, made from their files when it is asked for."""

import math

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.layers import ArchiveFormat
from qwen_image_studio.gallery.gallery import Gallery
from qwen_image_studio.imaging.decoding import make_document
from qwen_image_studio.imaging.documents import can_make
from qwen_image_studio.jobs import Job, JobStore

MOST_PIXELS = 64_000_000
"""Largest number of pixels of all pictures in a document: nine of 2048x2048 have 38 million."""


def formats_of(job: Job) -> list[ArchiveFormat]:
    """Return the formats in which what a job has made can be had as one file here."""
    has_layers = bool(job.plan.get("layers"))
    return [each for each in ArchiveFormat if each is ArchiveFormat.ZIP or (has_layers and can_make(each))]


def layers_document(job: Job, kind: ArchiveFormat, store: JobStore, gallery: Gallery, producer: str) -> bytes:
    """Return the document. Raises StudioError ``invalid_value`` where it cannot be made of this job or on this server,
    ``not_found`` where not all layers are there, ``queue_full``, and what the gallery raises.
    """
    name = kind.value
    if not job.plan.get("layers"):
        raise refusal(
            "format", f"{name} is for jobs of the operation layers, and this one is {job.operation}; take zip"
        )
    if not can_make(kind):
        remedy = "its operator adds it with pip install 'qwen-image-studio[design]'"
        raise refusal("format", f"this server has no package that writes {name}; {remedy}. Take zip until then")
    images = store.images.of_jobs([job.id], with_deleted=True).get(job.id, ())
    if not images or not all(image.is_given_out for image in images):
        message = f"Not all layers of job {job.id} are there, or not any more; format=zip gives those that are."
        raise StudioError("not_found", message)
    size = images[-1].width, images[-1].height
    if len(images) * math.prod(size) > MOST_PIXELS:
        what = f"{len(images)} pictures of {size[0]}x{size[1]} are more than the {MOST_PIXELS} pixels"
        raise refusal("format", f"{what} that go into one {name}; take zip")
    files = [gallery.open(image.key) for image in images]
    return make_document(kind, files, pixels=len(images) * math.prod(size), producer=producer)
