"""What guests of a link may do, and on whose account."""

import threading
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import MAX_INPUTS, Scope
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.contract.doors import (
    ASK,
    OWN_PAGE,
    RED,
    bearer,
    edited,
    guest_at,
    guest_of_new_image,
    listed,
    made,
    me,
    parts_of,
    with_settings,
)
from tests.support.database import with_tables
from tests.support.pictures import png
from tests.support.refusals import assert_refused
from tests.support.waiting import until
from tests.support.worker import scripted_worker, working


@pytest.fixture
def keys(parts: Services) -> KeyStore:
    """The application's keys."""
    return parts.keys


@pytest.fixture
def ann(keys: KeyStore) -> str:
    """The key of the one whose pictures are linked."""
    return keys.add("ann", "shop")


# -- what a guest may do -------------------------------------------------------------------------------------------


REGION = {"x": 0, "y": 0, "width": 32, "height": 32}
CHANGES: list[dict[str, Any]] = [
    RED,
    {"operation": "inpaint", "prompt": "a cat", "region": REGION, "steps": 2},
    {"operation": "outpaint", "prompt": "a beach", "left": 16, "steps": 2},
    {"operation": "adjust", "prompt": "rotate it 90 degrees"},
]


@pytest.mark.parametrize("change", CHANGES, ids=[str(each["operation"]) for each in CHANGES])
def test_a_guest_changes_the_image(app: Flask, ann: str, worker: Worker, change: dict[str, Any]) -> None:
    image = made(app, worker, ann)
    guest = guest_at(app, image["studio_url"])
    answer = guest.post("/v1/jobs", json={**change, "image": image["id"]}, headers=OWN_PAGE)
    assert answer.status_code == 202, answer.text
    assert answer.get_json()["user"] is None
    assert "RateLimit" not in answer.headers
    cancelled = guest.post(f"/v1/jobs/{answer.get_json()['id']}/cancel", headers=OWN_PAGE)
    assert cancelled.get_json()["state"] == "cancelled"


def test_a_mask_and_references_come_with_the_image(app: Flask, ann: str, worker: Worker) -> None:
    image, other = made(app, worker, ann), guest_of_new_image(app, worker, ann, prompt="a boat")
    guest = guest_at(app, image["studio_url"])
    sent = guest.post("/v1/images", data={"image": (BytesIO(png()), "a.png")}, headers=OWN_PAGE)
    assert sent.status_code == 201
    reference = sent.get_json()["id"]
    assert listed(guest) == [reference, image["id"]]
    both = {**RED, "image": [image["id"], reference]}
    assert guest.post("/v1/jobs", json=both, headers=OWN_PAGE).status_code == 202
    mask = png(image["width"], image["height"], "white")
    form = {
        "params": f'{{"operation": "inpaint", "prompt": "a cat", "image": "{image["id"]}"}}',
        "mask": (BytesIO(mask), "mask.png"),
    }
    answer = guest.post("/v1/jobs", data=form, headers=OWN_PAGE)
    assert answer.status_code == 202, answer.text
    kept = answer.get_json()["request"]["mask"]
    again = {"operation": "inpaint", "prompt": "a dog", "image": image["id"], "mask": kept}
    assert guest.post("/v1/jobs", json=again, headers=OWN_PAGE).status_code == 202
    assert other.get(f"/v1/images/{reference}").status_code == 404


REFUSED: list[tuple[dict[str, Any], str | None]] = [
    ({"operation": "generate", "prompt": "a cup"}, "operation"),
    ({"operation": "batch", "job": {**RED, "image": "{image}"}, "rows": [{"a": "b"}]}, "operation"),
    ({**RED, "image": "{image}", "conversation": "c-1"}, "conversation"),
    ({**RED, "conversation": "c-1"}, "conversation"),
    ({**RED, "image": "{image}", "user": "person-2"}, "user"),
    ({**RED, "image": "{image}", "webhook_url": "https://evil.example/x"}, "webhook_url"),
    ({**RED, "image": "{image}", "style": "house"}, "style"),
    ({**RED, "image": "https://intranet.example/a.png"}, "image"),
    ({**RED, "image": ["{image}", "https://intranet.example/a.png"]}, "image"),
    ({**RED, "image": "{upload}"}, "image"),
    ({**RED, "image": ["{upload}", "{image}"]}, "image"),
]


