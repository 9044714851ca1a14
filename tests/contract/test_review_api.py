"""Review over HTTP: what reviewers see and say, and what becomes of the job."""

import csv
import json
import threading
import zipfile
from collections.abc import Iterable
from io import BytesIO, StringIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import select

from qwen_image_studio.__main__ import cli
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.database.tables import images
from qwen_image_studio.gallery.links import REVIEW_S, open_links
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.engine import Paints
from tests.support.pictures import png
from tests.support.reviewing import Scene, held_edit, painted_and_held
from tests.support.waiting import until
from tests.support.worker import working

PAINT = "/v1/images/generations"
TWO = {"operation": "generate", "prompt": "a cup", "steps": 2, "seed": 5, "n": 2}


@pytest.fixture
def scene(app: Flask, parts: Services, worker: Worker) -> Scene:
    """An edit that waits for a reviewer."""
    return held_edit(app, parts, worker)


def path(url: str) -> str:
    split = urlsplit(url)
    return f"{split.path}?{split.query}"


def text_of(pieces: Iterable[Any]) -> str:
    return b"".join(piece if isinstance(piece, bytes) else str(piece).encode() for piece in pieces).decode()


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["error"]["code"]


def mixed(scene: Scene, *held: bool, **changes: Any) -> tuple[str, list[str]]:
    """A painted job of the shop's, some of whose images are held: its id and those of its images."""
    answer = scene.submit("owner", **{**TWO, **changes})
    assert answer.status_code == 202, answer.text
    return answer.get_json()["id"], painted_and_held(scene.parts, *held)


# -- reviewers -----------------------------------------------------------------------------------------------------


def test_a_reviewer_sees_why_it_is_held_and_opens_its_links_for_a_while(scene: Scene) -> None:
    record = scene.ask("reviewer", "GET", f"/v1/images/{scene.image.id}").get_json()
    assert (record["review"], record["held_for"], record["review_reasons"]) == ("held", "asked", [])
    for name in ("url", "thumbnail_url", "comparison_url"):
        answer = scene.ask("nobody", "GET", path(record[name]))
        assert answer.status_code == 200, name
        assert "max-age=" in answer.headers["Cache-Control"]
        assert int(answer.headers["Cache-Control"].split("max-age=")[1].split(",")[0]) <= 1.5 * REVIEW_S
    assert scene.ask("nobody", "GET", path(record["url"])).data == scene.secret


def test_a_link_becomes_no_reviewers_link_by_a_word(scene: Scene, settings: Settings) -> None:
    plain = path(scene.parts.gallery.link(scene.image.key))
    for changed in (f"{plain}&review=1", plain.replace("?", "?review=1&"), f"{plain}&review=", f"{plain}&review=2"):
        assert refusal(scene.ask("nobody", "GET", changed)) in {(403, "link_refused"), (403, "held_for_review")}
    mine = path(scene.parts.gallery.link(scene.image.key, review=True))
    for changed in (mine.replace("review=1&", ""), mine.replace("review=1", "review=2")):
        assert refusal(scene.ask("nobody", "GET", changed)) == (403, "link_refused")
    late = open_links(settings).link(scene.image.key, review=True, now=0)
    assert refusal(scene.ask("nobody", "GET", path(late))) == (403, "link_refused")


def test_approving_gives_the_picture_out_at_once(scene: Scene) -> None:
    before = path(scene.parts.gallery.link(scene.image.key))
    assert scene.view() == {**scene.view(), "state": "review", "images": [], "held": 1, "finished_at": None}
    answer = scene.verdict("reviewer", "approved", user="ann", note="fine")
    assert answer.status_code == 200, answer.text
    assert (answer.get_json()["review"], answer.get_json()["id"]) == ("approved", scene.image.id)
    job = scene.view()
    assert (job["state"], job["held"], job["error"]) == ("succeeded", 0, None)
    assert job["finished_at"] is not None
    assert [image["id"] for image in job["images"]] == [scene.image.id]
    for link in (before, path(job["images"][0]["url"])):
        assert scene.ask("nobody", "GET", link).data == scene.secret
    assert scene.ask("owner", "GET", f"/v1/images/{scene.image.id}/content").data == scene.secret
    assert scene.submit("owner", operation="edit", prompt="red", conversation="c1").status_code == 202
    with scene.parts.store.database.reading() as connection:
        row = connection.execute(select(images).where(images.c.id == scene.image.id)).one()
    assert (row.review_by, row.review_note) == ("reviewer (ann)", "fine")
    assert row.review_at == pytest.approx(job["finished_at"])


