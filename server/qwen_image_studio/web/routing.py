"""Declarations of routes: what a route reads, what it answers and which errors it can end with, in one place.

    @route(blueprint, "GET", "", errors=("not_found",))
    def index(query: JobsQuery) -> JobList:

The request is read as declared before the view runs, and the view's answer is turned into JSON afterwards. The OpenAPI
document is made from the same declaration (``openapi``).
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from flask import Blueprint, Flask, current_app, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import NotFound

from qwen_image_studio.contract.errors import ERRORS, StudioError, from_validation, refusal
from qwen_image_studio.contract.sheets import CSV
from qwen_image_studio.contract.words import MAX_JSON_BYTES, Scope
from qwen_image_studio.gallery import Gallery
from qwen_image_studio.gallery.common import Common
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.guard.sessions import Sessions
from qwen_image_studio.intake import Intake
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.models.table import Model
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.threads import INTAKE, LOOKS
from qwen_image_studio.web.bodies import read_json, receive_once
from qwen_image_studio.web.call_log import CallLog
from qwen_image_studio.web.cookies import SessionCookie
from qwen_image_studio.web.mcp.under_way import CallsUnderWay
from qwen_image_studio.web.metrics import Metrics
from qwen_image_studio.web.offered import Offered
from qwen_image_studio.web.speeds import Speeds
from qwen_image_studio.web.waiters import Waiters
from qwen_image_studio.web.waiting import Changes

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
_BODY_ERRORS = ("malformed_body", "invalid_value", "unknown_parameter", "body_too_large", "unsupported_media_type")
URLENCODED = "application/x-www-form-urlencoded"
_SERVICES = "qwen-image-studio"
_NUL = "\0"
"""What no text of PostgreSQL may have in it."""
Read = TypeVar("Read")
Query = TypeVar("Query", bound=BaseModel)
Shape = type[BaseModel] | str | tuple[str, ...] | None
"""The content of an answer: a model, the media type of bytes, one of several, or None for no body."""
Answer = BaseModel | tuple[BaseModel, int] | tuple[BaseModel, int, Mapping[str, str]] | ResponseReturnValue
"""The return value of a view: a model, alone or with a status and headers, or anything that Flask takes."""
View = Callable[..., Answer]


# -- what the views need -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Services:
    """The services of one application, opened once per web process."""

    settings: Settings
    store: JobStore
    gallery: Gallery
    keys: KeyStore
    sessions: Sessions
    cookie: SessionCookie
    models: Mapping[str, Model]
    changes: Changes
    intake: Intake
    call_log: CallLog
    metrics: Metrics
    speeds: Speeds
    offered: Offered
    common: Common | None
    """What workers of other hosts must have in common with this process."""
    waiters: Waiters
    calls_under_way: CallsUnderWay

    def keep_in(self, app: Flask) -> None:
        """Attach the services to an application."""
        app.extensions[_SERVICES] = self


def services() -> Services:
    """Return the services of the current application."""
    return cast(Services, current_app.extensions[_SERVICES])


# -- declaring -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """The multipart form that a route takes instead of JSON."""

    files: tuple[str, ...]
    """Names of the fields that hold files; one that ends with [] may come several times."""
    max_files: int | None = None
    """Largest number of files in a field that may come several times."""
    max_parts: int = 20
    """Largest number of parts."""
    params: str | None = None
    """Name of the field that holds the parameters as JSON; None where each has a field of its own."""
    only_files: bool = False
    """Whether it has no parameters, which stand in the JSON alone."""
    is_open: bool = False
    """Whether fields of other names are taken as well."""
    as_text: bool = False
    """Whether its images may be texts as well, which count as JSON with pictures does, and it may come urlencoded."""

    def receive(self) -> None:
        """Receive the current request's form, however slowly it comes. Raises HTTPException."""
        request.max_form_parts = self.max_parts
        if self.as_text:
            request.max_form_memory_size = services().settings.max_json_bytes
        _ = request.files


