"""Gallery: add, open, link and forget pictures, over a store of files and the rows of the job store."""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from secrets import token_hex
from urllib.parse import urlsplit

from qwen_image_studio.contract.caller import Guest
from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.contract.storage import StorageLinks
from qwen_image_studio.gallery.bucket import EXAMPLE
from qwen_image_studio.gallery.cdn import open_cdn
from qwen_image_studio.gallery.direct import Address, Addresses
from qwen_image_studio.gallery.links import Links, open_links
from qwen_image_studio.gallery.local import open_local
from qwen_image_studio.gallery.names import archive_key, is_preview_key, no_such_image, upload_keys
from qwen_image_studio.gallery.presigned import Presigned
from qwen_image_studio.gallery.s3 import S3Store, open_s3
from qwen_image_studio.gallery.store import FileStore, StoredFile
from qwen_image_studio.gallery.trial import try_store
from qwen_image_studio.imaging import Origin
from qwen_image_studio.imaging.received import Received
from qwen_image_studio.jobs import JobStore, StoredImage
from qwen_image_studio.jobs.held import held_for_review
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

STORES: dict[str, Callable[[Settings], FileStore]] = {"file": open_local, "s3": open_s3}
"""Functions that open a file store, by the scheme of STUDIO_STORAGE_URL."""


class Gallery:
    """The pictures of one server. Its methods also raise what FileStore and JobStore raise."""

    def __init__(self, files: FileStore, store: JobStore, links: Links, addresses: Addresses | None = None) -> None:
        """`addresses`, where there are any, lead callers around this server to the files."""
        self.files, self._store, self._links, self._addresses = files, store, links, addresses

    # -- add and open ----------------------------------------------------------------------------------------------

    def add(
        self,
        received: Received,
        owner: str,
        *,
        is_mask: bool = False,
        expires_at: float | None = None,
        idempotency_key: str | None = None,
        scores: Mapping[str, float] = {},
        guest: Guest | None = None,
    ) -> StoredImage:
        """Store an image that was taken in, its thumbnail and its row, with the classifier's scores; where the owner
        has sent one with the same key before, return that one.

        One that a `guest` sends is of the link. One that `expires_at` a time (Unix seconds) is deleted then, unless a
        job names it.
        """
        now = self._store.database.now()
        image_id = f"img_{token_hex(12)}"
        keys = upload_keys(image_id, now)
        self.files.put(keys.picture, received.png, "image/png")
        self.files.put(keys.thumbnail, received.thumbnail, "image/webp")
        image = StoredImage(
            id=image_id,
            owner=owner,
            key=keys.picture,
            thumbnail_key=keys.thumbnail,
            width=received.size[0],
            height=received.size[1],
            mime_type="image/png",
            bytes=len(received.png),
            sha256=hashlib.sha256(received.png).hexdigest(),
            created_at=now,
            is_mask=is_mask,
            expires_at=expires_at,
            idempotency_key=idempotency_key,
            scores=scores,
            pixels=received.pixels,
            guest=None if guest is None else guest.id,
        )
        kept = self._store.images.add(image)
        if kept.id != image_id:
            self.clear(keys.picture, keys.thumbnail)
        return kept

    def withdraw(self, image_id: str, since: float = 0.0) -> None:
        """Delete an image that was added at or after `since` (Unix seconds), unless a job names it."""
        self.clear(*self._store.forgetting.forget_upload(image_id, since))

    def release(self, reference: str | None) -> None:
        """Delete the image of a style that has another one now or is gone, unless something else needs it."""
        if reference is not None:
            self.clear(*self._store.forgetting.forget_reference(reference))

    def noted(self, origin: Origin) -> Origin:
        """Return what a file may carry of how it was made: no prompt, where prompts are not kept."""
        if self._store.prompts.keeps:
            return origin
        return {name: value for name, value in origin.items() if name not in {"prompt", "negative_prompt"}}

    def open(self, key: str) -> bytes:
        """Return the bytes of a file."""
        file = self._file(key)
        with file.stream:
            return file.stream.read()

    def stream(self, key: str, *, review: bool = False) -> StoredFile:
        """Open the file of an existing image or of a running job's preview, to be read piece by piece; that of a
        withheld image for `review` alone.

        Raises StudioError ``not_found`` where no row names the file, even if the file still exists, and
        ``held_for_review``.
        """
        self._allow(key, review=review)
        return self._file(key)

    def address(self, key: str, until: float) -> Address | None:
        """Return an address outside of this server where the file of an image is, which works until the Unix second
        `until` at most; None where the server hands it out itself: files on its own disk, and previews, whose bytes
        change. Whether the file still exists is not checked.

        Raises StudioError as `stream` does.
        """
        if self._addresses is None or is_preview_key(key):
            return None
        self._allow(key)
        return self._addresses.of(key, until, time.time())

    def _allow(self, key: str, *, review: bool = False) -> None:
        if not self._store.forgetting.named_keys([key]):
            raise no_such_image()
        if not review and (held := self._store.images.held_behind(key)) is not None:
            raise held_for_review(f"image {held.id}", held.job_id)

    def _file(self, key: str) -> StoredFile:
        try:
            return self.files.open(key)
        except StudioError as error:
            if error.code == "not_found":  # lost with a disk, say: who makes it again is to get a file
                self._store.forgetting.miss_file(key)
            raise

    # -- links -----------------------------------------------------------------------------------------------------

    def link(self, key: str, *, review: bool = False) -> str:
        """Return a link to the file, which expires; for `review` one that opens a withheld image too. Whether the file
        exists is not checked.
        """
        return self._links.link(key, review=review)

    def preview_link(self, key: str, step: int) -> str:
        """Return a link to a preview. It differs at each step, since the file behind it changes."""
        return self._links.link(key, step=step)

    def archive_link(self, job_id: str) -> str:
        """Return a link to the ZIP of a job's images, which is written while it is read."""
        return self._links.link(archive_key(job_id))

    def check_link(self, key: str, query: Mapping[str, str]) -> int:
        """Return when the link to `key` with these query parameters expires, in Unix seconds.

        Raises StudioError ``link_refused``.
        """
        return self._links.check(key, query)

    def has_link(self, url: str) -> bool:
        """Return whether the URL leads to a file of this server. Fetching it could be refused as a private address."""
        return self._links.is_own(url)

    def key_behind(self, url: str) -> str | None:
        """Return the key of the file behind a link of this server that works now; None for any other text."""
        try:
            return self._links.key_of(url) if self.has_link(url) else None
        except StudioError:
            return None

    def linked(self, url: str, param: str = "image") -> bytes:
        """Return the file behind a link of this server. Raises StudioError ``image_not_found``, which names `param`,
        and ``held_for_review``, also for a reviewer's link.
        """
        try:
            with self.stream(self._links.key_of(url)).stream as stream:
                return stream.read()
        except StudioError as error:
            if error.code not in {"link_refused", "not_found"}:
                raise
            message = f"{param}: {error.message} Or send the image's id instead of its link."
            raise StudioError("image_not_found", message, param=param) from error

    # -- forget ----------------------------------------------------------------------------------------------------

    def forget_image(self, image_id: str, owner: str) -> None:
        """Delete an image with its files; repeating it changes nothing. Raises StudioError ``not_found``, and
        ``image_in_use`` where a job that has not ended needs or makes it.
        """
        self.clear(*self._store.forgetting.forget_image(image_id, owner))

    def forget_job(self, job_id: str, owner: str) -> None:
        """Delete a job that has ended, a batch with its rows, with all that it made and the uploads that only it used.

        Raises StudioError ``not_found``, ``job_not_ended``, ``image_in_use``, and ``invalid_value`` for one row of a
        batch.
        """
        self.clear(*self._store.forgetting.forget_job(job_id, owner))

    def clear(self, *keys: str) -> None:
        """Delete files. A failure only shows in the log, since it must not change how a job ends."""
        left = deque(keys)
        while left:
            key = left.popleft()
            try:
                self.files.delete(key)
            except StudioError as error:
                _log.warning("%s stays behind: %s", key, error)
                if error.code == "storage_failed" and left:  # each of them might wait as long for an answer
                    _log.warning("and with it %s", ", ".join(left))
                    return


