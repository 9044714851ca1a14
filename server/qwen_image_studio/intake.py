"""From a checked request to a queued job: fetch, open and keep the inputs, plan, submit. Knows nothing of HTTP."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from secrets import randbelow, token_hex
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from PIL import Image
from pydantic import ValidationError

from qwen_image_studio.contract.errors import CannotServe, StudioError, from_validation, refusal
from qwen_image_studio.contract.fields import Cell
from qwen_image_studio.contract.words import MAX_ROWS, MAX_SEED, Operation, SeedMode
from qwen_image_studio.gallery.links import verify
from qwen_image_studio.gallery.storage import Storage
from qwen_image_studio.guard.fetch import fetch
from qwen_image_studio.guard.terms import BadTerms, check_words, terms
from qwen_image_studio.imaging import open_image, read_facts, store_copy, thumbnail
from qwen_image_studio.imaging.masks import Mask, open_mask, region_mask
from qwen_image_studio.jobs import Job, JobStore, NewJob, StoredImage
from qwen_image_studio.models.table import Model, find_model
from qwen_image_studio.operations.counting import check_images
from qwen_image_studio.operations.light import batch_plan
from qwen_image_studio.operations.plan import plan
from qwen_image_studio.operations.requests import JOB_REQUEST, AdjustRequest, BatchRequest, InpaintRequest, Request
from qwen_image_studio.operations.texts import filled, texts_of
from qwen_image_studio.prompts.table import check_job, check_rows, fill, is_of_row, of_row, read_rows
from qwen_image_studio.prompts.templates import BadTemplates, library
from qwen_image_studio.settings import Settings


@dataclass(frozen=True)
class Upload:
    """One file that came with a request: ``image``, ``image[1]``, ``mask``."""

    param: str
    data: bytes


def image_params(count: int) -> list[str]:
    """What so many images are called in errors: ``image``, or ``image[0]`` and so on."""
    return ["image"] if count == 1 else [f"image[{index}]" for index in range(count)]


@dataclass(frozen=True)
class Submission:
    """What one request asks for."""

    request: Request
    uploads: Sequence[Upload] = ()
    idempotency_key: str | None = None

    def fingerprint(self) -> str:
        """SHA-256 of what was asked, by which a repeated request is known (not the key, not drawn seeds)."""
        asked = self.request.model_dump(mode="json", exclude_unset=True)
        files = [hashlib.sha256(upload.data).hexdigest() for upload in self.uploads]
        return hashlib.sha256(json.dumps([asked, files], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Input:
    """One image that a job starts from: kept already under an id, or new."""

    size: tuple[int, int]
    id: str | None = None
    image: Image.Image | None = None
    painted_by: str = ""
    """The model that had painted it, as its metadata says."""


def checked(submission: Submission) -> Submission:
    """The submission, where it has as many images as its operation takes. Raises StudioError that says how many."""
    asked, files = submission.request, [upload.param for upload in submission.uploads]
    masks = files.count("mask")
    if isinstance(asked, BatchRequest):
        if files:
            raise StudioError("unknown_parameter", "image: the rows of a batch name their images.", param="image")
        check_job(asked.job)
        return submission
    check_images(asked, len(files) - masks, masks)
    return submission


def validated(body: Mapping[str, Any]) -> Request:
    """The request that the JSON object makes. Raises StudioError with the parameter at fault."""
    operations = [operation.value for operation in Operation]
    if body.get("operation") not in operations:
        raise StudioError("unknown_operation", f"operation: must be one of {', '.join(operations)}.", param="operation")
    try:
        return JOB_REQUEST.validate_python(body)
    except ValidationError as error:
        raise from_validation(error, where=f"{body['operation']} request") from error


def row_submission(job: Mapping[str, Any], row: Mapping[str, Cell]) -> Submission:
    """What one row of a batch asks for. Raises StudioError with the parameter at fault."""
    request = validated(fill(job, row))
    if isinstance(request, BatchRequest):
        raise refusal("operation", "a row of a batch cannot be a batch; use another operation")
    return checked(Submission(request))


class Intake:
    """Takes requests in for one server."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        storage: Storage,
        models: Mapping[str, Model],
    ) -> None:
        self._settings, self._store, self._storage, self._models = settings, store, storage, models
        self._link_keys = settings.signing_keys()

    def accept(self, submission: Submission, owner: str) -> tuple[Job, bool]:
        """Queue the submission; the flag is false where the same one had come before. Raises StudioError."""
        fingerprint = submission.fingerprint()
        key = submission.idempotency_key
        if earlier := self._store.replay(owner, key, fingerprint):
            return earlier, False
        try:
            new = self.prepare(submission, owner)
        except StudioError:
            # It may have come in meanwhile, and be what is in the way: the image in the making, the last place.
            if earlier := self._store.replay(owner, key, fingerprint):
                return earlier, False
            raise
        new = replace(new, idempotency_key=key, fingerprint=fingerprint)
        return self._store.submit(new, queue_limit=self._settings.queue_limit)

    def prepare(self, submission: Submission, owner: str, *, row_of: str | None = None) -> NewJob:
        """The job that the submission makes: its inputs kept, everything decided. Raises StudioError.

        A row of a batch needs no room in the queue, and goes on with what was last when the batch came.
        """
        if isinstance(submission.request, BatchRequest):
            return self._batch(submission.request, owner)
        asked = filled(submission.request, self._settings.templates)
        assert not isinstance(asked, BatchRequest)  # noqa: S101 - that was no batch
        check_words(texts_of(asked), self._settings.blocked_terms)
        inputs = self._inputs(asked, submission.uploads, owner, row_of)
        mask = self._mask(asked, submission.uploads, owner, inputs)
        planned, warnings = plan(
            asked, self._models, [each.size for each in inputs], mask, has_font=self._settings.font is not None
        )
        if row_of is None:  # before files are kept for a job that cannot be
            self._store.check_room(self._settings.queue_limit, planned.model)
        if mask is not None:
            inputs.append(Input(mask.image.size, image=mask.image))
        return NewJob(
            owner=owner,
            operation=planned.operation,
            model=planned.model,
            tier=planned.tier,
            plan=planned.model_dump(mode="json"),
            conversation=asked.conversation,
            user=asked.user,
            inputs=[each.id or self._keep(each, owner) for each in inputs],
            warnings=warnings,
        )

    # -- batches ---------------------------------------------------------------------------------------------------

    def _batch(self, asked: BatchRequest, owner: str) -> NewJob:
        """The batch, each row of which was tried as far as that goes without its images."""
        table = read_rows(asked.rows) if isinstance(asked.rows, str) else check_rows(asked.rows)
        check_job(asked.job, table)
        requests = []
        for number, row in enumerate(table):
            with of_row(number):
                request = row_submission(asked.job, row).request
                self._foresee(request)
                requests.append(request)
        images = sum(getattr(request, "n", 1) for request in requests)
        if images > MAX_ROWS:
            raise refusal("rows", f"they make {images} images; at most {MAX_ROWS} are taken, send several batches")
        planned = batch_plan(self._with_images_kept(asked.job, owner), table, _row_seeds(asked, requests))
        return NewJob(
            owner=owner,
            operation=planned.operation,
            model=planned.model,
            tier=planned.tier,
            plan=planned.model_dump(mode="json"),
            rows=len(table),
            conversation=asked.conversation or _shared_conversation(requests),
            user=asked.user,
        )

    def _with_images_kept(self, job: Mapping[str, Any], owner: str) -> dict[str, Any]:
        """The batch's job with the images that all rows share fetched once, and named by their ids."""

        def kept(reference: Any) -> Any:
            shared = isinstance(reference, str) and "://" in reference and not is_of_row(reference)
            return self._keep(self._referred(reference, owner, "image"), owner) if shared else reference

        image = job.get("image")
        shared = [kept(each) for each in image] if isinstance(image, list) else kept(image)
        return {**job, **({} if image is None else {"image": shared})}

    def _foresee(self, request: Request) -> None:
        """Raise StudioError where it can be told already that no job can be made of the request."""
        asked = filled(request, self._settings.templates)
        check_words(texts_of(asked), self._settings.blocked_terms)
        if isinstance(asked, BatchRequest | AdjustRequest):
            return
        if not asked.images and not asked.TAKES_IMAGES[0]:  # the others' last image is known when the row is made
            plan(asked, self._models)
        elif asked.model is not None:
            find_model(asked.model, self._models)

    # -- inputs ----------------------------------------------------------------------------------------------------

    def _inputs(self, asked: Request, uploads: Sequence[Upload], owner: str, row_of: str | None) -> list[Input]:
        assert not isinstance(asked, BatchRequest)  # noqa: S101 - its rows have inputs, not itself
        if files := [upload for upload in uploads if upload.param != "mask"]:
            return [self._opened(file.data, file.param) for file in files]
        if not asked.images and asked.TAKES_IMAGES[0] and asked.conversation is not None:
            return [self._remembered(asked.conversation, owner, row_of)]
        named = zip(asked.images, image_params(len(asked.images)), strict=True)
        return [self._referred(reference, owner, param) for reference, param in named]

    def _mask(self, asked: Request, uploads: Sequence[Upload], owner: str, inputs: Sequence[Input]) -> Mask | None:
        if not isinstance(asked, InpaintRequest):
            return None
        size = inputs[0].size
        if asked.region is not None:
            return region_mask(asked.region, size)
        files = [upload.data for upload in uploads if upload.param == "mask"]
        data = files[0] if files else self._bytes(str(asked.mask), owner, "mask")
        return open_mask(data, size, **self._settings.image_limits)

    def _remembered(self, conversation: str, owner: str, row_of: str | None) -> Input:
        since = time.time() - self._settings.memory_s
        image = self._store.last_image(owner, conversation, since, before=row_of)
        if image is None:
            message = "image: there is no image in this conversation yet, or it was long ago; send the one you mean."
            raise StudioError("image_not_found", message, param="image")
        return Input((image.width, image.height), id=image.id)

    def _referred(self, reference: str, owner: str, param: str) -> Input:
        if "://" in reference:
            return self._opened(self._bytes(reference, owner, param), param)
        image = self._image(reference, owner, param)
        return Input((image.width, image.height), id=image.id)

    def _bytes(self, reference: str, owner: str, param: str) -> bytes:
        """The file behind an id or URL."""
        if reference.startswith(f"{self._settings.address}/files/"):
            return self._own_link(reference, param)
        if "://" in reference:
            return fetch(
                reference,
                max_bytes=self._settings.image_limits["max_bytes"],
                timeout_s=self._settings.fetch_timeout_s,
                allow=self._settings.fetch_allow,
                param=param,
            )
        return self._storage.open(self._image(reference, owner, param).key)

    def _image(self, reference: str, owner: str, param: str) -> StoredImage:
        try:
            return self._store.image(reference, owner)
        except StudioError as error:
            if error.code != "not_found":
                raise
            message = f"{param}: there is no image '{reference[:80]}' of yours; send an image id, a URL or a file."
            raise StudioError("image_not_found", message, param=param) from error

    def _own_link(self, url: str, param: str) -> bytes:
        """The bytes behind a link that this server gave out: fetching it would be refused as a private address."""
        split = urlsplit(url)
        key, query = unquote(split.path.partition("/files/")[2]), parse_qs(split.query)
        expires, signature = query.get("expires", [""])[0], query.get("signature", [""])[0]
        try:
            verify(key, expires, signature, self._link_keys, time.time())
            return self._storage.open(key)
        except StudioError as error:
            if error.code not in {"link_refused", "not_found"}:
                raise
            message = f"{param}: {error.message} Or send the image's id instead of its link."
            raise StudioError("image_not_found", message, param=param) from error

    def _opened(self, data: bytes, param: str) -> Input:
        image = open_image(data, param=param, **self._settings.image_limits)
        return Input(image.size, image=image, painted_by=str(read_facts(data).get("model", ""))[:200])

    def _keep(self, each: Input, owner: str) -> str:
        """Store a new input, normalised, and record it as an image of the owner's."""
        assert each.image is not None  # noqa: S101 - an input without an id has its pixels
        now = time.time()
        image_id = f"img_{token_hex(12)}"
        key = f"{time.strftime('%Y/%m/%d', time.gmtime(now))}/{image_id}.png"
        thumbnail_key = key.replace(".png", ".thumbnail.webp")
        data = store_copy(each.image, each.painted_by)
        self._storage.put(key, data, "image/png")
        self._storage.put(thumbnail_key, thumbnail(each.image), "image/webp")
        self._store.add_image(
            StoredImage(
                id=image_id,
                owner=owner,
                key=key,
                thumbnail_key=thumbnail_key,
                width=each.size[0],
                height=each.size[1],
                mime_type="image/png",
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                created_at=now,
            )
        )
        return image_id


