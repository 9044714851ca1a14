"""What becomes of a prompt when its job ends: kept, hashed or dropped, wherever one could be."""

import base64
import json
import logging
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import make_url, text
from sqlalchemy.exc import IntegrityError

from qwen_image_studio.contract.words import Lane, OutputFormat, Prompts, State
from qwen_image_studio.imaging import read_origin
from qwen_image_studio.jobs.calls import Sought
from qwen_image_studio.jobs.prompts import PromptPolicy
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.operations.request import OPERATIONS
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.light import light_worker
from qwen_image_studio.worker.loop import Worker
from tests.support.database import with_tables
from tests.support.pictures import png
from tests.support.worker import scripted_worker, working

SECRET = "zebra-in-galoshes"
AVOIDED = "umbrella-of-tin"
ASK = {"operation": "generate", "prompt": f"a {SECRET}", "negative_prompt": AVOIDED, "steps": 2, "seed": 3}
SMALL = {"width": 128, "height": 128}
LOST = [Prompts.HASHED, Prompts.DROPPED]
NO_TEXTS = {
    "aspect_ratio", "campaign", "conversation", "image", "job", "mask", "model", "save_style", "size", "style",
    "template", "user", "webhook_url",
}  # fmt: skip
"""Parameters that may be written as texts and say nothing of what is painted."""


@dataclass
class Server:
    """A server with a policy, and its workers."""

    client: FlaskClient
    parts: Services
    worker: Worker
    light: Worker

    def finished(self, answer: Any) -> dict[str, Any]:
        """The job once all there is to do is done."""
        assert answer.status_code == 202, answer.text
        # Once more, since what a worker answers with pictures that are there is nothing that it has run.
        while self.light.run_next() or self.worker.run_next() or self.light.run_next():
            pass
        return dict(self.client.get(f"/v1/jobs/{answer.get_json()['id']}").get_json())

    def logged(self) -> list[str | None]:
        """The prompts of the call log, newest first."""
        return [row.prompt for row in self.parts.store.calls.page(Sought(), 99)[0]]

    def bytes_in_database(self) -> bytes:
        """All bytes of the database's files."""
        file = Path(make_url(self.parts.settings.database).database or "")
        return b"".join(path.read_bytes() for path in (file, file.with_name(f"{file.name}-wal")) if path.exists())

    def files(self) -> Iterator[bytes]:
        """The bytes of each stored file."""
        for path in (self.parts.settings.data_dir / "images").rglob("*"):
            if path.is_file():
                yield path.read_bytes()


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[Prompts], Server]:
    """Make a server with a policy."""

    def made(prompts: Prompts) -> Server:
        folder = tmp_path / prompts
        settings = with_tables(Settings(_env_file=None, data_dir=folder, models="miniature", prompts=prompts))
        app = create_app(settings, configured_models(settings, card_gib=0))
        parts: Services = app.extensions["qwen-image-studio"]
        light = light_worker(settings, parts.models, parts.store)
        return Server(app.test_client(), parts, scripted_worker(parts), light)

    return made


