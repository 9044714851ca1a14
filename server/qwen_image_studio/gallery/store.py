"""Port: where the gallery keeps files. A put is all-or-nothing and has reached the disk when it returns.

Keys are paths such as ``2026/11/21/img_1.png``. Every method raises ``StudioError``: ``not_found`` for a key that
holds nothing or that no image can have, ``storage_failed`` where the store does not work.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol


@dataclass(frozen=True)
class StoredFile:
    """One file, open for reading; whoever opened it closes `stream`."""

    stream: IO[bytes]
    """Its bytes; may be sought in, so that a range is read without what comes before it."""
    size: int
    """In bytes."""
    tag: str
    """Another one whenever the bytes are others: a strong entity tag (RFC 9110), without quotation marks."""
    mime_type: str


class FileStore(Protocol):
    """One store of files; its methods may be called from many threads and processes at once."""

    def put(self, key: str, data: bytes, mime_type: str) -> None:
        """Keep ``data`` under ``key``, durably and whole; an earlier file of that key is replaced."""

    def open(self, key: str) -> StoredFile:
        """Open the file that was put under ``key``."""

    def delete(self, key: str) -> None:
        """Delete the file; one that is not there is no error."""

    def keys(self) -> Iterator[tuple[str, float]]:
        """List every file: its key, and when it was put, in Unix seconds."""