@pytest.mark.parametrize(("asked", "param"), REFUSED, ids=[f"{each[1]}-{n}" for n, each in enumerate(REFUSED)])
def test_a_guest_may_not(app: Flask, ann: str, worker: Worker, asked: dict[str, Any], param: str | None) -> None:
    image = made(app, worker, ann)
    guest = guest_at(app, image["studio_url"])
    sent = guest.post("/v1/images", data={"image": (BytesIO(png()), "a.png")}, headers=OWN_PAGE).get_json()["id"]
    known = {"{image}": image["id"], "{upload}": sent}

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(each) for each in value]
        return known.get(value, value) if isinstance(value, str) else value

    answer = guest.post("/v1/jobs", json={name: filled(value) for name, value in asked.items()}, headers=OWN_PAGE)
    assert_refused(answer, 403, "scope_missing", param)
    assert "ann" not in answer.get_json()["error"]["message"]
    assert listed(guest, "/v1/jobs") == []


def test_a_guest_sends_files_and_no_addresses(app: Flask, ann: str, worker: Worker) -> None:
    """The server would fetch them, even from hosts that are open to keys alone."""
    guest = guest_of_new_image(app, worker, ann)
    answer = guest.post("/v1/images", json={"url": "https://intranet.example/a.png"}, headers=OWN_PAGE)
    assert_refused(answer, 403, "scope_missing", "url")
    form = {"params": '{"operation": "edit", "prompt": "make it red"}', "image": (BytesIO(png()), "a.png")}
    assert_refused(guest.post("/v1/jobs", data=form, headers=OWN_PAGE), 403, "scope_missing", "image")


