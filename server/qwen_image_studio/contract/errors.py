"""Every error: one table and one shape for callers, and the tree of the exceptions that stay within the server.

    Exception
    ├── StudioError            sent to a caller, or stored as a job's end: a code of ERRORS, a sentence, a parameter
    └── ServerError
        ├── CannotServe        printed for the person at the shell
        │   ├── BadTemplates
        │   └── BadTerms
        ├── NotAdjustments     the instruction needs a model
        │   └── OutOfRange     it asks for adjustments that cannot be made so
        ├── Locked             another process holds the lock
        └── AttemptOver        an attempt ends; its job may go on
            ├── Cancelled
            ├── Released
            ├── LeaseLost
            └── DeviceLost     the process ends as well

The shape for callers is OpenAI's: ``{"error": {"code", "message", "param", "type", "request_id"}}``. A message names
what was wrong and what to do about it; it never carries a key, a path of the host or a traceback.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from qwen_image_studio.contract.words import Operation


@dataclass(frozen=True)
class ErrorKind:
    """HTTP status, OpenAI error type and meaning of one error code."""

    status: int
    type: str
    meaning: str


ERRORS: Mapping[str, ErrorKind] = {
    # what a caller sent
    "malformed_body": ErrorKind(400, "invalid_request_error", "The body is not JSON or multipart that can be read."),
    "invalid_value": ErrorKind(422, "invalid_request_error", "A parameter has a value that cannot be used."),
    "unknown_parameter": ErrorKind(422, "invalid_request_error", "A parameter that the operation does not take."),
    "unknown_operation": ErrorKind(422, "invalid_request_error", "No such operation."),
    "unknown_model": ErrorKind(422, "invalid_request_error", "No such model on this server."),
    "unknown_style": ErrorKind(422, "invalid_request_error", "The owner has saved no art direction of that name."),
    "unknown_lora": ErrorKind(422, "invalid_request_error", "No such LoRA for that model that the key may use."),
    "unsupported_operation": ErrorKind(422, "invalid_request_error", "The model does not do this operation."),
    "unsupported_image": ErrorKind(422, "invalid_request_error", "The bytes are not an image that can be opened."),
    "image_too_large": ErrorKind(422, "invalid_request_error", "The image has too many pixels or bytes."),
    "image_not_found": ErrorKind(422, "invalid_request_error", "An input names an image that is not the owner's."),
    "image_not_ready": ErrorKind(409, "conflict_error", "The conversation's last image is still being made."),
    "url_not_allowed": ErrorKind(422, "invalid_request_error", "The address may not be fetched."),
    "url_not_fetched": ErrorKind(422, "invalid_request_error", "The address did not deliver an image."),
    "body_too_large": ErrorKind(413, "invalid_request_error", "The body is larger than the server takes."),
    "unsupported_media_type": ErrorKind(415, "invalid_request_error", "The Content-Type is not served."),
    "content_blocked": ErrorKind(422, "invalid_request_error", "The operator's terms or the classifier forbid it."),
    "idempotency_key_reused": ErrorKind(422, "invalid_request_error", "The key came before with another request."),
    # who sent it
    "invalid_api_key": ErrorKind(401, "authentication_error", "The key is missing or wrong, or the session is over."),
    "foreign_page": ErrorKind(403, "permission_error", "A page of another site sent it, without an API key."),
    "scope_missing": ErrorKind(403, "permission_error", "The API key lacks the scope that this needs."),
    "held_for_review": ErrorKind(403, "permission_error", "The image is withheld until a reviewer has decided."),
    "link_refused": ErrorKind(403, "permission_error", "The link is expired or was changed."),
    # what is there
    "not_found": ErrorKind(404, "not_found_error", "Nothing of this owner's has that name."),
    "method_not_allowed": ErrorKind(405, "invalid_request_error", "The route does not take this method."),
    "job_finished": ErrorKind(409, "conflict_error", "The job has ended and cannot be changed."),
    "job_not_ended": ErrorKind(409, "conflict_error", "The job has not ended and cannot be deleted."),
    "already_reviewed": ErrorKind(409, "conflict_error", "Another reviewer has decided on the image."),
    "not_held": ErrorKind(409, "conflict_error", "The image waits for no reviewer."),
    "image_in_use": ErrorKind(
        409, "conflict_error", "A style needs the image, or an unfinished job needs or makes it."
    ),
    "too_many_styles": ErrorKind(409, "conflict_error", "The owner has as many styles as are kept."),
    "precondition_failed": ErrorKind(412, "invalid_request_error", "If-Match names another version of the file."),
    "range_not_satisfiable": ErrorKind(416, "invalid_request_error", "The file has no byte in the Range."),
    # how the server is
    "queue_full": ErrorKind(429, "rate_limit_error", "Too many jobs are waiting."),
    "rate_limited": ErrorKind(429, "rate_limit_error", "Too many requests within a minute, or jobs at once."),
    "quota_exceeded": ErrorKind(429, "rate_limit_error", "Images of a day or month, or jobs of a link, are used up."),
    "database_busy": ErrorKind(503, "server_error", "The job store could not be written in time."),
    "storage_failed": ErrorKind(503, "server_error", "The image store could not be written."),
    "safety_unavailable": ErrorKind(503, "server_error", "The classifier cannot run, and the policy asks for it."),
    "model_loading": ErrorKind(503, "server_error", "The job goes on; the same request, sent again, gets its picture."),
    "internal_error": ErrorKind(500, "server_error", "A fault of the server's own."),
    "still_working": ErrorKind(504, "server_error", "The job goes on; the answer could wait for it no longer."),
    # how a job ends (in JobView.error, never as an HTTP status)
    "worker_lost": ErrorKind(500, "job_error", "The worker died on every attempt."),
    "engine_timeout": ErrorKind(500, "job_error", "The job ran past the time limit."),
    "engine_failed": ErrorKind(500, "job_error", "The engine raised an error."),
    "out_of_memory": ErrorKind(500, "job_error", "The device has too little memory for the job."),
    "model_unavailable": ErrorKind(500, "job_error", "The model's weights could not be loaded."),
    "signing_failed": ErrorKind(500, "job_error", "The picture could not be signed with content credentials."),
    "rejected": ErrorKind(403, "job_error", "A reviewer rejected all images."),
    "rows_failed": ErrorKind(500, "job_error", "No row of the batch succeeded."),
}


PAUSE_S = 5
"""Seconds after which to try again where a store failed for a moment, unless the error knows better."""


class StudioError(Exception):
    """An error with a code from :data:`ERRORS`, a sentence for a person, and the parameter at fault."""

    def __init__(self, code: str, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = PAUSE_S if retry_after is None and self.status == 503 else retry_after

    @property
    def status(self) -> int:
        """Return the HTTP status of the error's code."""
        return ERRORS[self.code].status

    def body(self, request_id: str) -> dict[str, dict[str, str | None]]:
        """Return the JSON body in OpenAI's shape."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "param": self.param,
                "type": ERRORS[self.code].type,
                "request_id": request_id,
            }
        }


# -- exceptions that no caller sees --------------------------------------------------------------------------------


class ServerError(Exception):
    """The base of the exceptions that stay within the server."""


class CannotServe(ServerError):
    """A command cannot do its work; the message is one line that tells the person at the shell what to do."""


class BadTemplates(CannotServe):
    """The operator's file of templates cannot be used; the message says where and why."""


