"""From a request to a plan: one recipe for HTTP, shell, notebook and the rows of a batch.

1. Count the images.  2. Fill in the template, clean the texts, look for blocked terms.  3. Open the images.
4. Open the mask.  5. Plan.  `intake` goes on from there to a queued job.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from qwen_image_studio.contract.caller import LOCAL, Caller
from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import BadTemplates, BadTerms, CannotServe, StudioError
from qwen_image_studio.contract.words import Size
from qwen_image_studio.guard.terms import terms
from qwen_image_studio.imaging import Origin
from qwen_image_studio.imaging.decoding import receive_image, receive_mask
from qwen_image_studio.imaging.masks import Marked
from qwen_image_studio.imaging.received import Received
from qwen_image_studio.models.loras import offered
from qwen_image_studio.models.table import Model
from qwen_image_studio.operations.given import Given, no_campaigns, no_styles
from qwen_image_studio.operations.request import Request, ready
from qwen_image_studio.planning.plan import Plan
from qwen_image_studio.prompts.templates import library
from qwen_image_studio.settings import Settings

MASK = "mask"
"""Parameter that names the file with the mask."""


@dataclass(frozen=True)
class Upload:
    """One file that came with a request."""

    param: str
    """The name that errors use for it: ``image``, ``image[1]``, ``mask``, or the file's own name."""
    data: bytes


def image_params(count: int) -> list[str]:
    """Return the names that errors use for `count` images: ``image`` for one, else ``image[0]`` and so on."""
    return ["image"] if count == 1 else [f"image[{index}]" for index in range(count)]


@dataclass(frozen=True)
class Submission:
    """One request with the files that came along."""

    request: Request
    uploads: Sequence[Upload] = ()
    idempotency_key: str | None = None
    warnings: Sequence[str] = ()
    """Warnings about how the request was read."""
    draws_seed: bool = False
    """Whether the request's seed was drawn for it, and is none that anybody asked for."""

    def fingerprint(self) -> str:
        """Return the SHA-256 of request and files, to recognise a repeated request; key and drawn seeds are not in
        it.
        """
        asked = self.request.model_dump(mode="json", exclude_unset=True)
        files = [hashlib.sha256(upload.data).hexdigest() for upload in self.uploads]
        return hashlib.sha256(json.dumps([asked, files], sort_keys=True).encode()).hexdigest()

    def check(self) -> "Submission":
        """Return itself. Raises StudioError where the number of images does not fit the operation."""
        masks = sum(upload.param == MASK for upload in self.uploads)
        self.request.check(len(self.uploads) - masks, masks)
        return self


@dataclass(frozen=True)
class Input:
    """One image that a job starts from: stored already under an id, or new."""

    size: Size
    id: str | None = None
    received: Received | None = None
    """A new image; None for a stored one."""
    is_mask: bool = False
    param: str = "image"
    """The name that errors use for a new image."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """The classifier's scores by name; of a stored image none where a reviewer has approved it."""
    pixels: str | None = None
    """SHA-256 of the pixels; None where it is not known."""
    sha256: str = ""
    """SHA-256 of a stored image's file, without content credentials."""

    @property
    def image(self) -> Image.Image | None:
        """The pixels of a new image; None for a stored one."""
        return None if self.received is None else self.received.image()

    def told(self, *, with_notes: bool) -> str:
        """Return what tells its pixels from those of others, and `with_notes` also what its file says of them."""
        if self.pixels is not None and not with_notes:
            return self.pixels
        return f"file:{self.sha256 if self.received is None else hashlib.sha256(self.received.png).hexdigest()}"

    @property
    def origin(self) -> Origin:
        """The metadata of a new image's file on how it was made."""
        return {} if self.received is None else self.received.origin


@dataclass(frozen=True)
class Prepared:
    """A request with everything decided and nothing stored yet."""

    plan: Plan
    warnings: list[str]
    inputs: Sequence[Input]
    """The images, followed by the mask if there is one."""
    conversation: str | None = None
    references: Sequence[str] = ()
    """Ids and URLs of images that the rows of a batch will need."""
    seed: int | None = None
    """The seed that was asked for; None where it was drawn, or none is needed."""
    direction: Direction | None = None
    """The art direction that it follows."""
    told_again: Callable[[Sequence[str]], dict[str, Any]] | None = None
    """As in Planned."""


def _of_frames(inputs: Sequence[Input]) -> list[str]:
    """Return a warning for each image that is one frame of several."""
    names = image_params(len(inputs))
    return [
        f"{name}: 1 of {count} frames was taken, the first, since pictures here do not move; send another frame as a "
        "picture of its own."
        for name, each in zip(names, inputs, strict=True)
        if each.received is not None and (count := each.received.frames) > 1
    ]


