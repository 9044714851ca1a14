"""Where images are kept: put, open, url, delete. A put is all-or-nothing and has reached the disk when it returns.

Keys are paths such as ``2026/11/21/img_1.png``. Every method raises ``StudioError``: ``not_found`` for a key that
holds nothing or that no image can have, ``storage_failed`` where the store does not work.
"""

from typing import Protocol

from qwen_image_studio.gallery.local import LocalStorage
from qwen_image_studio.settings import Settings


class Storage(Protocol):
    """One image store; its methods may be called from many threads and processes at once."""

    def put(self, key: str, data: bytes, mime_type: str) -> None:
        """Keep ``data`` under ``key``, durably and whole; an earlier image of that key is replaced."""

    def open(self, key: str) -> bytes:
        """The bytes that were put under ``key``."""

    def url(self, key: str, now: float | None = None) -> str:
        """A link for people to the image; it expires. ``now`` is in Unix seconds. Does not look whether it exists."""

    def delete(self, key: str) -> None:
        """Forget the image; one that is not there is no error."""


def open_storage(settings: Settings) -> Storage:
    """The image store that the settings name."""
    return LocalStorage(
        settings.data_dir / "images",
        address=settings.address,
        link_ttl_s=settings.link_ttl_s,
        keys=settings.signing_keys(),
    )
