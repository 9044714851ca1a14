"""What the bearer of a link may ask for: the link's image changed, for the one for whom it was made."""

from dataclasses import replace

from qwen_image_studio.contract.caller import Guest
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Operation
from qwen_image_studio.recipe import MASK, Submission
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.routing import services

OPERATIONS = frozenset({Operation.EDIT, Operation.INPAINT, Operation.OUTPAINT, Operation.LAYERS, Operation.ADJUST})
"""Operations that change a picture."""
_OTHERS = ("conversation", "user", "webhook_url", "style")
"""Parameters that name what is the owner's, or whom to tell."""


def for_caller(submission: Submission) -> Submission:
    """Return a submission as it counts for the current caller: that of a guest is for the person of the link, is held
    where the link's image was to be, and looks for equal pictures alone, since alike ones tell another's prompt.

    Raises StudioError for what a guest may not ask.
    """
    who = caller()
    if who.guest is None:
        return submission
    _check(submission, who.guest)
    request = submission.request
    changed = {"user": who.guest.user, "hold": request.hold or who.guest.hold}
    if request.looks_up == "similar":
        changed["cache"] = True
    return replace(
        submission,
        request=request.model_copy(update=changed),
        idempotency_key=who.own_key(submission.idempotency_key),
    )


def check_upload(guest: Guest, sent: bytes | str) -> None:
    """Raise StudioError for an image that a guest may not send: an address, or more than the link's jobs can use."""
    if isinstance(sent, str):
        raise StudioError("scope_missing", "url: who came by a link sends the file itself, as 'image'.", param="url")
    services().store.guests.check_upload(guest)


def _check(submission: Submission, guest: Guest) -> None:
    request = submission.request
    if request.NAME not in OPERATIONS:
        message = f"operation: a link lets you {', '.join(sorted(OPERATIONS))}. Sign in with an API key for more."
        raise StudioError("scope_missing", message, param="operation")
    if named := next((name for name in _OTHERS if getattr(request, name, None) is not None), None):
        message = f"{named}: who came by a link leaves this out; sign in with an API key to use it."
        raise StudioError("scope_missing", message, param=named)
    references = [*request.images, *([request.marked] if isinstance(request.marked, str) else [])]
    if any("://" in each for each in references):
        message = "image: who came by a link sends files to POST /v1/images and names their ids; addresses it may not."
        raise StudioError("scope_missing", message, param="image")
    if not request.images or any(upload.param != MASK for upload in submission.uploads):
        message = "image: name the picture of the link by its id, and others, sent to POST /v1/images, after it."
        raise StudioError("scope_missing", message, param="image")
    services().store.guests.check_start(guest, request.images[0])
