"""Exchanges with the server: retries, time budget, limits, and the meaning of refusals.

This module speaks HTTP only and imports nothing of Dify. Its errors are drawn as a tree in :mod:`tools.errors`.
"""

import random
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import requests
import urllib3
from pydantic import BaseModel, ValidationError
from requests.auth import AuthBase

from tools.connection import (
    FAILURES,
    SERVER_URL,
    TooManyBytes,
    TooSlow,
    explain,
    host_of,
    is_final,
    is_timeout,
    proxy_advice,
    read_capped,
)
from tools.errors import (
    ClientError,
    KeyRefused,
    LimitReached,
    NotFound,
    QueueFull,
    Refused,
    TooOld,
    Unavailable,
    Unreachable,
    WrongServer,
)
from tools.timely import TimelyAdapter
from tools.versions import MORE_IMAGES, advice_for, advice_on_tables, advice_on_tiers
from tools.views import ErrorBody, ErrorDetail, Health, Job, Pause, Trouble

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
LAST_BYTES_S = 5.0
"""Least time for an exchange, even when the time budget is about to end, in seconds."""
MAX_VIEW_BYTES = 4 * 1024 * 1024
LONGEST_MESSAGE = 600
UNKNOWN_CODES = {"unknown_parameter", "unknown_operation", "method_not_allowed"}
SMALLER = "Ask for output_format jpeg or webp, or a smaller size."
"""What to do about an image that is too large."""
NO_WORDS: Mapping[str, str] = {}
LIMIT_CODES = {"rate_limited", "quota_exceeded"}
NO_SUCH_ADDRESS = "nothing at this address"
"""Tells an unknown address from an unknown job or image, which have the same code."""

View = TypeVar("View", bound=BaseModel)
Update = Job | Pause


@dataclass(frozen=True)
class Answer:
    """An answer of the server."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class _Bearer(AuthBase):
    """The header with the key. That there is an auth object at all also keeps requests from reading a .netrc."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._api_key:
            prepared.headers["Authorization"] = f"Bearer {self._api_key}"
        return prepared