def _of_credentials(inputs: Sequence[Input]) -> list[str]:
    """Return a warning for each image whose content credentials do not go on in what is made from it."""
    return [
        f"{name}: the content credentials of this file end here, since uploads are encoded anew; what is made from it "
        "names it without them. An image of this server, named by its id, keeps its own."
        for name, each in zip(image_params(len(inputs)), inputs, strict=True)
        if each.received is not None and each.received.has_credentials
    ]


class Recipe:
    """The way from request to plan, without a server: all images come along with the request."""

    def __init__(self, settings: Settings, models: Mapping[str, Model]) -> None:
        self._settings, self._models = settings, models

    def prepare(self, submission: Submission, caller: Caller = LOCAL, before: str | None = None) -> Prepared:
        """Return the plan with its inputs. Raises StudioError with the parameter at fault.

        With `before`, a job's id, the last image of a conversation is the last one before that job.
        """
        submission.check()
        given = self._given(caller)
        asked = ready(submission.request, given)
        asked.foresee_images(sum(upload.param != MASK for upload in submission.uploads) or len(asked.images), given)
        inputs = self._inputs(asked, submission.uploads, caller, before)
        marked, mask = self._mask(asked, submission.uploads, caller, inputs)
        planned = asked.plan(replace(given, inputs=[each.size for each in inputs], mask=marked))
        signs = bool(self._settings.c2pa_certificate)
        warnings = [*_of_frames(inputs), *(_of_credentials(inputs) if signs else ()), *planned.warnings]
        if mask is not None:
            inputs.append(Input(mask.size, received=mask, is_mask=True, pixels=mask.pixels))
        return Prepared(
            planned.plan,
            warnings,
            inputs,
            planned.conversation,
            planned.references,
            getattr(asked, "seed", None),
            asked.followed,
            planned.told_again,
        )

    def _given(self, caller: Caller) -> Given:
        settings = self._settings
        return Given(
            self._models,
            caller,
            font=settings.font,
            templates=settings.templates,
            blocked_terms=settings.blocked_terms,
            direction_of=lambda name: self._saved_style(name, caller),
            campaign_of=lambda campaign: self._campaign(campaign, caller),
            store_input=lambda reference: self._stored(reference, caller),
        )

    def _inputs(self, asked: Request, uploads: Sequence[Upload], caller: Caller, before: str | None) -> list[Input]:
        if files := [upload for upload in uploads if upload.param != MASK]:
            return [self._opened(file.data, file.param) for file in files]
        if not asked.images and asked.TAKES_IMAGES[0] and asked.conversation is not None:
            return [self._remembered(asked.conversation, caller, before)]
        named = zip(asked.images, image_params(len(asked.images)), strict=True)
        return [self._referred(reference, caller, param) for reference, param in named]

    def _mask(
        self, asked: Request, uploads: Sequence[Upload], caller: Caller, inputs: Sequence[Input]
    ) -> tuple[Marked | None, Received | None]:
        """Return what may change, and the mask as it will be stored; None where all may."""
        marked = next((upload.data for upload in uploads if upload.param == MASK), asked.marked)
        if marked is None:
            return None, None
        if isinstance(marked, str):
            marked = self._bytes(marked, caller, MASK)
        return receive_mask(marked, inputs[0].size, **self._settings.image_limits)

    def _opened(self, data: bytes, param: str) -> Input:
        received = receive_image(data, param=param, **self._settings.image_limits)
        return Input(received.size, received=received, param=param, pixels=received.pixels)

    # -- images that only a server can find; Intake overrides these ------------------------------------------------

    def _referred(self, reference: str, caller: Caller, param: str) -> Input:
        return self._opened(self._bytes(reference, caller, param), param)

    def _bytes(self, reference: str, caller: Caller, param: str) -> bytes:
        raise StudioError("image_not_found", f"{param}: there is no server here; send the file itself.", param=param)

    def _remembered(self, conversation: str, caller: Caller, before: str | None) -> Input:
        raise StudioError("image_not_found", "image: there is no server here; send the image you mean.", param="image")

    def _stored(self, reference: str, caller: Caller) -> str:
        return reference

    def _saved_style(self, name: str, caller: Caller) -> Direction:
        return no_styles(name)

    def _campaign(self, campaign: str, caller: Caller) -> Mapping[str, Any]:
        return no_campaigns(campaign)


def check_files(settings: Settings) -> None:
    """Read the operator's files, once for the life of the process.

    Raises CannotServe for a file that cannot be used, so that the operator hears of it at the start and not a caller.
    """
    try:
        library(settings.templates)
        terms(settings.blocked_terms)
        offered(settings.loras)
    except BadTemplates as error:
        raise CannotServe(f"STUDIO_TEMPLATES: {error}") from error
    except BadTerms as error:
        raise CannotServe(f"STUDIO_BLOCKED_TERMS: {error}") from error