@dataclass(frozen=True)
class Body(Generic[Read]):
    """The body of a route: the function that reads it, and its schema."""

    read: Callable[[], Read]
    """Function that reads the current request. It raises StudioError, which names the parameter at fault."""
    schema: type[BaseModel]
    """Model of the JSON."""
    form: Form | None = None
    max_json: int | None = MAX_JSON_BYTES
    """Largest JSON in bytes; None where it may hold images, and is read by `json_pictures`."""
    of_any_type: bool = False
    """Whether the body is received as JSON that may hold images is, whatever type the request says."""

    def receive(self) -> None:
        """Receive what can be read of the current request, however slowly it comes. Raises StudioError and
        HTTPException.
        """
        kind, form = request.mimetype, self.form
        if form is not None and kind == "multipart/form-data":
            form.receive()
        elif form is not None and form.as_text and kind == URLENCODED:
            receive_once(services().settings.max_json_bytes)
        elif self.max_json is None and (self.of_any_type or kind == "application/json"):
            receive_once(services().settings.max_json_bytes)
        elif kind == "application/json" and self.max_json is not None:
            request.max_content_length = min(self.max_json, request.max_content_length or self.max_json)
            request.get_data()


@dataclass(frozen=True)
class Route:
    """A view with its declaration; Flask calls it in place of the view."""

    view: View
    returns: Mapping[int, Shape]
    """Content of the answer, by status."""
    errors: tuple[str, ...]
    """Codes that this route alone can end with."""
    query: type[BaseModel] | None = None
    body: Body[Any] | None = None
    streams: type[BaseModel] | None = None
    """Model of each event, where the answer may also be text/event-stream."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Meaning of each header that the route reads."""
    needs_key: bool = True
    guests: bool = False
    """Whether guests of a link may use it; for them all others are not there."""
    scope: tuple[Scope, ...] = ()
    """Scopes of which the key needs one, before the body is read; none where any key will do."""
    submits: bool = False
    """Whether it submits a job, which counts against limits; its answers tell what is left of them."""
    also: str | None = None
    """Media type in which the answer is given as well, where the request asks for it."""
    null_is_left_out: bool = False
    """Whether fields without a value are left out of the JSON."""
    bad_request: int = 422
    """Status of an answer to a request whose values cannot be used."""
    waits: bool = False
    """Whether the view waits for news; it stays on the event loop then, and has its looks made in threads."""
    in_contract: bool = True
    """Whether the OpenAPI document has it; not where another protocol tells of itself."""

    @property
    def all_errors(self) -> tuple[str, ...]:
        """Codes of all possible errors: the route's own first, then those that follow from its declaration."""
        codes = self.errors
        if self.query is not None:
            codes += ("invalid_value", "unknown_parameter")
        if self.body is not None:
            codes += _BODY_ERRORS
        if self.needs_key:  # keys are looked up in the database
            codes += ("invalid_api_key", "database_busy", "storage_failed")
            codes += () if self.guests else ("not_found",)
        if self.scope:
            codes += ("scope_missing",)
        if self.submits:
            codes += ("rate_limited", "quota_exceeded")
        return tuple(dict.fromkeys((*codes, "internal_error")))

    def status_of(self, code: str) -> int:
        """Return the HTTP status of an error with this code."""
        status = ERRORS[code].status
        return self.bad_request if status == 422 else status

    def __call__(self, **arguments: Any) -> ResponseReturnValue:
        """Read the request, run the view and turn its answer into JSON. Raises StudioError and HTTPException."""
        if any(_NUL in str(value) for value in arguments.values()):  # which no id and no name has
            raise NotFound
        if self.body is not None:
            self.body.receive()
        if not self.waits:
            threads = LOOKS if self.body is None else INTAKE
            return threads.run(lambda: self._finished(self.view(**arguments, **self._read())))
        if self.body is None:  # a query and one job: too little for a thread
            return self._finished(self.view(**arguments, **self._read()))
        answer = self.view(**arguments, **INTAKE.run(self._read))
        return INTAKE.run(lambda: self._finished(answer))

    def _read(self) -> dict[str, Any]:
        """Return what the view gets of the request: the query and the body."""
        read: dict[str, Any] = {}
        if self.query is not None:
            read["query"] = read_query(self.query)
        if self.body is not None:
            read["body"] = self.body.read()
        return read

    def _finished(self, answer: Answer) -> ResponseReturnValue:
        """Return an answer that holds bytes: writing JSON of pictures takes a while."""
        return current_app.make_response(self._as_json(answer))

    def _as_json(self, answer: Answer) -> ResponseReturnValue:
        if isinstance(answer, tuple) and isinstance(answer[0], BaseModel):
            return cast(ResponseReturnValue, (self._dumped(answer[0]), *answer[1:]))
        return self._dumped(answer) if isinstance(answer, BaseModel) else answer

    def _dumped(self, model: BaseModel) -> dict[str, Any]:
        return model.model_dump(mode="json", exclude_none=self.null_is_left_out)


