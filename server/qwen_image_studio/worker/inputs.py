"""The files of a job's inputs, as its attempt reads them."""

from collections.abc import Iterator
from contextlib import contextmanager

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery import Gallery
from qwen_image_studio.jobs import Job, JobStore

_NOT_NOW = frozenset({"storage_failed", "database_busy"})
"""Codes of errors that may pass, unlike that of a file which is gone."""


class InputUnreadable(StudioError):
    """An input is there and cannot be read now."""


@contextmanager
def reading_inputs() -> Iterator[None]:
    """Raise InputUnreadable where what is read within the block can perhaps be read later."""
    try:
        yield
    except StudioError as error:
        if error.code not in _NOT_NOW:
            raise
        raise InputUnreadable(error.code, error.message) from error
    except OSError as error:  # in the midst of a file
        message = f"The image store failed ({error.strerror or type(error).__name__}). Try again later."
        raise InputUnreadable("storage_failed", message) from error


@reading_inputs()
def read_inputs(job: Job, store: JobStore, gallery: Gallery) -> list[tuple[bytes, str]]:
    """Return the file of each input with its media type. Raises InputUnreadable, and StudioError ``not_found`` for a
    file that is gone.
    """
    found = [store.images.get(image_id) for image_id in job.inputs]
    return [(gallery.open(each.key), each.mime_type) for each in found]
