"""Port: where the gallery keeps files. A put writes all or nothing, and has reached the disk when it returns.

Keys are paths such as ``2026/11/21/img_1.png``. Every method raises ``StudioError``: ``not_found`` for a key under
which nothing is stored or that no image can have, ``storage_failed`` where the store does not work.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol


@dataclass(frozen=True)
class StoredFile:
    """One file, open for reading; the caller that opened it closes `stream`."""

    stream: IO[bytes]
    """The bytes; seekable, so that a range can be read without what comes before it."""
    size: int
    """Length in bytes."""
    tag: str
    """A strong entity tag (RFC 9110) without quotation marks: it differs whenever the bytes differ."""
    mime_type: str


class FileStore(Protocol):
    """A store of files; its methods may be called from many threads and processes at once."""

    def put(self, key: str, data: bytes, mime_type: str) -> None:
        """Store ``data`` under ``key``, durably and as a whole; an earlier file of that key is replaced."""

    def put_once(self, key: str, data: bytes, mime_type: str) -> bool:
        """Store ``data`` as `put` does, unless there is a file of that key; return whether it was stored."""

    def open(self, key: str) -> StoredFile:
        """Open the file that was put under ``key``."""

    def delete(self, key: str) -> None:
        """Delete the file; a missing one is no error."""

    def keys(self) -> Iterator[tuple[str, float]]:
        """Yield the key of every file, and when it was stored, in Unix seconds."""