def route(
    blueprint: Blueprint,
    method: str,
    path: str,
    *,
    body: Body[Any] | None = None,
    returns: Shape | Mapping[int, Shape] | None = None,
    errors: tuple[str, ...] = (),
    streams: type[BaseModel] | None = None,
    headers: Mapping[str, str] | None = None,
    needs_key: bool = True,
    guests: bool = False,
    scope: Scope | tuple[Scope, ...] = (),
    submits: bool = False,
    also: str | None = None,
    null_is_left_out: bool = False,
    bad_request: int = 422,
    waits: bool = False,
    in_contract: bool = True,
) -> Callable[[View], Route]:
    """Declare the view of a method and path; the view's docstring becomes the summary in the OpenAPI document.

    The view gets the variables of the path; ``query``, read into the model of its annotation; and ``body``, as returned
    by ``body.read``. ``returns`` is by default the view's return annotation, with status 200. ``errors`` are the codes
    that this route alone can end with; ``also`` is a media type in which the view answers as well. The key needs
    ``scope``, or one of several; without, any key will do. To ``guests`` of a link only what says so is open. What it
    ``submits`` counts against limits. A view that ``waits`` runs on the event loop, any other in a thread.
    """

    def declare(view: View) -> Route:
        hints = inspect.get_annotations(view, eval_str=True)
        shapes = hints["return"] if returns is None else returns
        declared = Route(
            view=view,
            returns=shapes if isinstance(shapes, Mapping) else {200: shapes},
            errors=errors if method in SAFE_METHODS else (*errors, "foreign_page"),
            query=hints.get("query"),
            body=body,
            streams=streams,
            headers=headers or {},
            needs_key=needs_key,
            guests=guests,
            scope=(scope,) if isinstance(scope, Scope) else scope,
            submits=submits,
            also=also,
            null_is_left_out=null_is_left_out,
            bad_request=bad_request,
            waits=waits,
            in_contract=in_contract,
        )
        blueprint.add_url_rule(path, endpoint=view.__name__, view_func=declared, methods=[method])
        return declared

    return declare


def declared(endpoint: str | None) -> Route | None:
    """Return the declaration of an endpoint of the current application; None for a view without one."""
    found = current_app.view_functions.get(endpoint or "")
    return found if isinstance(found, Route) else None


# -- reading -------------------------------------------------------------------------------------------------------


def read_query(model: type[Query]) -> Query:
    """Return the query parameters of the current request. Raises StudioError that names the one at fault."""
    sent = request.args.to_dict()
    if unfit := next((name for name, value in sent.items() if _NUL in value), None):
        raise refusal(unfit, "has the character NUL; take it out")
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        raise from_validation(error, known=model.model_fields) from error


def read_model(model: type[Query], what: str, such_as: str) -> Query:
    """Return the current request's JSON as a model; errors call it `what` and show ``such_as`` as an example.

    Raises StudioError that names the parameter at fault.
    """
    if request.mimetype != "application/json":
        raise StudioError("unsupported_media_type", "Send application/json.")
    body = read_json(request.get_data(cache=False), such_as)
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise from_validation(error, where=what, known=model.model_fields) from error


def read_idempotency_key() -> str | None:
    """Return the Idempotency-Key of the current request, or None. Raises StudioError for one that cannot be stored."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        raise refusal("Idempotency-Key", "use 1 to 255 printable ASCII characters, such as a UUID")
    return key


def wants_csv(named: str | None) -> bool:
    """Return whether the current request asks for a table as CSV: by the format that its query has `named`, else by
    its Accept header.
    """
    if named is not None:
        return named == "csv"
    return request.accept_mimetypes.best_match(["application/json", CSV]) == CSV
