"""From a request to a queued job: the recipe (`recipe`), and then 6. Check for room in the queue.  7. Have the new
images judged, and store them.  8. Submit.
"""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Band, Policy, Tier
from qwen_image_studio.gallery import Gallery
from qwen_image_studio.guard.fetch import fetch
from qwen_image_studio.guard.post import check_address
from qwen_image_studio.guard.safety import Safety, unseen_warning
from qwen_image_studio.jobs import Job, JobStore, NewJob, StoredImage
from qwen_image_studio.jobs.held import held_for_review
from qwen_image_studio.jobs.prompts import storable
from qwen_image_studio.models.table import Model
from qwen_image_studio.operations.again import said_again
from qwen_image_studio.recipe import Input, Recipe, Submission
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

HOUR_S = 3600.0


class Intake(Recipe):
    """The way from request to queued job, on one server."""

    def __init__(self, settings: Settings, store: JobStore, gallery: Gallery, models: Mapping[str, Model]) -> None:
        super().__init__(settings, models)
        self._store, self._gallery = store, gallery
        self._safety = Safety(settings, store.database)

    def accept(self, submission: Submission, caller: Caller) -> tuple[Job, bool]:
        """Queue the submission and return its job; the flag is false where the same one was queued before.

        Raises StudioError.
        """
        self._check_callback(submission.request.webhook_url)
        # Checked first, since what is nested too deeply cannot be written down for a fingerprint.
        sent, key = submission.check().fingerprint(), submission.idempotency_key
        fingerprint = self._store.prompts.fingerprint(sent)
        if earlier := self._store.jobs.replay(caller.owner, key, fingerprint):
            return earlier, False
        began = time.time()
        try:
            new = self.new_job(submission, caller)
        except StudioError:
            # The same submission may have been queued meanwhile and be the cause: it paints the image, or is the
            # one that fills the queue.
            if earlier := self._store.jobs.replay(caller.owner, key, fingerprint):
                return earlier, False
            raise
        new = replace(new, idempotency_key=key, fingerprint=fingerprint)
        with ExitStack() as undo:
            undo.callback(self.withdraw_inputs, new, began)
            job, is_new = self._store.jobs.submit(new, queue_limit=self._settings.queue_limit, limits=caller.limits)
            if is_new:
                undo.pop_all()  # the inputs are the job's now
        return job, is_new

    def new_job(self, submission: Submission, caller: Caller, *, row_of: str | None = None) -> NewJob:
        """Store the inputs of a submission and return the job to submit. Raises StudioError.

        With `row_of`, the id of a batch, the job needs no room in the queue, and the last image of a conversation is
        the one that was last when the batch was submitted.
        """
        began = time.time()
        prepared, request = self.prepare(submission, caller, before=row_of), submission.request
        plan, variant = prepared.plan, prepared.plan.variant
        new = NewJob(
            owner=caller.owner,
            operation=request.NAME,
            lane=plan.lane,
            model=variant.model if variant else "",
            tier=variant.tier if variant else Tier.QUALITY,
            variant=str(variant or ""),
            weights=variant.weights if variant else "",
            plan=plan.model_dump(mode="json"),
            rows=plan.rows,
            conversation=request.conversation or prepared.conversation,
            user=request.user,
            hold=request.hold,
            webhook_url=request.webhook_url,
            images=plan.asked,
            warnings=[*submission.warnings, *prepared.warnings],
            names=self._named(prepared.references, caller),
            key=caller.key,
            peer=caller.peer,
            request_id=caller.request_id,
            prompt=storable(request.said or plan.said),
        )
        if row_of is None:  # before files are stored for a job that would be refused
            with ExitStack() as undo:
                undo.callback(self.withdraw_inputs, new, began)
                self._store.jobs.check_room(self._settings.queue_limit, new, caller.limits)
                undo.pop_all()
        judged, unseen = self._judged(prepared.inputs, caller)  # all, before one of them is stored
        inputs = [self._id_of(each, caller) for each in judged]
        told = said_again(request, plan, inputs)
        return replace(new, inputs=inputs, request=told, warnings=[*new.warnings, *unseen])

    def take(self, sent: bytes | str, caller: Caller, key: str | None = None) -> tuple[StoredImage, bool]:
        """Store an image that is sent by itself, as bytes or as a URL, and return it; the flag is false where it was
        sent before with the same idempotency key. It is kept for STUDIO_UPLOADS_HOURS, and longer where a job names
        it.

        Raises StudioError, ``idempotency_key_reused`` where another image came with that key.
        """
        earlier = self._store.images.replay(caller.owner, key)
        if earlier is not None and isinstance(sent, str):
            return earlier, False
        new = self._referred(sent, caller, "image") if isinstance(sent, str) else self._opened(sent, "image")
        if earlier is None:
            [new], _ = self._judged([new], caller)
        assert new.received is not None  # noqa: S101 - ids are refused before
        until = time.time() + self._settings.uploads_hours * HOUR_S
        kept = earlier or self._gallery.add(
            new.received, caller.owner, expires_at=until, idempotency_key=key, scores=new.scores
        )
        if kept.sha256 != hashlib.sha256(new.received.png).hexdigest():
            message = f"This Idempotency-Key came before with another image ({kept.id}); use a new key for a new one."
            raise StudioError("idempotency_key_reused", message, param="Idempotency-Key")
        return kept, kept.expires_at == until

    def _check_callback(self, url: str | None) -> None:
        """Raise StudioError ``url_not_allowed`` for an address that is not to be called."""
        if url is not None:
            check_address(url, allow=self._settings.webhook_allow, param="webhook_url")

    def withdraw_inputs(self, new: NewJob, began: float) -> None:
        """Delete the inputs that were stored since `began` (Unix seconds) for a job that was not added."""
        for image_id in {*new.inputs, *new.names}:
            try:
                self._gallery.withdraw(image_id, began)
            except StudioError as error:
                _log.warning("image %s stays behind: %s", image_id, error)

    def _named(self, references: Sequence[str], caller: Caller) -> Sequence[str]:
        """Return the ids of the owner's images among the references."""
        if not references:
            return []
        keys = [key for each in references if (key := self._gallery.key_behind(each)) is not None]
        ids = [each for each in references if "://" not in each]
        found = self._store.images.among(ids, keys, caller.owner)
        for image_id in found:
            _check_given_out(self._store.images.get(image_id), "rows")
        return found

    def _judged(self, inputs: Sequence[Input], caller: Caller) -> tuple[list[Input], list[str]]:
        """Return the inputs with the classifier's scores of new pictures, and a warning for each that it did not see.

        Raises StudioError ``content_blocked``, and ``safety_unavailable`` where the caller's policy says so.
        """
        any_new = any(each.received is not None and not each.is_mask for each in inputs)
        policy = self._safety.policy_of(caller.key) if any_new else Policy.OFF
        judged, warnings = [], []
        for each in inputs:
            if policy is not Policy.OFF and each.received is not None and not each.is_mask:
                finding = self._safety.judge_upload(each.received.png, each.param, policy)
                each = replace(each, scores=finding.scores)
                warnings += [unseen_warning(each.param)] if finding.band is Band.UNAVAILABLE else []
            judged.append(each)
        return judged, warnings

    def _id_of(self, each: Input, caller: Caller) -> str:
        """Return the id of an input; store the input first where it is new."""
        if each.id is not None or each.received is None:
            return str(each.id)
        return self._gallery.add(each.received, caller.owner, is_mask=each.is_mask, scores=each.scores).id

    def _remembered(self, conversation: str, caller: Caller, before: str | None) -> Input:
        since = time.time() - self._settings.memory_s
        image = self._store.images.last(caller.owner, conversation, since, before=before)
        if image is None:
            message = "image: there is no image in this conversation yet, or it was long ago; send the one you mean."
            raise StudioError("image_not_found", message, param="image")
        return Input((image.width, image.height), id=image.id)

    def _referred(self, reference: str, caller: Caller, param: str) -> Input:
        if "://" in reference:
            return super()._referred(reference, caller, param)
        image = self._image(reference, caller, param)
        return Input((image.width, image.height), id=image.id)

    def _bytes(self, reference: str, caller: Caller, param: str) -> bytes:
        """Return the file behind an id or URL."""
        if self._gallery.has_link(reference):  # fetching it could be refused as a private address
            return self._gallery.linked(reference, param)
        if "://" not in reference:
            return self._gallery.open(self._image(reference, caller, param).key)
        return fetch(
            reference,
            max_bytes=self._settings.image_limits["max_bytes"],
            timeout_s=self._settings.fetch_timeout_s,
            allow=self._settings.fetch_allow,
            param=param,
        )

    def _image(self, reference: str, caller: Caller, param: str) -> StoredImage:
        try:
            return _check_given_out(self._store.images.get(reference, caller.owner), param)
        except StudioError as error:
            if error.code != "not_found":
                raise
            message = f"{param}: there is no image '{reference[:80]}' of yours; send an image id, a URL or a file."
            raise StudioError("image_not_found", message, param=param) from error

    def _stored(self, reference: str, caller: Caller) -> str:
        [each], _ = self._judged([self._referred(reference, caller, "image")], caller)
        return self._id_of(each, caller)


def _check_given_out(image: StoredImage, param: str) -> StoredImage:
    """Return the image. Raises StudioError ``held_for_review`` for a withheld one: nobody makes anything of it."""
    if image.review.withheld:
        raise held_for_review(f"image {image.id}", image.job_id, param)
    return image
