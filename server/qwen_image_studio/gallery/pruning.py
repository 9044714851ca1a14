"""Pruning: deleting what is old, and files that no row names."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery.gallery import Gallery
from qwen_image_studio.gallery.names import INSTALLATION_KEY, is_picture_key, is_upload_key
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

DAY_S = 86400.0
LEFTOVER_S = DAY_S
"""Age, in seconds, from which a file that no row names is a leftover; a younger one may belong to a running attempt."""
UPLOAD_LEFTOVER_S = 3600.0
"""The same age for the files of an upload, whose row follows within its request, in seconds."""
TURNS_S = 7 * DAY_S
"""Age, in seconds, from which it is forgotten when a person was served: whoever comes back then is as good as new."""
LOOK_S = 3600.0
"""Time from one pruning round of a server to the next, in seconds."""
TURN_S = 0.2
"""Time for which a worker prunes before it looks for jobs again, in seconds."""
_FILES_AT_ONCE = 200


@dataclass
class Pruned:
    """The numbers of things that were pruned."""

    jobs: int = 0
    uploads: int = 0
    leftovers: int = 0
    """Files that no row named, such as those of a process that was killed."""
    kept: int = 0
    """Jobs that are old enough but stay, since other jobs need their images."""


class Pruning:
    """One round of pruning, done piece by piece."""

    def __init__(
        self,
        gallery: Gallery,
        store: JobStore,
        settings: Settings,
        *,
        dry_run: bool = False,
        server_started_at: float = 0.0,
    ) -> None:
        """Prepare a round; with `dry_run` nothing is deleted, but everything is counted as if it were.

        What was uploaded before `server_started_at` (Unix seconds) and has no row is a leftover whatever its age: the
        process that stored it died with the server before. On PostgreSQL it may be another server's, in the midst of
        its upload, and the age decides.
        """
        self._server_started_at = 0.0 if store.database.is_postgresql else server_started_at
        self._gallery, self._store, self._dry_run = gallery, store, dry_run
        self._leftover_s = max(LEFTOVER_S, 2 * settings.job_timeout_s)
        self.pruned = Pruned()

    def pieces(self, older_than_s: float | None, now: float | None = None) -> Iterator[None]:
        """Prune, and yield after each small piece; without an age only leftovers are pruned, uploads whose time is
        over, and when people were served long ago.
        """
        now = self._store.database.now(now)
        if not self._dry_run:
            self._store.forgetting.forget_turns(now - TURNS_S)
        if older_than_s is not None:
            yield from self._prune_jobs(now - older_than_s)
            yield from self._prune_uploads(self._store.forgetting.unused_uploads(now - older_than_s))
        yield from self._prune_uploads(self._store.forgetting.expired_uploads(now))
        yield from self._prune_leftovers(now)

    def _prune_jobs(self, before: float) -> Iterator[None]:
        for job_id, owner in self._store.forgetting.ended_jobs(before):
            try:
                if not self._dry_run:
                    self._gallery.forget_job(job_id, owner)
                self.pruned.jobs += 1
            except StudioError as error:
                if error.code not in {"not_found", "job_not_ended", "image_in_use"}:
                    raise
                self.pruned.kept += error.code != "not_found"
            yield

    def _prune_uploads(self, unused: Sequence[str]) -> Iterator[None]:
        for image_id in unused:
            if not self._dry_run:
                self._gallery.withdraw(image_id)
            self.pruned.uploads += 1
            yield

    def _prune_leftovers(self, now: float) -> Iterator[None]:
        if not self._is_own_store():
            _log.warning(
                "files that no row names are kept: the stored pictures belong to another database than this one. Where "
                "that is wrong, delete the file '%s' among them.",
                INSTALLATION_KEY,
            )
            return
        before = now - self._leftover_s
        uploads_before = max(now - UPLOAD_LEFTOVER_S, self._server_started_at)
        old = (
            key
            for key, put_at in self._gallery.files.keys()
            if is_picture_key(key) and put_at < (uploads_before if is_upload_key(key) else before)
        )
        while keys := list(islice(old, _FILES_AT_ONCE)):
            leftovers = sorted(set(keys) - self._store.forgetting.named_keys(keys))
            if not self._dry_run:
                self._gallery.clear(*leftovers)
            self.pruned.leftovers += len(leftovers)
            yield

    def _is_own_store(self) -> bool:
        """Return whether the stored pictures are those that the rows are about, and not, say, those of a database that
        was lost or of a second server. A store without a mark gets it where the database has images or there are none.
        """
        mark = self._store.forgetting.installation().encode()
        try:
            return self._gallery.open(INSTALLATION_KEY) == mark
        except StudioError as error:
            if error.code != "not_found":
                raise
        keys = list(islice((key for key, _ in self._gallery.files.keys() if is_picture_key(key)), _FILES_AT_ONCE))
        if keys and not self._store.forgetting.named_keys(keys):
            return False
        if self._dry_run:
            return True
        # Another database's server may be at the same point now.
        self._gallery.files.put_once(INSTALLATION_KEY, mark, "text/plain")
        return self._gallery.open(INSTALLATION_KEY) == mark


class Retention:
    """The pruning that an idle worker does about every hour, a little at a time, by the age that the settings name."""

    def __init__(
        self, gallery: Gallery, store: JobStore, settings: Settings, *, server_started_at: float = 0.0
    ) -> None:
        """`server_started_at` is as in `Pruning`; the first round begins at once."""
        self._gallery, self._store, self._settings = gallery, store, settings
        self._server_started_at = server_started_at
        self._round: Iterator[None] = iter(())
        self._next_at = time.monotonic()

    def work(self) -> None:
        """Prune for a moment; do nothing between two rounds. A failure is logged, and ends the round."""
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at, self._round = now + LOOK_S, self._whole_round()
        try:
            while time.monotonic() < now + TURN_S and next(self._round, self) is not self:
                pass
        except StudioError as error:
            _log.warning("pruning waits: %s", error)

    def _whole_round(self) -> Iterator[None]:
        days = self._settings.retention_days
        pruning = Pruning(self._gallery, self._store, self._settings, server_started_at=self._server_started_at)
        yield from pruning.pieces(None if days is None else days * DAY_S)
        if pruning.pruned != Pruned():
            _log.info("deleted by age: %s", pruning.pruned)
        yield from self._prune_calls()
        if not self._store.prompts.keeps:
            self._store.database.erase()

    def _prune_calls(self) -> Iterator[None]:
        before = self._store.database.now() - self._settings.calls_days * DAY_S
        while self._store.calls.prune(before):
            yield


def prune(gallery: Gallery, store: JobStore, settings: Settings, older_than_s: float, *, dry_run: bool) -> Pruned:
    """Delete ended jobs and unused uploads older than `older_than_s` seconds, and leftovers; return their numbers."""
    pruning = Pruning(gallery, store, settings, dry_run=dry_run)
    for _ in pruning.pieces(older_than_s):
        pass
    return pruning.pruned