def says(value: Any) -> bool:
    """Whether a secret stands anywhere in a value."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else json.dumps(value, default=str)
    return any(word in text.replace("\0", "") for word in (SECRET, AVOIDED))


def test_kept_prompts_are_everywhere(serve: Callable[[Prompts], Server]) -> None:
    server = serve(Prompts.KEPT)
    job = server.finished(server.client.post("/v1/jobs", json={**ASK, **SMALL}))
    stored = server.parts.store.jobs.get(job["id"])
    assert stored.prompt == ASK["prompt"]
    assert job["request"]["prompt"] == ASK["prompt"]
    assert server.logged() == [ASK["prompt"]]
    data = server.client.get(job["images"][0]["url"]).data
    assert read_origin(data)["prompt"] == ASK["prompt"]
    assert server.client.get("/v1/images?q=galoshes").get_json()["data"]


@pytest.mark.parametrize("policy", LOST)
@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
def test_a_job_that_has_ended_says_nothing_of_its_prompt(
    serve: Callable[[Prompts], Server], policy: Prompts, outcome: str
) -> None:
    server = serve(policy)
    script = {"failed": "bug@1 always", "succeeded": "", "cancelled": ""}[outcome]
    answer = server.client.post("/v1/jobs", json={**ASK, **SMALL, "prompt": f"{SECRET} {script}"})
    job_id = answer.get_json()["id"]
    assert answer.get_json()["request"]["prompt"].startswith(SECRET)
    if outcome == "cancelled":
        server.client.post(f"/v1/jobs/{job_id}/cancel")
    job = server.finished(answer)
    stored = server.parts.store.jobs.get(job_id)
    assert stored.state == outcome
    assert not says([job, vars(stored)])
    assert (stored.prompt, job["request"]["prompt"], stored.plan["prompt"]) == (None, None, "")
    assert (job["request"]["steps"], stored.plan["seeds"]) == (2, [3])
    assert server.client.get("/v1/images?q=zebra").get_json()["data"] == []


def test_only_a_keyed_hash_is_logged_of_a_hashed_prompt(serve: Callable[[Prompts], Server], tmp_path: Path) -> None:
    server = serve(Prompts.HASHED)
    for prompt in (SECRET, SECRET, "another"):
        server.finished(server.client.post("/v1/jobs", json={**ASK, **SMALL, "prompt": prompt}))
    another, *same = server.logged()
    assert len(set(same)) == 1
    assert another != same[0]
    assert all(prompt is not None and len(prompt) == len("sha256:") + 64 for prompt in (another, *same))
    other = PromptPolicy(Prompts.HASHED, b"another server's key")
    assert other.logged(SECRET) != same[0]
    assert len(server.client.get(f"/v1/calls?q={SECRET}").get_json()["data"]) == 2
    assert server.client.get("/v1/calls?q=zebra").get_json()["data"] == []


def test_nothing_is_logged_of_a_dropped_prompt(serve: Callable[[Prompts], Server]) -> None:
    server = serve(Prompts.DROPPED)
    server.finished(server.client.post("/v1/jobs", json={**ASK, **SMALL}))
    assert server.client.post("/v1/jobs", json={**ASK, "model": "gpt"}).status_code == 422
    server.parts.call_log.close()
    assert server.logged() == [None, None]


@pytest.mark.parametrize("policy", LOST)
@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_no_file_carries_a_prompt(
    serve: Callable[[Prompts], Server], policy: Prompts, output_format: OutputFormat
) -> None:
    server = serve(policy)
    asked = {**ASK, **SMALL, "output_format": output_format.value}
    job = server.finished(server.client.post("/v1/jobs", json=asked))
    data = server.client.get(job["images"][0]["url"]).data
    origin = read_origin(data)
    assert (origin["model"], origin["seed"]) == ("miniature", 3)
    assert not {"prompt", "negative_prompt"} & origin.keys()
    edit = {"operation": "edit", "prompt": f"a {SECRET}", "image": job["images"][0]["id"], "prefer": "model"}
    server.finished(server.client.post("/v1/jobs", json={**edit, "steps": 2}))
    for file in server.files():
        assert not says(file)
        assert SECRET.encode("utf-16-le") not in file


@pytest.mark.parametrize("policy", LOST)
def test_an_adjusted_picture_loses_the_prompt_that_its_input_had(
    serve: Callable[[Prompts], Server], policy: Prompts
) -> None:
    server, kept = serve(policy), serve(Prompts.KEPT)
    job = kept.finished(kept.client.post("/v1/jobs", json={**ASK, **SMALL}))
    data = kept.client.get(job["images"][0]["url"]).data
    assert says(data)
    params = json.dumps({"operation": "adjust", "prompt": "rotate it 90 degrees"})
    form = {"params": params, "image": (BytesIO(data), "a.png")}
    turned = server.finished(server.client.post("/v1/jobs", data=form))
    origin = read_origin(server.client.get(turned["images"][0]["url"]).data)
    assert "prompt" not in origin
    assert origin["model"] == "miniature"
    assert not any(map(says, server.files()))


@pytest.mark.parametrize("policy", LOST)
def test_rows_of_a_batch_and_its_table_lose_their_texts(serve: Callable[[Prompts], Server], policy: Prompts) -> None:
    server = serve(policy)
    rows = [{"what": SECRET}, {"what": f"{SECRET} bug@1 always"}, {"what": ""}]
    body = {"operation": "batch", "job": {**ASK, **SMALL, "prompt": "a {{what}}"}, "rows": rows[:2]}
    job = server.finished(server.client.post("/v1/jobs", json=body))
    assert (job["state"], job["rows"]["succeeded"], job["rows"]["failed"]) == ("succeeded", 1, 1)
    store = server.parts.store
    everything = [store.jobs.get(job["id"]), *store.rows.of_batch(job["id"])]
    assert not says([job, *map(vars, everything)])
    assert job["request"]["rows"] == 2
    archive = server.client.get(job["archive_url"])
    assert archive.status_code == 200
    assert not says(archive.data)


@pytest.mark.parametrize("policy", LOST)
def test_a_campaign_loses_its_texts_and_its_direction(serve: Callable[[Prompts], Server], policy: Prompts) -> None:
    server = serve(policy)
    asked = {name: f"{name} {SECRET}" for name in ("brief", "product", "occasion", "audience")}
    piece = {"channel": "post", "language": "en", **{name: SECRET for name in ("headline", "subline", "prompt")}}
    direction = {"style": SECRET, "palette": [SECRET], "negative_prompt": AVOIDED, "seed": 7}
    body = {
        "operation": "campaign",
        **asked,
        "direction": direction,
        "pieces": [piece, {**piece, "channel": "story"}],
        "steps": 2,
    }
    job = server.finished(server.client.post("/v1/jobs", json=body))
    assert (job["state"], job["rows"]["succeeded"]) == ("succeeded", 2)
    assert job["request"]["direction"] is None
    told = [(one["channel"], one["headline"]) for one in job["request"]["pieces"]]
    assert told == [("post", None), ("story", None)]
    store = server.parts.store
    assert not says([job, *map(vars, [store.jobs.get(job["id"]), *store.rows.of_batch(job["id"])])])
    with zipfile.ZipFile(BytesIO(server.client.get(job["archive_url"]).data)) as archive:
        texts = archive.read("texts.csv").decode("utf-8-sig").splitlines()
        assert not any(says(archive.read(name)) for name in archive.namelist())
    assert texts[1:] == ["1,post,en,,,row-001.png,128x128", "2,story,en,,,row-002.png,96x176"]
    again = server.client.post("/v1/jobs", json={"operation": "campaign", "campaign": job["id"], "piece": 1})
    assert (again.status_code, again.get_json()["error"]["param"]) == (422, "campaign")


@pytest.mark.parametrize("policy", LOST)
def test_an_error_that_quotes_the_prompt_quotes_it_no_more(serve: Callable[[Prompts], Server], policy: Prompts) -> None:
    """A row may be refused with a sentence about its text."""
    server = serve(policy)
    left = server.parts.store.prompts.left_of(
        {
            "prompt": None,
            "plan": {},
            "request": None,
            "warnings": [],
            "error_message": f"'{SECRET}' is no adjustment; send another.",
        }
    )
    assert left["error_message"] == "'…' is no adjustment; send another."


@pytest.mark.parametrize("policy", LOST)
def test_a_quoted_text_with_apostrophes_is_taken_out_whole(
    serve: Callable[[Prompts], Server], policy: Prompts, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a row is refused for it, the batch and the process's log tell of that, too."""
    server = serve(policy)
    caplog.set_level(logging.INFO)
    rows = [{"which": f"it's the boys' {SECRET}"}]
    body = {"operation": "batch", "job": {"operation": "edit", "image": "{{which}}", "prompt": "x"}, "rows": rows}
    job = server.finished(server.client.post("/v1/jobs", json=body))
    row = server.client.get(f"/v1/jobs?parent_id={job['id']}").get_json()["data"][0]
    assert row["error"]["message"].startswith("image: there is no image '…' of yours")
    assert "there is no image '…'" in job["error"]["message"]
    assert not says([job, row, caplog.text, server.client.get("/v1/health").get_json()])


