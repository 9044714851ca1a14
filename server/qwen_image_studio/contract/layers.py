"""Pictures that are taken apart into layers: the limits that callers meet."""

from enum import IntEnum, StrEnum

from pydantic import BaseModel, ConfigDict

MIN_LAYERS = 2
MAX_LAYERS = 8


class Resolution(IntEnum):
    """The side in pixels of a square with the area at which a picture is taken apart, of those that a model was trained
    at.
    """

    SMALL = 640
    LARGE = 1024


class ArchiveFormat(StrEnum):
    """As which file what a job has made is had as a whole."""

    ZIP = "zip"
    """The files of its images."""
    PSD = "psd"
    """Its layers, for Photoshop and others that read its files."""
    PPTX = "pptx"
    """Its layers on a slide, each a picture that can be moved."""

    @property
    def mime_type(self) -> str:
        """Return the media type of the format."""
        return ARCHIVE_TYPES[self]


ARCHIVE_TYPES = {
    ArchiveFormat.ZIP: "application/zip",
    ArchiveFormat.PSD: "image/vnd.adobe.photoshop",
    ArchiveFormat.PPTX: "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}


class ArchiveQuery(BaseModel):
    """As which file to get what a job has made."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    format: ArchiveFormat = ArchiveFormat.ZIP
    """zip, for any job; psd and pptx for layers, where the server has what writes them (`archive_formats`)."""