def test_rejecting_the_only_picture_ends_the_job_as_rejected(scene: Scene) -> None:
    assert scene.verdict("operator", "rejected", reasons=["six fingers", "wrong logo"]).status_code == 200
    job = scene.view()
    assert (job["state"], job["images"], job["held"]) == ("failed", [], 0)
    assert job["error"] == {"code": "rejected", "message": "A reviewer rejected all images: six fingers, wrong logo."}
    assert refusal(scene.ask("owner", "GET", f"/v1/images/{scene.image.id}")) == (403, "held_for_review")
    assert scene.ask("reviewer", "GET", f"/v1/images/{scene.image.id}/content").data == scene.secret
    # the conversation goes on without it, and its owner may delete it
    assert refusal(scene.submit("owner", operation="edit", prompt="red", conversation="c1")) == (422, "image_not_found")
    assert scene.ask("owner", "DELETE", f"/v1/images/{scene.image.id}").status_code == 204
    assert scene.ask("owner", "DELETE", f"/v1/jobs/{scene.job_id}").status_code == 204


def test_the_first_verdict_wins_and_its_own_reviewer_may_repeat_it(scene: Scene) -> None:
    first = scene.verdict("reviewer", "approved", user="ann")
    assert scene.verdict("reviewer", "approved", user="ann").get_json()["id"] == first.get_json()["id"]
    for who, state, user in (
        ("reviewer", "rejected", "ann"),
        ("reviewer", "approved", "bob"),
        ("operator", "approved", "ann"),
    ):
        answer = scene.verdict(who, state, user=user)
        assert refusal(answer) == (409, "already_reviewed")
        assert "approved already, by reviewer (ann)" in answer.get_json()["error"]["message"]
    assert scene.view()["state"] == "succeeded"


def test_of_many_reviewers_at_once_one_decides(scene: Scene) -> None:
    start, answers = threading.Barrier(8), list[int]()

    def decide(number: int) -> None:
        start.wait()
        answers.append(scene.verdict("reviewer", ("approved", "rejected")[number % 2], user=str(number)).status_code)

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, *[409] * 7]
    assert scene.view()["state"] in {"succeeded", "failed"}


def test_a_picture_that_nobody_holds_takes_no_verdict(scene: Scene) -> None:
    [free] = mixed(scene, False, n=1)[1]
    assert refusal(scene.verdict("reviewer", "approved", free)) == (409, "not_held")
    assert refusal(scene.verdict("reviewer", "approved", "img_unknown")) == (404, "not_found")


