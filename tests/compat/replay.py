"""A server of an earlier version, played from what it was recorded to answer.

    recording = Recording.load("0.1.0")
    with OldStudio(recording, "generate") as old, DifyFiles(recording.files) as files:
        outcome = Caller(plugin, old.credentials, files).make("generate", recording.calls["generate"])
    assert old.unknown == []

Within one call of a tool, what was answered to a method and a path is answered again in the same order, and the last
of it as often as somebody asks: nobody has to ask as often as the old plugin did. Health, models and templates are
answered always. Whatever the old version does not know is refused in its own words and noted in ``unknown``: a route,
an operation, a parameter. So a test can try what a newer plugin does with an older server that lacks something:
``GET /v1/health`` tells the old ``version``, and an attempt at what is lacking gets the old refusal. What is known, and
yet has no answer in the recording of the call, is noted in ``missing``: then the recording has to grow.
"""

import base64
import json
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Self
from urllib.parse import parse_qs

from werkzeug.formparser import parse_form_data

from tests.compat.calls import HERE
from tests.support.scripted import Answer, Call, ScriptedServer

API_KEY = "the-key-of-a-recorded-server"
NEWER = "newer"
"""What stands in the recorded refusals for a name that the version does not know."""


@dataclass(frozen=True)
class Recording:
    """What the server of one version answered, as make_fixtures.py recorded it."""

    files: Mapping[str, bytes]
    """What people had uploaded to Dify, by name."""
    calls: Mapping[str, Mapping[str, Any]]
    """The calls of tools by name, in order, each with its ``outcome`` and the ``exchanges`` with the server."""
    always: list[Mapping[str, Any]]
    """Exchanges that any call may make: health, models, templates."""
    routes: Mapping[str, list[str] | None]
    """The routes such as ``GET /v1/jobs/{job_id}`` with the parameters of a query, where only these are taken."""
    takes: Mapping[str, list[str]]
    """The parameters of each operation."""
    refuses: Mapping[str, Mapping[str, Any]]
    """Answers to what the version does not know: a ``route``, its ``method``, a parameter of a ``query``, an
    ``operation``, its ``parameter``, a field of a ``form``; and to a wrong ``key``.
    """

    @classmethod
    def load(cls, version: str) -> Self:
        """The recording of a version."""
        told = json.loads((HERE / f"answers-{version}.json").read_text(encoding="utf-8"))
        files = {name: base64.b64decode(content) for name, content in told.pop("files").items()}
        return cls(files=files, **told)


class OldStudio(ScriptedServer):
    """Answers one recorded call of a tool as the recorded server did."""

    def __init__(self, recording: Recording, name: str) -> None:
        self._recording = recording
        self._answers: dict[str, deque[Mapping[str, Any]]] = defaultdict(deque)
        for exchange in (*recording.always, *recording.calls[name]["exchanges"]):
            self._answers[key_of(exchange["route"], exchange.get("query", ""))].append(exchange)
        self.unknown: list[str] = []
        """What was asked for that this version does not know."""
        self.missing: list[str] = []
        """What this version knows and was not asked in the recording."""
        super().__init__(self._play)

    @property
    def credentials(self) -> dict[str, object]:
        """What the administrator has entered."""
        return {"server_url": self.url, "api_key": API_KEY, "time_budget": "60"}

    def _play(self, call: Call) -> Answer:
        if call.path != "/v1/health" and call.headers.get("Authorization") != f"Bearer {API_KEY}":
            return answer_of(self._recording.refuses["key"])
        if refused := self._refusal(call):
            return refused
        answers = self._answers.get(key_of(call.route, call.query))
        if answers is None:
            self.missing.append(call.route)
            return answer_of(self._recording.refuses["route"])
        return answer_of(answers.popleft() if len(answers) > 1 else answers[0])

    def _refusal(self, call: Call) -> Answer | None:
        """The answer to a call that this version does not know; None where it does."""
        here = [route for route in self._recording.routes if matches(route.partition(" ")[2], call.path)]
        known = next((route for route in here if route.startswith(f"{call.method} ")), None)
        if known is None:
            return self._refused("method" if here else "route", call.route)
        taken = self._recording.routes[known]
        if odd := [name for name in parse_qs(call.query) if taken is not None and name not in taken]:
            return self._refused("query", odd[0])
        return self._job_refused(call) if call.route == "POST /v1/jobs" else None

    def _job_refused(self, call: Call) -> Answer | None:
        sent, files = sent_in(call)
        if odd := [name for name in files if name not in {"image", "image[]", "mask", "rows"}]:
            return self._refused("form", odd[0])
        inner = sent.get("job")
        for job in (sent, inner) if isinstance(inner, dict) else (sent,):
            operation = str(job.get("operation"))
            if operation not in self._recording.takes:
                return self._refused("operation", operation)
            if odd := [name for name in job if name not in self._recording.takes[operation]]:
                return self._refused("parameter", odd[0], operation)
        return None

    def _refused(self, kind: str, name: str, operation: str = "generate") -> Answer:
        self.unknown.append(f"{kind} {name}")
        recorded = self._recording.refuses[kind]
        text = json.dumps(recorded["json"]).replace(NEWER, name).replace("this generate", f"this {operation}")
        return answer_of({**recorded, "json": json.loads(text)})


def matches(template: str, path: str) -> bool:
    """Whether a path is one of a template such as ``/v1/jobs/{job_id}``."""
    return re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path) is not None


def key_of(route: str, query: str) -> str:
    """By what exchanges are matched: method and path, and of a list of rows, whose they are."""
    batch = parse_qs(query).get("parent_id")
    return f"{route} of {batch[0]}" if batch else route


def answer_of(exchange: Mapping[str, Any]) -> Answer:
    """The answer that was recorded."""
    if "base64" in exchange:
        return Answer(exchange["status"], base64.b64decode(exchange["base64"]), {"Content-Type": exchange["type"]})
    return Answer(exchange["status"], exchange["json"], {"Content-Type": "application/json"})


def sent_in(call: Call) -> tuple[dict[str, Any], Iterable[str]]:
    """The parameters of a submitted job, and the names of the files that came with it."""
    kind = call.headers.get("Content-Type", "")
    if not kind.startswith("multipart/"):
        return dict(call.json()), []
    stream = {"wsgi.input": BytesIO(call.body), "CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(call.body))}
    _, form, files = parse_form_data({"REQUEST_METHOD": "POST", **stream})
    return json.loads(form["params"]), [*(name for name in form if name != "params"), *(name for name in files)]
