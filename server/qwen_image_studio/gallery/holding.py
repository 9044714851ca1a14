"""Holding: which images of a job wait for a reviewer before anybody else sees them."""

from collections.abc import Sequence
from dataclasses import replace

from qwen_image_studio.contract.words import HeldFor, Review
from qwen_image_studio.jobs import Job, StoredImage
from qwen_image_studio.settings import Settings


def held(images: Sequence[StoredImage], job: Job, settings: Settings) -> list[StoredImage]:
    """Return the images that a job has made, held where the request asked for it, or where an edit has changed more
    than the operator allows. One that is held already, by its scores, stays so. Layers and what they make together are
    held as one.
    """
    return together([_held(image, job, settings.review_change) for image in images])


def together(images: Sequence[StoredImage]) -> list[StoredImage]:
    """Return the images of a job, all held where one is, if they are layers: each shows what another does."""
    first = next((image for image in images if image.review is Review.HELD), None)
    if first is None or all(image.layer is None for image in images):
        return list(images)
    return [replace(image, review=Review.HELD, held_for=image.held_for or first.held_for) for image in images]


def _held(image: StoredImage, job: Job, most: float | None) -> StoredImage:
    if image.review is not Review.NONE:
        return image
    if job.hold:
        return replace(image, review=Review.HELD, held_for=HeldFor.ASKED)
    changed = image.change_inside if image.change_outside is None else image.change_outside
    if most is not None and changed is not None and changed > most:
        return replace(image, review=Review.HELD, held_for=HeldFor.CHANGE)
    return image