class _Budget:
    """The end of the time budget. The connections know this and not the exchange, which knows them: a circle would
    stay in memory, with all that was received.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def end(self) -> float:
        """Return when an exchange that begins now has to be over, in ``time.monotonic`` seconds."""
        return max(self.deadline, time.monotonic() + LAST_BYTES_S)


class Exchange:
    """Exchanges with one server, which may last ``time_budget_s`` seconds from now."""

    def __init__(
        self, server_url: str, api_key: str = "", *, verify_tls: bool = True, time_budget_s: float = 540
    ) -> None:
        self.server_url = server_url.rstrip("/")
        self.began = time.monotonic()
        self._budget = _Budget(self.began + time_budget_s)
        self._api_key = api_key
        self._verify = verify_tls
        self._session = requests.Session()
        self._session.auth = _Bearer(api_key)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, TimelyAdapter(self._budget.end))
        if not verify_tls:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the administrator has chosen that

    @property
    def deadline(self) -> float:
        """When the time budget ends, in ``time.monotonic`` seconds."""
        return self._budget.deadline

    @deadline.setter
    def deadline(self, deadline: float) -> None:
        self._budget.deadline = deadline

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def patiently(
        self,
        attempt: Callable[[], Answer],
        *,
        kept: str = "",
        unreachable_until: float | None = None,
        words: Mapping[str, str] = NO_WORDS,
    ) -> Generator[Update, None, Answer]:
        """Repeat ``attempt`` after lost connections, 429 and 503, with growing pauses, while the time budget lasts.

        ``kept`` is added to the error's sentence: it tells what is not lost. For ``words`` see :meth:`accepted`.
        """
        for pause in _pauses():
            try:
                return self.accepted(attempt(), words)
            except ClientError as error:
                until = (unreachable_until if isinstance(error, Unreachable) else None) or self.deadline
                seconds = max(pause, error.retry_after_s or 0.0)
                if error.retry_after_s is None or time.monotonic() + seconds > until:
                    raise type(error)(f"{error}{kept}", param=error.param) from None
                trouble, reason = _trouble(error), str(error)
            yield Pause(seconds, trouble, reason)
            time.sleep(seconds)
        raise AssertionError("pauses do not end")

    def send(
        self,
        method: str,
        path: str,
        *,
        read_timeout: float = READ_TIMEOUT_S,
        limit: int = MAX_VIEW_BYTES,
        smaller: str = SMALLER,
        **body: Any,
    ) -> Answer:
        """Make one exchange. Raises :class:`Unreachable`, or :class:`Refused` for a body over ``limit`` bytes, which
        ends in what to do, ``smaller``.
        """
        url, left = f"{self.server_url}{path}", max(self.left(), LAST_BYTES_S)
        try:
            with self._session.request(
                method,
                url,
                timeout=(min(CONNECT_TIMEOUT_S, left), min(read_timeout, left)),
                verify=self._verify,  # here, since on the session a CA bundle of the environment would override it
                allow_redirects=False,  # a redirected POST would become a GET, and the key would go elsewhere
                stream=True,
                **body,
            ) as response:
                # The headers have used up some time: the body has the rest of the budget, or the least time.
                content = read_capped(response, limit, self._budget.end())
                return Answer(response.status_code, response.headers, content)
        except FAILURES as error:
            if left < read_timeout and is_timeout(error):  # we gave up, and not for what the server did
                raise Unreachable(
                    f"The time budget ended before {host_of(url)} answered. Raise time_budget in the credentials, or "
                    "look at the server's log."
                ) from None
            retry = None if is_final(error) else 0.0
            raise Unreachable(explain(error, url, SERVER_URL), retry_after_s=retry) from None
        except TooSlow:
            raise Unreachable("The server sends too slowly; look at the network between.", retry_after_s=0.0) from None
        except TooManyBytes:
            raise Refused(
                f"The server's answer is larger than {limit // 2**20} MB, more than Dify takes. {smaller}"
            ) from None

    def accepted(self, answer: Answer, words: Mapping[str, str] = NO_WORDS) -> Answer:
        """Return the answer if its status is below 300. Raises the error that any other status means.

        Where the server is too old for what was asked, ``words`` are a person's for what it does not know, by the name
        of the parameter that its refusal has; by the empty name for an address.
        """
        if answer.status < 300:
            return answer
        if answer.status < 400:
            raise WrongServer(
                "server_url redirects elsewhere. Enter the address that it redirects to (often https:// instead of http://)."
            )
        try:
            error = ErrorBody.model_validate_json(answer.content).error
        except ValidationError:
            raise self._refusal(answer, "") from None
        if too_old := self._too_old(error, words):
            raise TooOld(too_old, param=error.param or "")
        refusal = self._refusal(answer, f"{self.quoted(error.message)}{self._advice(error)}", error.code)
        refusal.param = error.param or ""
        raise refusal

    def _refusal(self, answer: Answer, message: str, code: str = "") -> ClientError:
        if answer.status == 407:
            return Unreachable(f"The proxy asks for a password.{proxy_advice(self.server_url)}")
        if code == "held_for_review":
            return Refused(message)
        if code == "scope_missing":
            return KeyRefused(message)
        if answer.status in {401, 403}:
            said = f": {message}" if message and answer.status == 403 else "."
            return KeyRefused(
                f"The server refused the API key{said} Enter a valid api_key in the credentials of the "
                "Qwen-Image Studio plugin; the server's operator hands them out."
            )
        if answer.status == 429:
            said = message or "The server, or a gateway before it, takes no more jobs now. Try again later."
            full = LimitReached if code in LIMIT_CODES else QueueFull
            return full(said, retry_after_s=_retry_after(answer))
        if answer.status in {502, 503, 504}:
            said = message or "The server cannot take jobs now, or a gateway before it cannot reach it."
            return Unavailable(f"{said}{proxy_advice(self.server_url)}", retry_after_s=_retry_after(answer))
        if answer.status == 413:
            return Refused(message or "The images together are larger than the server, or a gateway before it, takes.")
        if answer.status >= 500:
            return Unavailable(message or f"The server failed (HTTP {answer.status}); its log says why.")
        if not message:
            return self.wrong_server()
        return NotFound(message) if answer.status == 404 else Refused(message)

    def _too_old(self, error: ErrorDetail, words: Mapping[str, str]) -> str:
        """Return a sentence in place of the refusal of a server that is too old for what was asked; otherwise
        nothing.
        """
        name = error.param or ""
        is_limit = error.code == "invalid_value" and words.get(name) == MORE_IMAGES
        return advice_for(self._version(), words.get(name, name)) if _is_unknown(error) or is_limit else ""

    def _advice(self, error: ErrorDetail) -> str:
        """Return a sentence on what a server knows that is older than this plugin; otherwise nothing."""
        if _is_about_a_tier(error):
            return advice_on_tiers(self._version())
        return advice_on_tables(self._version()) if _is_about_a_table(error) else ""

    def _version(self) -> str:
        """The server's version; empty where it does not tell it now."""
        try:
            answer = self.send("GET", "/v1/health", read_timeout=CONNECT_TIMEOUT_S)
            return Health.model_validate_json(answer.content).version
        except (ClientError, ValidationError):
            return ""

    def wrong_server(self) -> WrongServer:
        """Return the error that says that something else answers at the address."""
        return WrongServer(
            "The address answers, but not as a Qwen-Image Studio server. Enter the server's base address in "
            f"server_url, such as http://gpu-box:8300, without a path.{proxy_advice(self.server_url)}"
        )

    def parsed(self, answer: Answer, view: type[View]) -> View:
        """Return the content of an answer. Raises :class:`WrongServer` for any other content."""
        try:
            return view.model_validate_json(answer.content)
        except ValidationError:
            raise self.wrong_server() from None

    def quoted(self, text: str) -> str:
        """Return text of the server on one line, shortened, and without the key in case something echoes it."""
        line = " ".join(text.split())[:LONGEST_MESSAGE]
        return line.replace(self._api_key, "[api_key]") if self._api_key else line

    def left(self) -> float:
        """Return the seconds that are left of the time budget."""
        return self.deadline - time.monotonic()