@pytest.mark.parametrize("policy", LOST)
def test_a_watermark_that_the_prompt_asked_for_goes_with_it(
    serve: Callable[[Prompts], Server], policy: Prompts
) -> None:
    server = serve(policy)
    params = json.dumps({"operation": "adjust", "adjustments": [{"do": "watermark", "text": SECRET}]})
    job = server.finished(server.client.post("/v1/jobs", data={"params": params, "image": (BytesIO(png()), "a.png")}))
    assert job["state"] == "succeeded"
    assert not says([job, vars(server.parts.store.jobs.get(job["id"]))])


@pytest.mark.parametrize("policy", LOST)
def test_an_error_of_the_database_says_nothing_of_what_was_written(
    serve: Callable[[Prompts], Server], policy: Prompts
) -> None:
    """SQLAlchemy's errors tell the parameters of a statement, and a traceback in the log tells the error."""
    server = serve(policy)
    with pytest.raises(IntegrityError) as raised, server.parts.store.database.writing() as connection:
        connection.execute(text("INSERT INTO jobs (id, prompt) VALUES ('x', :prompt)"), {"prompt": SECRET})
    assert not says(str(raised.value))


@pytest.mark.parametrize("policy", LOST)
def test_an_attempt_that_is_tried_again_still_has_the_prompt(
    serve: Callable[[Prompts], Server], policy: Prompts
) -> None:
    server = serve(policy)
    job_id = server.client.post("/v1/jobs", json={**ASK, **SMALL}).get_json()["id"]
    store = server.parts.store
    assert store.leases.claim("dead", Lane.PAINT, ["miniature"]) is not None
    assert store.leases.abandon("dead") == 1
    assert says(vars(store.jobs.get(job_id)))
    assert server.worker.run_next()
    job = store.jobs.get(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2)
    assert not says(vars(job))


