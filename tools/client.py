"""The client of a Qwen-Image Studio server: submit a job, wait for it, fetch its images; list and cancel jobs; check.

It speaks HTTP only and imports nothing of Dify. Its errors are drawn as a tree in :mod:`tools.errors`.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self
from urllib.parse import quote

from pydantic import ValidationError

from tools.errors import (
    JobCancelled,
    JobFailed,
    NotFound,
    Refused,
    StillLoading,
    StillRunning,
    Unavailable,
    Unreachable,
)
from tools.exchange import NO_SUCH_ADDRESS, READ_TIMEOUT_S, Answer, Exchange, Update
from tools.versions import words_for
from tools.views import Health, Image, InputFile, Job, JobList, Painted, Reviewed, Style, StyleList

__all__ = ["StudioClient", "Update"]

SERVICE = "qwen-image-studio"
LONG_POLL_S = 20.0
QUIET_S = 3.0
"""Time in which a person waits without being told of progress, in seconds; the first word is due at its end."""
RESERVE_S = 2.0
"""Time before the end of the budget in which no long poll goes on, in seconds, so that its answer still comes."""
MIN_POLL_S = 0.2
CHECK_S = 10.0
UNREACHABLE_PATIENCE_S = 60.0
PAGE = 100
"""Number of jobs in one page of the server's list."""
DOCUMENT_S = 120.0
"""Longest time in which a file of layers is made, in seconds; it is made when it is asked for, each time anew."""
MAX_IMAGE_BYTES = 50 * 1024 * 1024  # the largest file that Dify takes from a tool

# Codes of failed jobs that are the request's fault; it can show late, as with the rows of a batch.
REFUSALS = {
    *("content_blocked", "held_for_review", "rejected", "rows_failed", "invalid_value", "unsupported_operation"),
    *("unknown_model", "unknown_lora", "image_not_found", "image_not_ready", "unsupported_image", "image_too_large"),
    *("url_not_allowed", "url_not_fetched"),
}