def test_html_and_svg_are_no_pictures(app: Flask, ann: str, worker: Worker) -> None:
    guest = guest_of_new_image(app, worker, ann)
    for data in (b"<html><script>alert(1)</script></html>", b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>'):
        answer = guest.post("/v1/images", data={"image": (BytesIO(data), "a.png")}, headers=OWN_PAGE)
        assert_refused(answer, 422, "unsupported_image", "image")


def test_who_may_not_edit_looks_only(app: Flask, keys: KeyStore, worker: Worker) -> None:
    image = made(app, worker, keys.add("dify", "shop", [Scope.GENERATE]))
    guest = guest_at(app, image["studio_url"])
    assert me(guest)["can"] == []
    answer = guest.post("/v1/jobs", json={**RED, "image": image["id"]}, headers=OWN_PAGE)
    assert_refused(answer, 403, "scope_missing", None)
    assert "look at pictures" in answer.text
    assert "dify" not in answer.text


def test_with_no_jobs_a_link_is_for_looking(app: Flask, settings: Settings, ann: str, worker: Worker) -> None:
    image = made(app, worker, ann)
    guest = guest_at(with_settings(settings, guest_jobs=0), image["studio_url"])
    assert (me(guest)["can"], me(guest)["jobs_left"]) == ([], 0)
    assert listed(guest) == [image["id"]]
    answer = guest.post("/v1/jobs", json={**RED, "image": image["id"]}, headers=OWN_PAGE)
    assert_refused(answer, 403, "scope_missing", None)


# -- on whose account ----------------------------------------------------------------------------------------------


def few(settings: Settings, jobs: int) -> Flask:
    """An application whose links are good for a few jobs."""
    return with_settings(settings, guest_jobs=jobs)


def test_a_link_is_good_for_so_many_jobs_whatever_becomes_of_them(
    app: Flask, settings: Settings, ann: str, worker: Worker
) -> None:
    image = made(app, worker, ann)
    guest = guest_at(few(settings, 2), image["studio_url"])
    asked = {**RED, "image": image["id"]}
    job = guest.post("/v1/jobs", json=asked, headers=OWN_PAGE).get_json()["id"]
    guest.post(f"/v1/jobs/{job}/cancel", headers=OWN_PAGE)
    app.test_client().delete(f"/v1/jobs/{job}", headers=bearer(ann))
    assert me(guest)["jobs_left"] == 1, "also where it is cancelled and gone"
    sent = {**OWN_PAGE, "Idempotency-Key": "a"}
    first, again = (guest.post("/v1/jobs", json=asked, headers=sent).get_json()["id"] for _ in range(2))
    assert first == again, "sent twice is once"
    answer = guest.post("/v1/jobs", json=asked, headers=OWN_PAGE)
    assert_refused(answer, 429, "quota_exceeded", None)
    assert "2 jobs were submitted through this link" in answer.text
    assert me(guest)["jobs_left"] == 0
    assert listed(guest) == [image["id"]], "looking goes on"


def test_a_hundred_at_once_are_no_more_jobs(settings: Settings, app: Flask, ann: str, worker: Worker) -> None:
    image = made(app, worker, ann)
    whole = few(settings, 3)
    answers: list[int] = []
    asked = {**RED, "image": image["id"]}
    guests = [guest_at(whole, image["studio_url"]) for _ in range(12)]

    def send(guest: FlaskClient) -> None:
        answers.extend(guest.post("/v1/jobs", json=asked, headers=OWN_PAGE).status_code for _ in range(2))

    threads = [threading.Thread(target=send, args=(guest,)) for guest in guests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(answers)) == [202, 429]
    assert answers.count(202) == 3


def test_what_a_guest_makes_counts_for_the_key_and_the_person(
    app: Flask, client: FlaskClient, keys: KeyStore, worker: Worker
) -> None:
    dify = keys.add("dify", "shop", limits=KeyLimits(person=Limits(images_per_day=3)))
    image = made(app, worker, dify, user="person-1")
    guest = guest_at(app, image["studio_url"])
    assert me(guest)["limits"]["images_per_day"]["left"] == 2
    edited(guest, worker, image["id"], n=2)
    usage = client.get("/v1/usage", headers=bearer(dify)).get_json()["data"]
    assert {(each["key"], each["person"]) for each in usage} == {("dify", "person-1")}
    assert sum(each["pictures"] for each in usage) == 3
    answer = guest.post("/v1/jobs", json={**RED, "image": image["id"]}, headers=OWN_PAGE)
    assert_refused(answer, 429, "quota_exceeded", "user")
    assert "dify" not in answer.get_json()["error"]["message"]
    assert client.post("/v1/jobs", json={**ASK, "user": "person-1"}, headers=bearer(dify)).status_code == 429
    assert client.post("/v1/jobs", json={**ASK, "user": "person-2"}, headers=bearer(dify)).status_code == 202


def test_guests_jobs_stand_in_the_call_log_under_the_key(
    app: Flask, client: FlaskClient, keys: KeyStore, ann: str, worker: Worker
) -> None:
    image = made(app, worker, ann, user="person-1")
    edited(guest_at(app, image["studio_url"]), worker, image["id"])
    operator = bearer(keys.add("ops", scopes=[Scope.OPERATE]))
    calls = client.get("/v1/calls?outcome=succeeded", headers=operator).get_json()["data"]
    of_jobs = [each for each in calls if each["operation"] == "edit"]
    assert [(each["key"], each["person"]) for each in of_jobs] == [("ann", "person-1")]


def test_a_guests_job_is_no_conversations_last_image(app: Flask, client: FlaskClient, ann: str, worker: Worker) -> None:
    image = made(app, worker, ann, conversation="c-1")
    edited(guest_at(app, image["studio_url"]), worker, image["id"])
    answer = client.post("/v1/jobs", json={**RED, "conversation": "c-1"}, headers=bearer(ann))
    assert answer.get_json()["request"]["image"] in (image["id"], [image["id"]])


def test_idempotency_keys_of_guests_are_their_own(app: Flask, client: FlaskClient, ann: str, worker: Worker) -> None:
    """Else one who guesses a key would be given another's job or image."""
    image = made(app, worker, ann)
    asked, sent = {**RED, "image": image["id"]}, {"Idempotency-Key": "step-1"}
    theirs = client.post("/v1/jobs", json=asked, headers={**bearer(ann), **sent}).get_json()["id"]
    upload = {"image": (BytesIO(png()), "a.png")}
    their_image = client.post("/v1/images", data=upload, headers={**bearer(ann), **sent}).get_json()["id"]
    guest = guest_at(app, image["studio_url"])
    mine = guest.post("/v1/jobs", json=asked, headers={**OWN_PAGE, **sent})
    assert mine.status_code == 202
    assert mine.get_json()["id"] != theirs
    upload = {"image": (BytesIO(png()), "a.png")}
    answer = guest.post("/v1/images", data=upload, headers={**OWN_PAGE, **sent})
    assert (answer.status_code, answer.get_json()["id"] != their_image) == (201, True)
    back = guest.post(f"/v1/jobs/{mine.get_json()['id']}/cancel", headers={**OWN_PAGE, **sent})
    assert back.get_json()["state"] == "cancelled"


def test_a_guest_shares_no_job_with_others_and_gets_equal_pictures(
    app: Flask, client: FlaskClient, ann: str, worker: Worker
) -> None:
    image = made(app, worker, ann)
    asked = {**RED, "image": image["id"], "seed": 7}
    theirs = client.post("/v1/jobs", json=asked, headers=bearer(ann)).get_json()["id"]
    guest = guest_at(app, image["studio_url"])
    mine = guest.post("/v1/jobs", json=asked, headers=OWN_PAGE).get_json()
    assert mine["id"] != theirs, "which it could not see"
    with working(worker):
        until(lambda: client.get(f"/v1/jobs/{theirs}", headers=bearer(ann)).get_json()["state"] == "succeeded")
        until(lambda: guest.get(f"/v1/jobs/{mine['id']}").get_json()["state"] == "succeeded")
    told = guest.get(f"/v1/jobs/{mine['id']}").get_json()
    assert told["images"][0]["id"] in listed(guest)
    similar = guest.post("/v1/jobs", json={**asked, "prompt": "Make it RED", "cache": "similar"}, headers=OWN_PAGE)
    assert (similar.get_json()["cached"], similar.get_json()["similar_prompt"]) == (False, None)


def test_a_link_takes_no_more_pictures_than_its_jobs_can_use(
    app: Flask, settings: Settings, ann: str, worker: Worker
) -> None:
    image = made(app, worker, ann)
    guest = guest_at(few(settings, 1), image["studio_url"])

    def send() -> Any:
        return guest.post("/v1/images", data={"image": (BytesIO(png()), "a.png")}, headers=OWN_PAGE)

    answers = [send() for _ in range(MAX_INPUTS + 1)]
    assert {answer.status_code for answer in answers[:-1]} == {201}
    assert_refused(answers[-1], 429, "quota_exceeded", "image")


def test_links_of_two_servers_are_two_servers(tmp_path: Any, app: Flask, ann: str, worker: Worker) -> None:
    """Each has a secret of its own."""
    image = made(app, worker, ann)
    settings = with_tables(Settings(data_dir=tmp_path / "other", models="miniature"))
    other = create_app(settings, configured_models(settings, card_gib=0))
    parts: Services = other.extensions["qwen-image-studio"]
    made(other, scripted_worker(parts), parts.keys.add("ann", "shop"))
    assert other.test_client().post("/v1/session", json=parts_of(image["studio_url"])).status_code == 403