class BadTerms(CannotServe):
    """The operator's list of terms cannot be read; the message says why."""


class NotAdjustments(ServerError):
    """An instruction asks for more than adjustments; the message says why."""


class OutOfRange(NotAdjustments):
    """An instruction asks for adjustments and nothing else, but for such as cannot be made; the message says why."""


class Locked(ServerError):
    """Another process holds the lock."""


class AttemptOver(ServerError):
    """An attempt ends before its job has."""


class Cancelled(AttemptOver):
    """The owner cancelled the job."""


class Released(AttemptOver):
    """The worker gives the job back before it is done."""


class LeaseLost(AttemptOver):
    """The job was given to another attempt, or ended, since it was claimed."""


class EndUnwritten(AttemptOver):
    """How the attempt ended could not be written while its lease lasted."""


class DeviceLost(AttemptOver):
    """The device answers nothing more in this process; a new process may be able to use it."""


# -- making errors -------------------------------------------------------------------------------------------------


def refusal(param: str, problem: str) -> StudioError:
    """Return the error for a value that cannot be used; `problem` is a sentence without parameter and full stop."""
    return StudioError("invalid_value", f"{param}: {problem}.", param=param)


def from_validation(error: ValidationError, *, where: str = "request", known: Iterable[str] = ()) -> StudioError:
    """Turn pydantic's first complaint into a :class:`StudioError` that names the parameter and the remedy.

    `where` names the request in the message; `known` are its parameters, one of which is offered for a misspelt name.
    """
    first = error.errors(include_url=False)[0]
    # Unions (discriminated, or of str and list) put their tags into the path; the caller's own name comes first.
    names = set(known)  # one of a campaign's parameters is called as its operation
    path = [part for part in first["loc"] if part in names or not _is_union_tag(part)]
    param = str(path[0]) if path else first.get("ctx", {}).get("param")
    if len(path) > 2 and isinstance(path[1], int):  # an entry of a list: adjustments[0], then its kind
        inner = path[3:] if path[0] == "adjustments" else path[2:3]
        param = ".".join([f"{path[0]}[{path[1]}]", *(str(part) for part in inner)])
    elif len(path) == 2 and isinstance(path[1], int):  # an entry that is no object at all
        param = f"{path[0]}[{path[1]}]"
    elif len(path) > 1 and all(isinstance(part, str) for part in path):  # a field of an object: region.width
        param = ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        sent = param if param and len(path) > 1 else str(first["loc"][-1])  # direction.colour
        return _unknown(sent[:60], where, known if len(first["loc"]) == 1 else ())
    message = str(first["msg"]).removeprefix("Value error, ")
    named = f"{param}: {message[0].lower()}{message[1:]}" if param else message
    shown = _shown(first)
    return StudioError("invalid_value", f"{named}{shown}.", param=param)


def _unknown(param: str, where: str, known: Iterable[str]) -> StudioError:
    remedy = ". See /openapi.json for the ones there are."
    if likely := likely_name(param, known):
        remedy = f"; did you mean '{likely}'? /openapi.json lists them."
    return StudioError("unknown_parameter", f"'{param}' is not a parameter of this {where}{remedy}", param=param)


def likely_name(sent: str, known: Iterable[str]) -> str | None:
    """Return the name that was meant by an unknown one: of which it is a whole word, else the most alike; or None."""
    plain, names = sent.casefold(), sorted(known)
    return next((each for each in names if plain in each.split("_")), None) or next(
        iter(get_close_matches(plain, names, n=1)), None
    )


_UNION_TAGS = frozenset((*Operation, "str", "constrained-str", "bool", "one", "several"))


def _is_union_tag(part: object) -> bool:
    return part in _UNION_TAGS or (isinstance(part, str) and "[" in part)


def _shown(first: Any) -> str:
    value = first.get("input")
    if first["type"] == "missing" or isinstance(value, dict | list | bytes):
        return ""
    text = repr(value)
    return f" (you sent {text if len(text) <= 60 else text[:57] + '...'})"
