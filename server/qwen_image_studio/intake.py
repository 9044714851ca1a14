"""From a request to a queued job: the recipe (`recipe`), and then 6. Check for room in the queue.  7. Have the new
images judged, and store them.  8. Submit.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.fields import CacheChoice
from qwen_image_studio.contract.words import Band, Policy, Review
from qwen_image_studio.gallery import Gallery
from qwen_image_studio.guard.fetch import fetch
from qwen_image_studio.guard.post import check_address
from qwen_image_studio.guard.safety import Safety, unseen_warning
from qwen_image_studio.jobs import Job, JobStore, NewJob, StoredImage, Submitted
from qwen_image_studio.jobs.answering import without_keys
from qwen_image_studio.jobs.held import held_for_review
from qwen_image_studio.jobs.prompts import storable
from qwen_image_studio.jobs.sharing import share_key
from qwen_image_studio.jobs.states import Lookup
from qwen_image_studio.jobs.styles import Style
from qwen_image_studio.loading.told import Revisions
from qwen_image_studio.models.table import Model
from qwen_image_studio.operations.again import said_again
from qwen_image_studio.operations.canonical import Circumstances, keys_of
from qwen_image_studio.planning.plan import BatchPlan, PaintPlan
from qwen_image_studio.recipe import Input, Prepared, Recipe, Submission
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

HOUR_S = 3600.0
_NOTHING_SIMILAR = "cache=similar took equal requests alone, since this server does not keep prompts."


class Intake(Recipe):
    """The way from request to queued job, on one server."""

    def __init__(self, settings: Settings, store: JobStore, gallery: Gallery, models: Mapping[str, Model]) -> None:
        super().__init__(settings, models)
        self._store, self._gallery = store, gallery
        self._safety, self._revisions = Safety(settings, store.database), Revisions(store)

    def accept(self, submission: Submission, caller: Caller) -> tuple[Job, Submitted]:
        """Queue the submission and return its job, which may be one that was queued before. Raises StudioError."""
        self._check_callback(submission.request.webhook_url)
        # Checked first, since what is nested too deeply cannot be written down for a fingerprint.
        sent, key = submission.check().fingerprint(), submission.idempotency_key
        fingerprint = self._store.prompts.fingerprint(sent)
        if earlier := self._store.jobs.replay(caller.owner, key, fingerprint):
            return earlier, Submitted.REPLAYED
        began = self._store.database.now()
        try:
            new = self.new_job(submission, caller)
        except StudioError:
            # The same submission may have been queued meanwhile and be the cause: it paints the image, or is the
            # one that fills the queue.
            if earlier := self._store.jobs.replay(caller.owner, key, fingerprint):
                return earlier, Submitted.REPLAYED
            raise
        new = replace(new, idempotency_key=key, fingerprint=fingerprint)
        with ExitStack() as undo:
            undo.callback(self.withdraw_inputs, new, began)
            self._check_style(new.owner, submission.request.saves_style)
            job, how = self._store.jobs.submit(new, queue_limit=self._settings.queue_limit, limits=caller.limits)
            if how is Submitted.ADDED:
                undo.pop_all()  # the inputs are the job's now
                self._save_style_of(new, submission.request.saves_style)
        return job, how

    def new_job(self, submission: Submission, caller: Caller, *, row_of: str | None = None) -> NewJob:
        """Store the inputs of a submission and return the job to submit. Raises StudioError.

        With `row_of`, the id of a batch, the job needs no room in the queue, and the last image of a conversation is
        the one that was last when the batch was submitted.
        """
        began = self._store.database.now()
        prepared, request = self.prepare(submission, caller, before=row_of), submission.request
        plan, variant = prepared.plan, prepared.plan.variant
        new = NewJob(
            owner=caller.owner,
            operation=request.NAME,
            lane=plan.lane,
            model=variant.model if variant else "",
            tier=plan.shown_tier,
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
            guest=caller.guest,
            peer=caller.peer,
            request_id=caller.request_id,
            prompt=storable(request.said or plan.said),
        )
        new = self._keyed(new, prepared, submission, caller)
        if row_of is None:
            new = replace(new, share_key=share_key(new, self._store.prompts))
        if row_of is None and (plan.rows or any(each.received is not None for each in prepared.inputs)):
            with ExitStack() as undo:  # before files are stored for a job that would be refused
                undo.callback(self.withdraw_inputs, new, began)
                self._store.jobs.check_room(self._settings.queue_limit, new, caller.limits)
                undo.pop_all()
        judged, unseen = self._judged(prepared.inputs, caller)  # all, before one of them is stored
        if any(map(self._is_doubtful, judged)):  # what becomes of them is held, also where others' passed
            new = without_keys(new)
        inputs = [self._id_of(each, caller) for each in judged]
        again = prepared.told_again or partial(said_again, request, plan, direction=prepared.direction)
        return replace(new, inputs=inputs, request=again(inputs), warnings=[*new.warnings, *unseen])

    def _keyed(self, new: NewJob, prepared: Prepared, submission: Submission, caller: Caller) -> NewJob:
        """Return the job with the keys of its pictures, and with what may answer it."""
        plan, request = prepared.plan, submission.request
        if isinstance(plan, BatchPlan) or request.hold:
            return new
        seeds = plan.seeds if isinstance(plan, PaintPlan) else ()
        model = self._models.get(new.model)  # none where no model paints
        revision = self._revisions.of(model, plan) if model and isinstance(plan, PaintPlan) else ""
        if revision is None:  # the weights are on their way
            return new
        if request.looks_up == "similar" and not self._store.prompts.keeps:
            new = replace(new, warnings=[*new.warnings, _NOTHING_SIMILAR])
        about = Circumstances.of(self._settings, self._safety.policy_of(caller.key), revision)
        # What an adjusted picture's file says of how it was made is what its input's says.
        inputs = [each.told(with_notes=not seeds) for each in prepared.inputs]
        keys, prompts = keys_of(request.NAME, plan, inputs, about), self._store.prompts
        asks_for_seed = prepared.seed is not None and not submission.draws_seed
        return replace(
            new,
            cache_key=prompts.fingerprint(keys.exact),
            similar_key=keys.similar if prompts.keeps else None,
            seed=seeds[0] if seeds else None,
            lookup=_lookup(request.looks_up, seeds, asks_for_seed=asks_for_seed),
        )

    def take(self, sent: bytes | str, caller: Caller, key: str | None = None) -> tuple[StoredImage, bool]:
        """Store an image that is sent by itself, as bytes or as a URL, and return it; the flag is false where it was
        sent before with the same idempotency key. It stays for STUDIO_UPLOADS_HOURS, longer where a job names it.

        Raises StudioError, ``idempotency_key_reused`` where another image came with that key.
        """
        earlier = self._store.images.replay(caller.owner, key)
        if earlier is not None and isinstance(sent, str):
            return earlier, False
        new = self._referred(sent, caller, "image") if isinstance(sent, str) else self._opened(sent, "image")
        if earlier is None:
            [new], _ = self._judged([new], caller)
        assert new.received is not None  # noqa: S101 - ids are refused before
        until = self._store.database.now() + self._settings.uploads_hours * HOUR_S
        kept = earlier or self._gallery.add(
            new.received, caller.owner, expires_at=until, idempotency_key=key, scores=new.scores, guest=caller.guest
        )
        if kept.sha256 != hashlib.sha256(new.received.png).hexdigest():
            message = f"This Idempotency-Key came before with another image ({kept.id}); use a new key for a new one."
            raise StudioError("idempotency_key_reused", message, param="Idempotency-Key")
        return kept, kept.expires_at == until

    def save_style(self, name: str, direction: Direction, caller: Caller) -> tuple[Style, bool]:
        """Keep an art direction under a name of the owner's, its reference stored; return it, and whether the name is
        new.

        Raises StudioError that names the field at fault.
        """
        began, reference = self._store.database.now(), direction.reference
        if reference is not None:
            [each], _ = self._judged([self._referred(reference, caller, "reference")], caller)
            reference = self._id_of(each, caller)
        with ExitStack() as undo:
            if reference is not None:
                undo.callback(self._gallery.withdraw, reference, began)
            asked = direction.model_copy(update={"reference": reference})
            style, earlier = self._store.styles.save(caller.owner, name, asked)
            undo.pop_all()
        if earlier is not None:
            self._gallery.release(earlier.direction.reference)
        return style, earlier is None

    def delete_style(self, name: str, caller: Caller) -> None:
        """Delete an art direction, and its reference if nothing else needs it. Raises StudioError ``not_found``."""
        self._gallery.release(self._store.styles.delete(caller.owner, name))

    def _check_style(self, owner: str, name: str | None) -> None:
        """Raise StudioError ``too_many_styles`` or ``invalid_value`` where no art direction can have that name."""
        try:
            if name is not None:
                self._store.styles.check_room(owner, name)
        except StudioError as error:
            message = f"save_style: {error.message.removeprefix('name: ')}"
            raise StudioError(error.code, message, param="save_style") from error

    def _save_style_of(self, new: NewJob, name: str | None) -> None:
        """Keep the art direction of a job that was added under the name that it asks for."""
        if name is None or new.request is None:
            return
        try:
            _, earlier = self._store.styles.save(new.owner, name, Direction.model_validate(new.request["direction"]))
        except StudioError as error:  # the job is there all the same, and says its direction
            _log.warning("style %r is not saved: %s", name, error)
            return
        if earlier is not None:
            self._gallery.release(earlier.direction.reference)

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

    def _is_doubtful(self, each: Input) -> bool:
        """Return whether an input has scores from which pictures are held."""
        return self._safety.thresholds.judge(each.scores).band in {Band.REVIEW, Band.BLOCK}

    def _id_of(self, each: Input, caller: Caller) -> str:
        """Return the id of an input; store the input first where it is new."""
        if each.id is not None or each.received is None:
            return str(each.id)
        return self._gallery.add(
            each.received, caller.owner, is_mask=each.is_mask, scores=each.scores, guest=caller.guest
        ).id

    def _remembered(self, conversation: str, caller: Caller, before: str | None) -> Input:
        since = self._store.database.now() - self._settings.memory_s
        image = self._store.images.last(caller.owner, conversation, since, before=before)
        if image is None:
            message = "image: there is no image in this conversation yet, or it was long ago; send the one you mean."
            raise StudioError("image_not_found", message, param="image")
        return _input(image)

    def _referred(self, reference: str, caller: Caller, param: str) -> Input:
        if "://" in reference:
            return super()._referred(reference, caller, param)
        return _input(self._image(reference, caller, param))

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
            return _check_given_out(self._store.images.get(reference, caller.owner, caller.guest), param)
        except StudioError as error:
            if error.code != "not_found":
                raise
            message = f"{param}: there is no image '{reference[:80]}' of yours; send an image id, a URL or a file."
            raise StudioError("image_not_found", message, param=param) from error

    def _campaign(self, campaign: str, caller: Caller) -> Mapping[str, Any]:
        """Return what a campaign says of itself. Raises StudioError ``invalid_value`` for another job, and for one
        whose texts are not kept.
        """
        try:
            said = self._store.jobs.get(campaign, caller.owner).request or {}
        except StudioError as error:
            if error.code != "not_found":
                raise
            said = {}
        if "pieces" not in said:
            message = f"there is no campaign '{campaign[:80]}' of yours; send the id of a job of operation campaign"
            raise refusal("campaign", message)
        return said

    def _stored(self, reference: str, caller: Caller) -> str:
        [each], _ = self._judged([self._referred(reference, caller, "image")], caller)
        return self._id_of(each, caller)

    def _saved_style(self, name: str, caller: Caller) -> Direction:
        try:
            return self._store.styles.get(caller.owner, name).direction
        except StudioError as error:
            raise StudioError("unknown_style", error.message, param="style") from error


def _lookup(choice: CacheChoice, seeds: Sequence[int], *, asks_for_seed: bool) -> Lookup | None:
    """Return which pictures may answer a request with that choice; None where it is to be painted."""
    if choice is False or (choice is None and not asks_for_seed):
        return None
    return Lookup(seeds[0] if seeds and asks_for_seed else None, similar=choice == "similar")


def _input(image: StoredImage) -> Input:
    """Return a stored image as an input."""
    scores = {} if image.review is Review.APPROVED else image.scores
    size = (image.width, image.height)
    return Input(size, id=image.id, scores=scores, pixels=image.pixels, sha256=image.made_sha256)


def _check_given_out(image: StoredImage, param: str) -> StoredImage:
    """Return the image. Raises StudioError ``held_for_review`` for a withheld one: nobody makes anything of it."""
    if image.review.withheld:
        raise held_for_review(f"image {image.id}", image.job_id, param)
    return image