def open_gallery(settings: Settings, store: JobStore) -> Gallery:
    """Open the gallery that the settings name. Raises CannotServe where STUDIO_STORAGE_URL names no known store, or
    other settings do not go with it.
    """
    files = open_files(settings)
    return Gallery(files, store, open_links(settings), open_addresses(settings, files))


def open_files(settings: Settings) -> FileStore:
    """Open the store of files that the settings name. Raises CannotServe where there is no such store."""
    scheme = urlsplit(settings.storage_url).scheme or "file"
    if scheme not in STORES:
        raise CannotServe(
            f"STUDIO_STORAGE_URL: there is no store of the kind '{scheme}'; use {', '.join(STORES)}, such as "
            f"file:///srv/images or {EXAMPLE}, or leave it empty."
        )
    return STORES[scheme](settings)


def open_addresses(settings: Settings, files: FileStore) -> Addresses | None:
    """Return what leads callers around this server to the files, if anything does. Raises CannotServe for settings that
    do not go together.
    """
    if isinstance(files, S3Store):
        if (cdn := open_cdn(settings, files.bucket.prefix)) is not None:
            return cdn
        return Presigned(files) if settings.storage_links is StorageLinks.REDIRECT else None
    if settings.cdn_url:
        raise CannotServe(
            "STUDIO_CDN_URL needs an object store behind the CDN; set STUDIO_STORAGE_URL to a bucket, or take it out."
        )
    return None


def check_store(settings: Settings) -> None:
    """Try the store of files as a server uses it, so that what is wrong is said before it starts.

    Raises CannotServe where something has to be changed, and StudioError ``storage_failed`` where an object store only
    does not answer now.
    """
    files = open_files(settings)
    open_addresses(settings, files)
    if isinstance(files, S3Store):
        try_store(files)