def _shared_conversation(requests: Sequence[Request]) -> str | None:
    """The conversation that all rows name, to which their images belong then."""
    named = {request.conversation for request in requests}
    return named.pop() if len(named) == 1 else None


def _row_seeds(asked: BatchRequest, requests: Sequence[Request]) -> list[int | None]:
    """The seed of each row's first image; what is drawn is drawn here, once."""
    drawn = randbelow(MAX_SEED + 1)
    rows_say = is_of_row(asked.job.get("seed"))
    seeds: list[int | None] = []
    before = 0  # images of the rows before: with n the same in all of them, row * n
    for request in requests:
        if isinstance(request, AdjustRequest | BatchRequest):
            seeds.append(None)
            continue
        first = drawn if rows_say or request.seed is None else request.seed
        if rows_say and request.seed is not None:
            seeds.append(request.seed)
        else:
            seeds.append(first if asked.seed_mode is SeedMode.FIXED else (first + before) % (MAX_SEED + 1))
        before += request.n
    return seeds


def check_files(settings: Settings) -> None:
    """Read the operator's files, for as long as the process lives. Raises CannotServe for one that cannot be used:
    better said now than to a caller.
    """
    try:
        library(settings.templates)
        terms(settings.blocked_terms)
    except BadTemplates as error:
        raise CannotServe(f"STUDIO_TEMPLATES: {error}") from error
    except BadTerms as error:
        raise CannotServe(f"STUDIO_BLOCKED_TERMS: {error}") from error