def _pauses() -> Iterator[float]:
    """Yield the seconds between attempts: doubling up to a limit, and spread, so that clients return at different
    times.
    """
    pause = FIRST_PAUSE_S
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - not for secrets
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _trouble(error: ClientError) -> Trouble:
    if isinstance(error, Unreachable):
        return "unreachable"
    if isinstance(error, LimitReached):
        return "limited"
    return "full" if isinstance(error, QueueFull) else "unavailable"


def _is_unknown(error: ErrorDetail) -> bool:
    """Whether a server says that it does not know what it was asked for: a parameter, an operation, an address."""
    return error.code in UNKNOWN_CODES or (error.code == "not_found" and NO_SUCH_ADDRESS in error.message)


def _is_about_a_table(error: ErrorDetail) -> bool:
    """Whether a server could not use the rows of a batch, or found none of the columns that its job names."""
    return error.code == "invalid_value" and re.match(r"rows|job$", error.param or "") is not None


def _is_about_a_tier(error: ErrorDetail) -> bool:
    """Whether a server knows no tier of that name, in a request or in the job of a batch."""
    return error.code == "invalid_value" and re.search(r"\btier: input should be", error.message) is not None


def _retry_after(answer: Answer) -> float:
    """Return the seconds of the Retry-After header; 0 where it is missing or a date."""
    value = answer.headers.get("Retry-After", "").strip()
    return float(value) if value.isdecimal() else 0.0
