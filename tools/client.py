"""Client of a Qwen-Image Studio server: submit a job, wait for it, fetch its images; check the connection.

Speaks HTTP only and imports nothing of Dify. What it raises is drawn as a tree in :mod:`tools.errors`.
"""

import json
import random
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

import requests
import urllib3
from pydantic import BaseModel, ValidationError
from requests.auth import AuthBase

from tools.connection import TooManyBytes, TooSlow, explain, is_final, proxy_advice, read_capped
from tools.errors import (
    ClientError,
    JobCancelled,
    JobFailed,
    KeyRefused,
    QueueFull,
    Refused,
    StillLoading,
    StillRunning,
    Unavailable,
    Unreachable,
    WrongServer,
)
from tools.views import ErrorBody, Health, Image, InputFile, Job, JobList, Painted, Pause

SERVICE = "qwen-image-studio"
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
LONG_POLL_S = 20.0
MIN_POLL_S = 0.2
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
CHECK_S = 10.0
UNREACHABLE_PATIENCE_S = 60.0
LAST_BYTES_S = 5.0
"""What an exchange may use at least, even when the time budget is about to end."""
PAGE = 100
"""Jobs in one list of the server."""
MAX_VIEW_BYTES = 4 * 1024 * 1024
MAX_IMAGE_BYTES = 50 * 1024 * 1024  # what Dify takes as one file of a tool
LONGEST_MESSAGE = 600

# What to do about a failed job whose error came without a sentence; the server's own says it better.
JOB_ADVICE: Mapping[str, str] = {
    "out_of_memory": "Ask for a smaller size or fewer images.",
    "worker_lost": "The server's log says why its worker died; run it again.",
    "engine_timeout": "Ask for fewer steps, fewer images or a smaller size.",
    "engine_failed": "Run it again; if it fails again, the server's log says why.",
    "model_unavailable": "Choose another model or ask the server's operator to install this one.",
}

View = TypeVar("View", bound=BaseModel)
Update = Job | Pause


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes


class _Bearer(AuthBase):
    """Sets the key's header; being set at all also keeps requests from reading a .netrc."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._api_key:
            prepared.headers["Authorization"] = f"Bearer {self._api_key}"
        return prepared


class StudioClient:
    """One conversation with a server, within ``time_budget_s`` seconds from now. Use as a context manager."""

    def __init__(
        self, server_url: str, api_key: str = "", *, verify_tls: bool = True, time_budget_s: float = 540
    ) -> None:
        self.server_url = server_url.rstrip("/")
        self.deadline = time.monotonic() + time_budget_s
        """When the time budget ends, in ``time.monotonic`` seconds."""
        self._api_key = api_key
        self._verify = verify_tls
        self._session = requests.Session()
        self._session.auth = _Bearer(api_key)
        if not verify_tls:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the administrator chose it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def check(self) -> None:
        """Return if this is a studio that takes the key and can paint; raise what is wrong. Takes seconds."""
        self.deadline = min(self.deadline, time.monotonic() + 2 * CHECK_S)
        answer = self._once("GET", "/v1/health", read_timeout=CHECK_S)
        if answer.status // 100 in {3, 5} or answer.status == 407:  # a studio's health is always 200
            self._accepted(answer)
        try:
            health = Health.model_validate_json(answer.content)
        except ValidationError:
            raise self._wrong_server() from None
        if health.service != SERVICE:
            raise self._wrong_server()
        self._accepted(self._once("GET", "/v1/models", read_timeout=CHECK_S))
        said = self._quoted(health.message) or "it gives no details"
        if health.state == "starting":
            raise StillLoading(
                f"The server is still loading its model ({said}). Wait until it is ready and save again."
            )
        if health.state == "failed":
            raise Unavailable(f"The server says that it cannot paint: {said}. Look at its log.")

    def paint(
        self, params: Mapping[str, Any], files: Sequence[InputFile] = (), mask: InputFile | None = None
    ) -> Generator[Update, None, Painted]:
        """Submit a job, wait until it ends, fetch its images. Yields what happens meanwhile.

        ``params`` is the body of ``POST /v1/jobs``; ``files`` are the images to start from, in order.
        """
        parts = [("image[]", file) for file in files] + ([] if mask is None else [("mask", mask)])
        job = yield from self._submit(params, parts)
        job = yield from self._wait(job)
        contents = []
        for image in job.images:
            contents.append((yield from self._content(image)))
        rows = [] if job.rows is None else (yield from self._rows(job))
        return Painted(job, contents, rows)

    def _submit(
        self, params: Mapping[str, Any], parts: Sequence[tuple[str, InputFile]]
    ) -> Generator[Update, None, Job]:
        # One key for all attempts: where an answer was lost after the commit, the server gives the same job again.
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        body: dict[str, Any] = {"json": dict(params)}
        if parts:
            files = [(name, (file.name, file.content, file.mime_type)) for name, file in parts]
            body = {"files": files, "data": {"params": json.dumps(params, ensure_ascii=False)}}
        answer = yield from self._patiently(
            lambda: self._once("POST", "/v1/jobs", headers=headers, **body),
            unreachable_until=min(self.deadline, time.monotonic() + UNREACHABLE_PATIENCE_S),
        )
        job = self._parsed(answer, Job)
        yield job
        return job

    def _wait(self, job: Job) -> Generator[Update, None, Job]:
        path, kept = f"/v1/jobs/{job.id}", f" Job {job.id} goes on at the server."
        while not job.ended:
            if self._left() <= 0:
                far = f", with {job.rows.done} of {job.rows.total} rows done" if job.rows else ""
                raise StillRunning(
                    f"The time budget ended while job {job.id} was {job.state}{far}. It goes on at the server and its "
                    "images are kept there. Ask for fewer or smaller images, or raise time_budget in the credentials."
                )
            seen, asked_at = job, time.monotonic()
            answer = yield from self._patiently(lambda: self._poll(path), kept=kept)
            job = self._parsed(answer, Job)
            yield job
            if job == seen:  # a server that does not hold its answer back must not be asked in a tight loop
                time.sleep(max(0.0, MIN_POLL_S - (time.monotonic() - asked_at)))
        return _succeeded(job, self._quoted(job.error.message if job.error else ""))

    def _poll(self, path: str) -> _Answer:
        wait = max(0.0, min(LONG_POLL_S, self._left()))
        return self._once("GET", path, read_timeout=wait + READ_TIMEOUT_S, params={"wait": f"{wait:.1f}"})

    def _content(self, image: Image) -> Generator[Update, None, bytes]:
        answer = yield from self._patiently(
            lambda: self._once("GET", f"/v1/images/{image.id}/content", limit=MAX_IMAGE_BYTES),
            kept=f" The image is kept at the server as {image.id}.",
        )
        return answer.content

    def _rows(self, batch: Job) -> Generator[Update, None, list[Job]]:
        """The jobs of a batch's rows, first row first."""
        found: list[Job] = []
        while True:
            query = {"parent_id": batch.id, "limit": str(PAGE)} | ({"after": found[-1].id} if found else {})
            answer = yield from self._patiently(
                partial(self._once, "GET", "/v1/jobs", params=query),
                kept=f" The images of batch {batch.id} are kept at the server.",
            )
            page = self._parsed(answer, JobList)
            found += page.data
            if not page.has_more or not page.data:
                return found

    def _patiently(
        self, attempt: Callable[[], _Answer], *, kept: str = "", unreachable_until: float | None = None
    ) -> Generator[Update, None, _Answer]:
        """Repeat ``attempt`` over lost connections, 429 and 503, with growing pauses, while the time budget lasts.

        ``kept`` ends the error's sentence: what is not lost by it.
        """
        for pause in _pauses():
            try:
                return self._accepted(attempt())
            except ClientError as error:
                until = (unreachable_until if isinstance(error, Unreachable) else None) or self.deadline
                seconds = max(pause, error.retry_after_s or 0.0)
                if error.retry_after_s is None or time.monotonic() + seconds > until:
                    raise type(error)(f"{error}{kept}") from None
                reason = str(error)
            yield Pause(seconds, reason)
            time.sleep(seconds)
        raise AssertionError("pauses do not end")

    def _once(
        self, method: str, path: str, *, read_timeout: float = READ_TIMEOUT_S, limit: int = MAX_VIEW_BYTES, **body: Any
    ) -> _Answer:
        """Make one exchange. Raises :class:`Unreachable`, or :class:`Refused` for a body over ``limit`` bytes."""
        url, left = f"{self.server_url}{path}", max(self._left(), LAST_BYTES_S)
        try:
            with self._session.request(
                method,
                url,
                timeout=(min(CONNECT_TIMEOUT_S, left), min(read_timeout, left)),
                verify=self._verify,  # here, not on the session, where an environment's CA bundle would win over it
                allow_redirects=False,  # a redirected POST would become a GET, and the key would go elsewhere
                stream=True,
                **body,
            ) as response:
                content = read_capped(response, limit, time.monotonic() + left)
                return _Answer(response.status_code, response.headers, content)
        except requests.RequestException as error:
            retry = None if is_final(error) else 0.0
            raise Unreachable(explain(error, url, "server_url"), retry_after_s=retry) from None
        except TooSlow:
            raise Unreachable("The server sends too slowly; look at the network between.", retry_after_s=0.0) from None
        except TooManyBytes:
            raise Refused(
                f"The server's answer is larger than {limit // 2**20} MB, more than Dify takes. "
                "Ask for output_format jpeg or webp, or a smaller size."
            ) from None

    def _accepted(self, answer: _Answer) -> _Answer:
        """Return the answer of a status below 300; raise the error that any other one means."""
        if answer.status < 300:
            return answer
        if answer.status < 400:
            raise WrongServer(
                "server_url redirects elsewhere. Enter the address that it redirects to (often https:// instead of http://)."
            )
        try:
            message = self._quoted(ErrorBody.model_validate_json(answer.content).error.message)
        except ValidationError:
            message = ""
        raise self._refusal(answer, message)

    def _refusal(self, answer: _Answer, message: str) -> ClientError:
        if answer.status == 407:
            return Unreachable(f"The proxy asks for a password.{proxy_advice(self.server_url)}")
        if answer.status in {401, 403}:
            said = f": {message}" if message and answer.status == 403 else "."
            return KeyRefused(
                f"The server refused the API key{said} Enter a valid api_key in the credentials of the "
                "Qwen-Image Studio plugin; the server's operator hands them out."
            )
        if answer.status == 429:
            said = message or "The server takes no more jobs now."
            return QueueFull(f"{said} Try again later.", retry_after_s=_retry_after(answer))
        if answer.status in {502, 503, 504}:
            said = message or "The server cannot take jobs now, or a gateway before it cannot reach it."
            return Unavailable(f"{said}{proxy_advice(self.server_url)}", retry_after_s=_retry_after(answer))
        if answer.status == 413:
            return Refused(message or "The images together are larger than the server, or a gateway before it, takes.")
        if answer.status >= 500:
            return Unavailable(message or f"The server failed (HTTP {answer.status}); its log says why.")
        return Refused(message) if message else self._wrong_server()

    def _wrong_server(self) -> WrongServer:
        return WrongServer(
            "The address answers, but not as a Qwen-Image Studio server. Enter the server's base address in "
            f"server_url, such as http://gpu-box:8300, without a path.{proxy_advice(self.server_url)}"
        )

    def _parsed(self, answer: _Answer, view: type[View]) -> View:
        try:
            return view.model_validate_json(answer.content)
        except ValidationError:
            raise self._wrong_server() from None

    def _quoted(self, text: str) -> str:
        """Text of the server's on one line, of bounded length and without the key, should something echo it."""
        line = " ".join(text.split())[:LONGEST_MESSAGE]
        return line.replace(self._api_key, "[api_key]") if self._api_key else line

    def _left(self) -> float:
        return self.deadline - time.monotonic()


def _succeeded(job: Job, said: str) -> Job:
    if job.state == "cancelled":
        raise JobCancelled(f"Job {job.id} was cancelled at the server. Run it again if the image is still wanted.")
    if job.state == "failed":
        code = job.error.code if job.error else ""
        advice = f"{code or 'no reason given'}. {JOB_ADVICE.get(code, '')}".rstrip()
        raise JobFailed(f"Job {job.id} failed: {said or advice}")
    if not job.images:
        raise JobFailed(f"Job {job.id} succeeded without an image; the server's log may say why.")
    return job


def _pauses() -> Iterator[float]:
    """Seconds between attempts: doubling up to a limit, spread so that many clients do not come back at once."""
    pause = FIRST_PAUSE_S
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - not for secrets
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _retry_after(answer: _Answer) -> float:
    """Seconds of the Retry-After header; 0 where it is missing or a date."""
    value = answer.headers.get("Retry-After", "").strip()
    return float(value) if value.isdecimal() else 0.0