def test_an_operator_decides_at_the_shell(scene: Scene, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DATA_DIR", str(settings.data_dir))

    def shell(*words: str) -> str:
        done = CliRunner().invoke(cli, ["review", *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    job_id, (first, second) = mixed(scene, True, True)
    lines = [line.split("\t") for line in shell("list").splitlines()]
    listed = [(line[0], line[2], line[3], line[4]) for line in lines]
    assert set(listed[:2]) == {(each, "shop", "safety", "nsfw=0.60") for each in (first, second)}, "made at one time"
    assert listed[2:] == [(scene.image.id, "shop", "asked", "-")]
    assert scene.ask("nobody", "GET", path(lines[2][-1])).data == scene.secret
    assert shell("approve", first, "--by", "ann") == f"{first}\tapproved\tcommand line (ann)\n"
    shell("reject", second, scene.image.id, "--reason", "blurred")
    assert scene.view(job_id=job_id)["state"] == "succeeded"
    assert scene.view()["error"]["message"] == "A reviewer rejected all images: blurred."
    refused = CliRunner().invoke(cli, ["review", "reject", first])
    assert isinstance(refused.exception, StudioError)
    assert refused.exception.code == "already_reviewed"


# -- the other images of its job -----------------------------------------------------------------------------------


def test_the_other_images_are_given_out_at_once_and_the_last_verdict_ends_the_job(scene: Scene) -> None:
    job_id, (free, first, second) = mixed(scene, False, True, True, n=3)
    job = scene.view(job_id=job_id)
    assert (job["state"], job["held"], [image["id"] for image in job["images"]]) == ("review", 2, [free])
    assert all(image["url"] for image in job["images"])
    assert scene.ask("owner", "GET", path(job["images"][0]["url"])).status_code == 200
    with zipfile.ZipFile(BytesIO(scene.ask("nobody", "GET", path(job["archive_url"])).data)) as archive:
        assert archive.namelist() == ["image-1.png"]
    scene.verdict("reviewer", "approved", first)
    job = scene.view(job_id=job_id)
    assert (job["state"], job["held"], len(job["images"]), job["finished_at"]) == ("review", 1, 2, None)
    scene.verdict("reviewer", "rejected", second, reasons=["blurred"])
    job = scene.view(job_id=job_id)
    assert (job["state"], job["held"], [image["id"] for image in job["images"]]) == ("succeeded", 0, [free, first])
    assert job["warnings"][-1] == "A reviewer rejected 1 of the images: blurred."


def test_a_conversation_goes_on_with_what_was_given_out(scene: Scene) -> None:
    _, (_, free) = mixed(scene, True, False, conversation="c2")
    answer = scene.submit("owner", operation="edit", prompt="red", conversation="c2")
    assert scene.parts.store.jobs.get(answer.get_json()["id"]).inputs == (free,)


def test_openais_clients_get_what_may_be_seen(app: Flask, parts: Services, worker: Worker) -> None:
    with working(worker), app.test_client() as client:
        answer = client.post(PAINT, json={"prompt": "preview a", "hold": True, "steps": 2})
        assert refusal(answer) == (403, "held_for_review")
        [job] = client.get("/v1/jobs").get_json()["data"]
        assert job["id"] in answer.get_json()["error"]["message"]
        asked = {"prompt": "preview b", "hold": True, "steps": 9, "stream": True, "partial_images": 3}
        streamed = client.post(PAINT, json=asked).text
    assert "held_for_review" in streamed
    assert "b64_json" not in streamed
    answers = list[Any]()
    asked = {"prompt": "c", "n": 2}
    asking = threading.Thread(target=lambda: answers.append(app.test_client().post(PAINT, json=asked)))
    asking.start()
    until(lambda: parts.store.jobs.counts()[0] == 1)
    _, free = painted_and_held(parts, True, False)
    asking.join()
    assert [item["id"] for item in answers[0].get_json()["data"]] == [free]
    assert "wait for a reviewer" in answers[0].get_json()["warnings"][-1]


def test_what_was_rejected_is_told_to_a_client_that_asks_again(app: Flask, worker: Worker) -> None:
    asked: dict[str, Any] = {"prompt": "a", "hold": True, "steps": 2}
    with working(worker), app.test_client() as client:

        def again() -> Any:
            return client.post(PAINT, json=asked, headers={"Idempotency-Key": "k1"})

        assert refusal(again()) == (403, "held_for_review")
        assert refusal(again()) == (403, "held_for_review")
        [image] = client.get("/v1/images?review=held").get_json()["data"]
        client.post(f"/v1/images/{image['id']}/review", json={"state": "rejected", "reasons": ["too red"]})
        answer = again()
    assert refusal(answer) == (403, "rejected")
    assert "too red" in answer.get_json()["error"]["message"]


# -- while it waits ------------------------------------------------------------------------------------------------


def test_a_long_poll_returns_where_only_a_person_is_waited_for(scene: Scene) -> None:
    job = scene.ask("owner", "GET", f"/v1/jobs/{scene.job_id}?wait=60").get_json()
    assert job["state"] == "review"


def test_the_events_of_a_job_go_on_until_the_verdict(scene: Scene) -> None:
    with scene.app.test_client() as client:
        answer = client.get(f"/v1/jobs/{scene.job_id}/events", headers=scene.headers["owner"], buffered=False)
        told = iter(answer.response)
        first = text_of([next(told)])
        assert '"state":"review"' in first
        assert scene.image.id not in first
        scene.verdict("reviewer", "approved")
        assert '"state":"succeeded"' in text_of(told)


@pytest.mark.parametrize("hold", [True, False])
def test_nothing_is_shown_of_a_held_picture_while_it_is_painted(
    client: FlaskClient, worker: Worker, hold: bool
) -> None:
    asked = {"operation": "generate", "prompt": "preview pace=0.2", "steps": 20, "hold": hold}
    job_id = client.post("/v1/jobs", json=asked).get_json()["id"]

    def progress() -> Any:
        return client.get(f"/v1/jobs/{job_id}").get_json()["progress"]

    with working(worker):
        until(lambda: progress()["step"] >= 3)  # the previews of the steps before it have been stored by then
        assert (progress()["preview_url"] is None) == hold
        client.post(f"/v1/jobs/{job_id}/cancel")


def test_cancelling_a_job_in_review_deletes_what_was_held(scene: Scene) -> None:
    job_id, (free, held) = mixed(scene, False, True)
    assert scene.ask("owner", "POST", f"/v1/jobs/{job_id}/cancel").status_code == 200
    job = scene.view(job_id=job_id)
    assert (job["state"], job["held"], [image["id"] for image in job["images"]]) == ("cancelled", 0, [free])
    for who in ("owner", "reviewer", "operator"):
        assert scene.ask(who, "GET", f"/v1/images/{held}").status_code == 404
        assert scene.ask(who, "POST", f"/v1/images/{held}/review", json={"state": "approved"}).status_code in {403, 404}


def test_jobs_in_review_are_listed_by_their_state(scene: Scene) -> None:
    found = scene.ask("owner", "GET", "/v1/jobs?state=review").get_json()["data"]
    assert [job["id"] for job in found] == [scene.job_id]
    assert scene.ask("owner", "GET", "/v1/jobs?state=running").get_json()["data"] == []


# -- why it is held ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"operation": "edit", "prompt": "make it red", "steps": 2},
        {"operation": "inpaint", "prompt": "a cat", "steps": 2, "region": {"x": 0, "y": 0, "width": 16, "height": 16}},
        {"operation": "outpaint", "prompt": "a beach", "steps": 2, "left": 16},
        {"operation": "adjust", "prompt": "rotate it 90 degrees"},
    ],
    ids=lambda params: params["operation"],
)
def test_every_operation_can_be_held(
    client: FlaskClient, worker: Worker, light: Worker, store: JobStore, params: dict[str, Any]
) -> None:
    data = {"params": json.dumps({**params, "hold": True}), "image": (BytesIO(png()), "a.png")}
    job_id = client.post("/v1/jobs", data=data).get_json()["id"]
    assert (light if params["operation"] == "adjust" else worker).run_next()
    job = client.get(f"/v1/jobs/{job_id}").get_json()
    assert (job["state"], job["held"], job["images"], job["request"]["hold"]) == ("review", 1, [], True)
    [image] = store.images.of_jobs([job_id])[job_id]
    client.post(f"/v1/images/{image.id}/review", json={"state": "approved"})
    assert client.get(f"/v1/jobs/{job_id}").get_json()["state"] == "succeeded"


@pytest.mark.parametrize(
    ("most", "colour", "state"), [(0.3, "white", "review"), (0.3, "red", "succeeded"), (None, "white", "succeeded")]
)
def test_an_edit_that_changes_more_than_the_operator_allows_is_held(
    client: FlaskClient, parts: Services, most: float | None, colour: str, state: str
) -> None:
    settings = parts.settings.model_copy(update={"review_change": most})
    worker = Worker(settings, "cpu", Paints(Image.new("RGB", (64, 64), colour)), list(parts.models), parts.store)
    params = {"operation": "edit", "prompt": "make it bright", "steps": 2}
    data = {"params": json.dumps(params), "image": (BytesIO(png(64, 64, "red")), "a.png")}
    job_id = client.post("/v1/jobs", data=data).get_json()["id"]
    assert worker.run_next()
    assert client.get(f"/v1/jobs/{job_id}").get_json()["state"] == state
    if state == "review":
        [image] = parts.store.images.of_jobs([job_id])[job_id]
        assert client.get(f"/v1/images/{image.id}").get_json()["held_for"] == "change"


def test_a_server_without_keys_holds_too(client: FlaskClient, worker: Worker, store: JobStore) -> None:
    """Its one caller may do everything; what is held is given out by no job all the same."""
    job_id = client.post("/v1/jobs", json={**TWO, "hold": True}).get_json()["id"]
    assert worker.run_next()
    job = client.get(f"/v1/jobs/{job_id}").get_json()
    assert (job["state"], job["images"], job["held"]) == ("review", [], 2)
    for image in store.images.of_jobs([job_id])[job_id]:
        assert client.post(f"/v1/images/{image.id}/review", json={"state": "approved"}).status_code == 200
    assert len(client.get(f"/v1/jobs/{job_id}").get_json()["images"]) == 2


@pytest.mark.parametrize(
    "body",
    [{}, {"state": "held"}, {"state": "approved", "reasons": "x"}, {"state": "approved", "reasons": ["x" * 201]}, [1]],
)
def test_a_verdict_that_cannot_be_read_names_its_parameter(scene: Scene, body: Any) -> None:
    answer = scene.ask("reviewer", "POST", f"/v1/images/{scene.image.id}/review", json=body)
    assert answer.status_code in {400, 422}
    assert answer.get_json()["error"]["message"].startswith(("state", "reasons", "The body"))
    assert scene.view()["state"] == "review"


def test_a_key_without_the_scope_is_told_so(scene: Scene) -> None:
    answer = scene.verdict("owner", "approved")
    assert refusal(answer) == (403, "scope_missing")
    assert Scope.REVIEW in answer.get_json()["error"]["message"]


# -- batches -------------------------------------------------------------------------------------------------------


def test_a_batch_waits_for_its_reviewers_and_then_shows_what_they_approved(
    scene: Scene, worker: Worker, light: Worker
) -> None:
    job = {"operation": "generate", "prompt": "a {{thing}}", "steps": 2, "seed": 7}
    things = [{"thing": thing} for thing in ("cup", "hat", "pen")]
    batch_id = scene.submit("owner", operation="batch", job=job, rows=things, hold=True).get_json()["id"]

    def work() -> None:
        while light.run_next() or worker.run_next():
            pass

    work()
    batch = scene.view(job_id=batch_id)
    assert (batch["state"], batch["held"], batch["rows"]["review"], batch["images"]) == ("review", 3, 3, [])
    assert (batch["archive_url"], batch["progress"]["step"], batch["progress"]["steps"]) == (None, 0, 3)
    assert refusal(scene.ask("owner", "GET", f"/v1/jobs/{batch_id}/archive")) == (404, "not_found")
    listed = scene.ask("owner", "GET", f"/v1/jobs?parent_id={batch_id}").get_json()["data"]
    assert [(row["state"], row["held"], row["images"]) for row in listed] == [("review", 1, [])] * 3
    made = scene.parts.store.images.of_jobs([row["id"] for row in listed])
    first, second, third = (made[row["id"]][0] for row in listed)

    scene.verdict("reviewer", "approved", first.id)
    scene.verdict("reviewer", "rejected", second.id, reasons=["not a hat"])
    files, table = unzipped(scene.ask("owner", "GET", f"/v1/jobs/{batch_id}/archive").data)
    assert sorted(files) == ["row-001.png", "rows.csv"]
    assert [line["state"] for line in table] == ["succeeded", "failed", "review"]
    assert table[1]["error"].endswith(f"Image {second.id} was rejected: not a hat.")
    assert (table[2]["error"], table[2]["image_id"]) == (f"Image {third.id} is held for a reviewer.", "")

    scene.verdict("operator", "approved", third.id)
    work()
    batch = scene.view(job_id=batch_id)
    rows = batch["rows"]
    assert (batch["state"], batch["held"], rows["succeeded"], rows["failed"]) == ("succeeded", 0, 2, 1)
    assert "not a hat" in batch["warnings"][-1]
    files, _ = unzipped(scene.ask("owner", "GET", f"/v1/jobs/{batch_id}/archive").data)
    assert sorted(files) == ["contact-sheet.jpg", "row-001.png", "row-003.png", "rows.csv"]


def unzipped(data: bytes) -> tuple[dict[str, bytes], list[dict[str, str]]]:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return files, list(csv.DictReader(StringIO(files["rows.csv"].decode("utf-8-sig"), newline="")))