@pytest.mark.parametrize("policy", LOST)
def test_a_job_in_review_has_its_prompt_until_the_last_verdict(
    serve: Callable[[Prompts], Server], policy: Prompts
) -> None:
    server = serve(policy)
    job = server.finished(server.client.post("/v1/jobs", json={**ASK, **SMALL, "hold": True}))
    store = server.parts.store
    assert store.jobs.get(job["id"]).state is State.REVIEW
    assert says(vars(store.jobs.get(job["id"])))
    [image] = store.images.of_jobs([job["id"]])[job["id"]]
    server.client.post(f"/v1/images/{image.id}/review", json={"state": "rejected", "reasons": ["x"]})
    assert store.jobs.get(job["id"]).state is State.FAILED
    assert not says(vars(store.jobs.get(job["id"])))


@pytest.mark.parametrize("policy", LOST)
def test_a_replay_gives_the_same_job_after_its_end(serve: Callable[[Prompts], Server], policy: Prompts) -> None:
    server = serve(policy)
    headers = {"Idempotency-Key": "k1"}
    job = server.finished(server.client.post("/v1/jobs", json={**ASK, **SMALL}, headers=headers))
    again = server.client.post("/v1/jobs", json={**ASK, **SMALL}, headers=headers)
    assert (again.status_code, again.get_json()["id"]) == (202, job["id"])
    other = server.client.post("/v1/jobs", json={**ASK, **SMALL, "prompt": "other"}, headers=headers)
    assert other.get_json()["error"]["code"] == "idempotency_key_reused"


@pytest.mark.parametrize("policy", LOST)
def test_the_fingerprint_is_no_way_to_guess_a_prompt(serve: Callable[[Prompts], Server], policy: Prompts) -> None:
    """It is one of the request, and a short request can be guessed where the key of the hash is known."""
    server, kept = serve(policy), serve(Prompts.KEPT)
    prints = []
    for each in (server, kept):
        job_id = each.client.post("/v1/jobs", json={**ASK, **SMALL}).get_json()["id"]
        prints.append(each.parts.store.jobs.get(job_id).fingerprint)
    assert prints[0] != prints[1]


@pytest.mark.parametrize("policy", LOST)
@pytest.mark.parametrize("batched", [False, True])
def test_no_byte_of_a_prompt_is_left_in_the_database(
    serve: Callable[[Prompts], Server], policy: Prompts, batched: bool
) -> None:
    server = serve(policy)
    long = {**ASK, **SMALL, "prompt": SECRET * 400}  # on pages of its own
    body = {"operation": "batch", "job": {**long, "prompt": "{{a}}"}, "rows": [{"a": SECRET * 400}]}
    answer = server.client.post("/v1/jobs", json=body if batched else long)
    server.parts.store.database.erase()
    assert says(server.bytes_in_database())
    job = server.finished(answer)
    assert job["state"] == State.SUCCEEDED
    server.parts.store.database.erase()
    assert not says(server.bytes_in_database())


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_parameter_that_may_be_written_is_taken_out_or_says_nothing(operation: str) -> None:
    """What a new operation asks for in words has to be named where texts are taken out."""
    fields = OPERATIONS[operation].model_fields
    written = {name: "a text" for name, field in fields.items() if "str" in str(field.annotation)}
    left = PromptPolicy(Prompts.DROPPED, b"").left_of(
        {"plan": {}, "request": written, "warnings": [], "error_message": None}
    )
    assert {name for name, value in left["request"].items() if value == "a text"} <= NO_TEXTS


def test_a_kept_prompt_stays_in_the_database_until_its_job_is_deleted(serve: Callable[[Prompts], Server]) -> None:
    server = serve(Prompts.KEPT)
    job = server.finished(server.client.post("/v1/jobs", json={**ASK, **SMALL}))
    file = make_url(server.parts.settings.database).database
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        assert connection.execute("SELECT count(*) FROM jobs WHERE prompt LIKE ?", [f"%{SECRET}%"]).fetchone() == (1,)
        server.client.delete(f"/v1/jobs/{job['id']}")
        assert connection.execute("SELECT count(*) FROM jobs WHERE prompt LIKE ?", [f"%{SECRET}%"]).fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM calls WHERE prompt LIKE ?", [f"%{SECRET}%"]).fetchone() == (0,)


def test_openais_answer_tells_no_prompt_and_counts_its_tokens_all_the_same(
    serve: Callable[[Prompts], Server],
) -> None:
    told = []
    for policy in Prompts:
        server = serve(policy)
        with working(server.worker):
            body = {"prompt": f"a {SECRET} <|im_end|>", "size": "128x128", "steps": 2, "response_format": "b64_json"}
            told.append(server.client.post("/v1/images/generations", json=body).get_json())
    kept, *others = told
    assert kept["data"][0]["revised_prompt"] == f"a {SECRET}"
    for answer in others:
        assert "revised_prompt" not in answer["data"][0]
        assert not says({**answer, "data": []})
        assert answer["usage"]["input_tokens"] > 0
        file = base64.b64decode(answer["data"][0]["b64_json"])
        assert "prompt" not in read_origin(file)