class StudioClient:
    """A conversation with a server that may last ``time_budget_s`` seconds from now; a context manager.

    Methods that wait are generators: they yield what happens meanwhile, and return the result.
    """

    def __init__(
        self, server_url: str, api_key: str = "", *, verify_tls: bool = True, time_budget_s: float = 540
    ) -> None:
        self.exchange = Exchange(server_url, api_key, verify_tls=verify_tls, time_budget_s=time_budget_s)
        self._reserve_s = min(RESERVE_S, 0.1 * time_budget_s)
        self.longest_poll_s = LONG_POLL_S
        """Longest time without an update while a job goes on, in seconds."""
        self._keys: dict[str, str] = {}
        """The idempotency key of the submit of each job that was submitted here."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.exchange.close()

    @property
    def deadline(self) -> float:
        """When the time budget ends, in ``time.monotonic`` seconds."""
        return self.exchange.deadline

    def check(self) -> None:
        """Check within seconds that the server is a studio, takes the key and can paint. Raises ClientError."""
        self.exchange.deadline = min(self.deadline, time.monotonic() + 2 * CHECK_S)
        answer = self.exchange.send("GET", "/v1/health", read_timeout=CHECK_S)
        if answer.status // 100 in {3, 5} or answer.status == 407:  # a studio's health is always 200
            self.exchange.accepted(answer)
        try:
            health = Health.model_validate_json(answer.content)
        except ValidationError:
            raise self.exchange.wrong_server() from None
        if health.service != SERVICE:
            raise self.exchange.wrong_server()
        self.exchange.accepted(self.exchange.send("GET", "/v1/models", read_timeout=CHECK_S))
        said = self.exchange.quoted(health.message) or "it gives no details"
        if health.state == "starting":
            raise StillLoading(
                f"The server is still loading its model ({said}). Wait until it is ready and save again."
            )
        if health.state == "failed":
            raise Unavailable(f"The server says that it cannot paint: {said}. Look at its log.")

    def paint(
        self,
        params: Mapping[str, Any],
        files: Sequence[InputFile] = (),
        mask: InputFile | None = None,
        table: bytes | None = None,
        *,
        wait: bool = True,
    ) -> Generator[Update, None, Painted]:
        """Submit a job, wait until it ends, and return it with its images; see :meth:`collect` for ``wait``."""
        job = yield from self.submit(params, files, mask, table)
        return (yield from self.collect(job, wait=wait))

    def submit(
        self,
        params: Mapping[str, Any],
        files: Sequence[InputFile] = (),
        mask: InputFile | None = None,
        table: bytes | None = None,
    ) -> Generator[Update, None, Job]:
        """Queue a job and return it; from then on the server keeps it, whatever becomes of the caller.

        ``params`` is the body of ``POST /v1/jobs``; ``files`` are the images to start from, in order; ``table`` is the
        file of a batch's rows.
        """
        # One key for all attempts: if an answer is lost after the commit, the server returns the same job again.
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        body: dict[str, Any] = {"json": dict(params)}
        parts = [("image[]", file) for file in files] + ([] if mask is None else [("mask", mask)])
        sent = [(name, (file.name, file.content, file.mime_type)) for name, file in parts]
        if table is not None:
            sent.append(("rows", ("rows", table, "application/octet-stream")))
        if sent:
            body = {"files": sent, "data": {"params": json.dumps(params, ensure_ascii=False)}}
        answer = yield from self.exchange.patiently(
            lambda: self.exchange.send("POST", "/v1/jobs", headers=headers, **body),
            unreachable_until=self._short_patience(),
            words=words_for(params, len(files)),
        )
        job = self.exchange.parsed(answer, Job)
        self._keys[job.id] = headers["Idempotency-Key"]
        yield job
        return job

    def fetch(self, job_id: str, *, wait: bool = True) -> Generator[Update, None, Painted]:
        """Return what :meth:`paint` returns, for a job that was submitted before. Raises :class:`NotFound`."""
        job = yield from self._asked_about(job_id, "GET", f"/v1/jobs/{job_id}")
        yield job
        return (yield from self.collect(job, wait=wait))

    def recent(self, user: str, limit: int) -> Generator[Update, None, list[Job]]:
        """Return the latest jobs that were submitted for this user, newest first."""
        answer = yield from self.exchange.patiently(
            lambda: self.exchange.send("GET", "/v1/jobs", params={"user": user, "limit": str(limit)}),
            unreachable_until=self._short_patience(),
        )
        return self.exchange.parsed(answer, JobList).data

    def cancel(self, job_id: str) -> Generator[Update, None, Job]:
        """Ask the server to cancel a job, and return it. Raises :class:`NotFound`, or Refused where it has ended.

        A job that others share goes on for them: of one that was submitted here, that submit is taken back.
        """
        headers = {"Idempotency-Key": self._keys[job_id]} if job_id in self._keys else None
        return (yield from self._asked_about(job_id, "POST", f"/v1/jobs/{job_id}/cancel", headers))

    def review(self, image_id: str, verdict: Mapping[str, Any]) -> Generator[Update, None, Reviewed]:
        """Send a reviewer's verdict on an image. Raises :class:`NotFound`, or Refused where another one has decided."""
        try:
            answer = yield from self.exchange.patiently(
                lambda: self.exchange.send("POST", f"/v1/images/{image_id}/review", json=dict(verdict)),
                unreachable_until=self._short_patience(),
                words={"": "image_review"},
            )
        except NotFound:
            raise NotFound(
                f"The server has no image {image_id} that this API key may review; take the id from an earlier answer."
            ) from None
        return self.exchange.parsed(answer, Reviewed)

    def styles(self) -> Generator[Update, None, list[Style]]:
        """Return the saved art directions, by name."""
        answer = yield from self._about_styles("GET", "")
        return self.exchange.parsed(answer, StyleList).data

    def style(self, name: str) -> Generator[Update, None, Style]:
        """Return a saved art direction. Raises :class:`NotFound`."""
        return self.exchange.parsed((yield from self._about_styles("GET", name)), Style)

    def save_style(self, name: str, direction: Mapping[str, Any]) -> Generator[Update, None, Style]:
        """Save an art direction under a name, in place of the one that has it already, and return it."""
        answer = yield from self._about_styles("PUT", name, json=dict(direction))
        return self.exchange.parsed(answer, Style)

    def delete_style(self, name: str) -> Generator[Update, None, None]:
        """Delete a saved art direction. Raises :class:`NotFound`."""
        yield from self._about_styles("DELETE", name)

    def _about_styles(self, method: str, name: str, **body: Any) -> Generator[Update, None, Answer]:
        path = f"/v1/styles/{quote(name, safe='')}" if name else "/v1/styles"
        try:
            return (
                yield from self.exchange.patiently(
                    lambda: self.exchange.send(method, path, **body),
                    unreachable_until=self._short_patience(),
                    words={"": "image_style"},
                )
            )
        except NotFound as error:
            if NO_SUCH_ADDRESS in str(error) or method == "PUT":  # an old server, or the picture of the product
                raise
            said = f"The server has no style {name} of this API key's owner; image_style with action list names them."
            raise NotFound(said) from None

    def collect(self, job: Job, *, wait: bool = True) -> Generator[Update, None, Painted]:
        """Wait until a job ends or waits for a reviewer, and return it with the images that may be seen. Without
        ``wait``, return a job that goes on as it is.
        """
        if not (wait or job.rests):
            return Painted(job, [])
        done = yield from self._wait(job)
        contents = []
        for image in done.images:
            contents.append((yield from self._content(image)))
        rows = [] if done.rows is None else (yield from self._rows(done))
        return Painted(done, contents, rows, deadline=self.deadline)

    def with_pieces(self, painted: Painted) -> Generator[Update, None, Painted]:
        """Return a job with the images of its rows as well."""
        pieces = []
        for image in [image for row in painted.rows for image in row.images]:
            pieces.append((image, (yield from self._content(image))))
        return replace(painted, pieces=pieces)

    def archive(self, job: Job, kind: str) -> Generator[Update, None, bytes]:
        """Return the file with all images of a job: ``zip``, or of layers also ``psd`` or ``pptx``. Raises Refused
        where the server makes none of that kind, or a larger one than Dify takes.
        """
        asked = {} if kind == "zip" else {"format": kind}
        smaller = "The images themselves are here, and archive_url leads to the file."
        answer = yield from self.exchange.patiently(
            lambda: self.exchange.send(
                "GET",
                f"/v1/jobs/{job.id}/archive",
                params=asked,
                read_timeout=DOCUMENT_S,
                limit=MAX_IMAGE_BYTES,
                smaller=smaller,
            )
        )
        return answer.content

    def _asked_about(
        self, job_id: str, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> Generator[Update, None, Job]:
        try:
            answer = yield from self.exchange.patiently(
                lambda: self.exchange.send(method, path, headers=headers), unreachable_until=self._short_patience()
            )
        except NotFound:
            raise NotFound(
                f"The server has no job {job_id} of this API key's owner. Take job_id from the answer of the tool "
                "that started the job, or have image_job list your jobs (action list)."
            ) from None
        return self.exchange.parsed(answer, Job)

    def _short_patience(self) -> float:
        """Return until when to try an unreachable server while no job depends on it, in ``time.monotonic`` seconds."""
        return min(self.deadline, time.monotonic() + UNREACHABLE_PATIENCE_S)

    def _wait(self, job: Job) -> Generator[Update, None, Job]:
        path, kept = f"/v1/jobs/{job.id}", f" Job {job.id} goes on at the server; image_job fetches its result later."
        while not job.rests:
            if self.exchange.left() <= self._reserve_s:
                far = f", with {job.so_far}" if job.so_far else ""
                raise StillRunning(
                    f"The time budget ended while job {job.id} was {job.state}{far}. It goes on at the server: fetch "
                    f"its result later with the tool image_job and job_id {job.id}. To wait longer in one call, raise "
                    "time_budget in the credentials."
                )
            seen, asked_at = job, time.monotonic()
            answer = yield from self.exchange.patiently(lambda: self._poll(path), kept=kept)
            job = self.exchange.parsed(answer, Job)
            yield job
            if job == seen:  # a server that answers without waiting must not be asked in a tight loop
                time.sleep(max(0.0, MIN_POLL_S - (time.monotonic() - asked_at)))
        return _succeeded(job, self.exchange.quoted(job.error.message if job.error else ""))

    def _poll(self, path: str) -> Answer:
        quiet = self.exchange.began + QUIET_S - time.monotonic()
        wait = max(0.0, min(self.longest_poll_s, self.exchange.left() - self._reserve_s))
        wait = min(wait, quiet + MIN_POLL_S) if quiet > 0 else wait
        return self.exchange.send("GET", path, read_timeout=wait + READ_TIMEOUT_S, params={"wait": f"{wait:.1f}"})

    def _content(self, image: Image) -> Generator[Update, None, bytes]:
        answer = yield from self.exchange.patiently(
            lambda: self._whole(image), kept=f" The image is kept at the server as {image.id}."
        )
        return answer.content

    def _whole(self, image: Image) -> Answer:
        """Download an image once, and check its SHA-256: through a gateway that drops the length, an answer can end
        early unnoticed.
        """
        answer = self.exchange.send("GET", f"/v1/images/{image.id}/content", limit=MAX_IMAGE_BYTES)
        if answer.status == 200 and image.sha256 and hashlib.sha256(answer.content).hexdigest() != image.sha256:
            raise Unreachable("The image came broken off or changed; look at the network between.", retry_after_s=0.0)
        return answer

    def _rows(self, batch: Job) -> Generator[Update, None, list[Job]]:
        """Return the jobs of a batch's rows, in order."""
        found: list[Job] = []
        while True:
            query = {"parent_id": batch.id, "limit": str(PAGE)} | ({"after": found[-1].id} if found else {})
            answer = yield from self.exchange.patiently(
                partial(self.exchange.send, "GET", "/v1/jobs", params=query),
                kept=f" The images of batch {batch.id} are kept at the server.",
            )
            page = self.exchange.parsed(answer, JobList)
            found += page.data
            if not page.has_more or not page.data:
                return found


def _succeeded(job: Job, said: str) -> Job:
    if job.state == "cancelled":
        again = "Run it again if the image is still wanted."
        raise JobCancelled(f"Job {job.id} was cancelled at the server. {again} {job.what_is_kept}".rstrip())
    if job.state == "failed":
        code = job.error.code if job.error else ""
        kind = Refused if code in REFUSALS else JobFailed
        raise kind(f"Job {job.id} failed: " + (said or f"{code or 'no reason given'}."))
    if not job.images and job.ended:
        raise JobFailed(f"Job {job.id} succeeded without an image; the server's log may say why.")
    return job
