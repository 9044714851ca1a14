"""Guests of a link: where it leads, what they see, and when it is over."""

import time
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.contract.words import Scope
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
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
from tests.support.pictures import png
from tests.support.refusals import assert_refused, error_code


@pytest.fixture
def keys(parts: Services) -> KeyStore:
    """The application's keys."""
    return parts.keys


@pytest.fixture
def ann(keys: KeyStore) -> str:
    """The key of the one whose pictures are linked."""
    return keys.add("ann", "shop")


# -- the link ------------------------------------------------------------------------------------------------------


def test_a_link_leads_to_its_image_and_says_so(app: Flask, ann: str, worker: Worker) -> None:
    image = made(app, worker, ann, user="person-1")
    address, _, fragment = image["studio_url"].partition("#")
    sent = parts_of(image["studio_url"])
    assert (address, fragment.split("?")[0]) == ("http://127.0.0.1:8300/", f"/edit/{image['id']}")
    assert len(sent["k"].partition(".")[2]) == 22
    guest = guest_at(app, image["studio_url"])
    told = me(guest)
    assert (told["kind"], told["image_id"], told["session"]) == ("guest", image["id"], True)
    assert (told["can"], told["jobs_left"]) == (["edit"], 20)
    assert 24 * 3600 <= told["expires_at"] - time.time() + 60 <= 25 * 3600 + 60
    assert (told["owner"], told["key"], told["person"]) == ("", None, None), "whose it is is nobody's business"
    assert "ann" not in guest.get("/v1/me").text
    assert "shop" not in guest.get("/v1/me").text


def test_who_asks_again_soon_gets_the_same_link(app: Flask, ann: str, worker: Worker, parts: Services) -> None:
    """With the jobs that were submitted through it."""
    image, noon = made(app, worker, ann), 1_800_000_000.0 - 1_800_000_000 % 3600
    links = {parts.sessions.link(image["id"], noon + second) for second in (1, 60, 1800, 3599)}
    assert len(links) == 1
    assert parts.sessions.link(image["id"], noon + 3601) not in links


@pytest.mark.parametrize("spoil", ["image", "expiry", "signature", "shorter", "longer", "empty", "zeros", "file"])
def test_a_link_that_was_changed_opens_nothing(
    app: Flask, client: FlaskClient, ann: str, worker: Worker, spoil: str
) -> None:
    image, other = made(app, worker, ann), made(app, worker, ann, prompt="a boat")
    sent = parts_of(image["studio_url"])
    expiry, signature = sent["k"].split(".")
    changed = {
        "image": {**sent, "image_id": other["id"]},
        "expiry": {**sent, "k": f"{int(expiry) + 3600}.{signature}"},
        "signature": {**sent, "k": f"{expiry}.{signature[::-1]}"},
        "shorter": {**sent, "k": sent["k"][:-1]},
        "longer": {**sent, "k": sent["k"] + "A"},
        "empty": {**sent, "k": "."},
        "zeros": {**sent, "k": f"0{expiry}.{signature}"},
        "file": {**sent, "image_id": f"x\n{image['id']}"},
    }[spoil]
    answer = client.post("/v1/session", json=changed, headers=OWN_PAGE)
    assert_refused(answer, 403, "link_refused", None)
    assert "Set-Cookie" not in answer.headers


def test_a_link_and_its_sessions_end_with_the_time(
    app: Flask, client: FlaskClient, ann: str, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = made(app, worker, ann)
    guest, began = guest_at(app, image["studio_url"]), time.time()
    ends = me(guest)["expires_at"]
    monkeypatch.setattr(time, "time", lambda: began + 6 * 3600)
    assert "Set-Cookie" in guest.get("/v1/me").headers, "it is renewed while it is used"
    monkeypatch.setattr(time, "time", lambda: began + 17 * 3600)
    assert "Set-Cookie" in guest.get("/v1/me").headers
    monkeypatch.setattr(time, "time", lambda: ends - 60)
    assert me(guest)["expires_at"] == ends, "and no longer than the link"
    monkeypatch.setattr(time, "time", lambda: ends + 1)
    assert guest.get("/v1/me").status_code == 401
    assert client.post("/v1/session", json=parts_of(image["studio_url"])).status_code == 403


def withdraw(what: str, app: Flask, parts: Services, image: dict[str, Any], ann: str) -> None:
    """Do what ends a link."""
    if what == "revoked":
        parts.keys.revoke("ann")
        return
    answer = app.test_client().delete(f"/v1/images/{image['id']}", headers=bearer(ann))
    assert answer.status_code == 204


@pytest.mark.parametrize("what", ["revoked", "deleted"])
def test_a_link_ends_with_its_key_and_with_its_image(
    app: Flask, client: FlaskClient, parts: Services, ann: str, worker: Worker, what: str
) -> None:
    image = made(app, worker, ann)
    guest = guest_at(app, image["studio_url"])
    withdraw(what, app, parts, image, ann)
    answer = guest.get("/v1/jobs")
    assert_refused(answer, 401, "invalid_api_key", "k")
    assert "Ask for a new one" in answer.text
    assert client.post("/v1/session", json=parts_of(image["studio_url"])).status_code == 403


def test_a_link_goes_on_where_its_key_is_replaced(app: Flask, keys: KeyStore, ann: str, worker: Worker) -> None:
    guest = guest_of_new_image(app, worker, ann)
    keys.rotate("ann", overlap_s=0)
    assert me(guest)["kind"] == "guest"


def test_links_can_be_turned_off(app: Flask, settings: Settings, ann: str, worker: Worker) -> None:
    image = made(app, worker, ann)
    cookie = guest_at(app, image["studio_url"]).get_cookie("studio_session")
    off = with_settings(settings, guest_ttl_s=0)
    client = off.test_client()
    assert client.get(f"/v1/images/{image['id']}", headers=bearer(ann)).get_json()["studio_url"] is None
    assert client.post("/v1/session", json=parts_of(image["studio_url"])).status_code == 403
    assert cookie is not None
    client.set_cookie("studio_session", cookie.value)
    assert client.get("/v1/me").status_code == 401, "nor do sessions go on"


def test_a_link_is_given_for_what_it_would_open_alone(
    app: Flask, client: FlaskClient, keys: KeyStore, ann: str, worker: Worker
) -> None:
    bob = keys.add("bob", "shop")
    image = made(app, worker, ann)
    url = f"/v1/images/{image['id']}"
    assert client.get(url, headers=bearer(bob)).get_json()["studio_url"] == image["studio_url"], "ann's, for bob to see"
    sent = client.post("/v1/images", data={"image": (BytesIO(png()), "a.png")}, headers=bearer(ann)).get_json()
    assert sent["studio_url"] is None, "an upload was made by nobody"
    guest = guest_at(app, image["studio_url"])
    assert guest.get(url).get_json()["studio_url"] is None, "guests hand nothing on"
    job = client.get(f"/v1/jobs/{image_job(client, url, ann)}", headers=bearer(ann)).get_json()
    assert job["images"][0]["studio_url"] == image["studio_url"]
    client.delete(url, headers=bearer(ann))
    job = client.get(f"/v1/jobs/{job['id']}", headers=bearer(ann)).get_json()
    assert (job["images"][0]["deleted"], job["images"][0]["studio_url"]) == (True, None)
    other = made(app, worker, ann, prompt="a boat")
    keys.revoke("ann")
    for path in (f"/v1/images/{other['id']}", "/v1/images"):
        told = client.get(path, headers=bearer(bob)).get_json()
        assert told.get("studio_url", told.get("data", [{}])[0].get("studio_url")) is None, "of a key that is no more"


def image_job(client: FlaskClient, url: str, key: str) -> str:
    """The id of the job that made an image."""
    return str(client.get(url, headers=bearer(key)).get_json()["job_id"])


# -- what a guest sees ---------------------------------------------------------------------------------------------


@pytest.fixture
def chain(app: Flask, ann: str, worker: Worker) -> list[dict[str, Any]]:
    """An image, what was made of it, and what was made of that."""
    found = [made(app, worker, ann, user="person-1", prompt="a cup")]
    for prompt in ("make it red", "make it blue"):
        found.append(made(app, worker, ann, **{**RED, "prompt": prompt, "image": found[-1]["id"], "user": "person-1"}))
    return found


def test_a_guest_sees_the_image_and_what_it_was_made_from(
    app: Flask, ann: str, worker: Worker, chain: list[dict[str, Any]]
) -> None:
    first, second, third = chain
    other = made(app, worker, ann, prompt="a secret boat")
    guest = guest_at(app, second["studio_url"])
    assert listed(guest) == [second["id"], first["id"]]
    assert guest.get("/v1/images").get_json()["total"] == 2
    for seen in (first, second):
        assert guest.get(f"/v1/images/{seen['id']}").status_code == 200
        assert guest.get(f"/v1/images/{seen['id']}/content").status_code == 200
    for hidden in (third, other):
        for path in ("", "/content", "/chain"):
            answer = guest.get(f"/v1/images/{hidden['id']}{path}")
            assert (answer.status_code, error_code(answer)) == (404, "not_found"), path
        assert guest.get(f"/v1/images?after={hidden['id']}").status_code == 404
        assert guest.post("/v1/jobs", json={**RED, "image": hidden["id"]}).status_code == 422
    told = guest.get(f"/v1/images/{second['id']}/chain").get_json()
    assert [each["id"] for each in told["ancestors"]] == [first["id"]]
    assert told["descendants"] == []
    assert "person-1" not in guest.get("/v1/images").text
    assert "secret" not in guest.get("/v1/images").text


def test_a_guest_sees_what_the_link_made_and_no_other_link(app: Flask, ann: str, worker: Worker) -> None:
    image = made(app, worker, ann)
    other = made(app, worker, ann, prompt="a boat")
    guest, stranger = guest_at(app, image["studio_url"]), guest_at(app, other["studio_url"])
    again = guest_at(app, image["studio_url"])
    mine, theirs = edited(guest, worker, image["id"]), edited(stranger, worker, other["id"])
    further = edited(guest, worker, mine["id"], prompt="make it blue")
    assert listed(guest) == listed(again) == [further["id"], mine["id"], image["id"]]
    assert guest.get(f"/v1/images/{theirs['id']}").status_code == 404
    told = guest.get(f"/v1/images/{image['id']}/chain").get_json()
    assert {each["id"] for each in told["descendants"]} == {mine["id"], further["id"]}
    assert len(listed(guest, "/v1/jobs")) == 2
    [job] = listed(stranger, "/v1/jobs")
    for path in ("", "/events"):
        assert guest.get(f"/v1/jobs/{job}{path}").status_code == 404
    assert guest.post(f"/v1/jobs/{job}/cancel").status_code == 404
    assert guest.get(f"/v1/jobs?after={job}").status_code == 404
    made_by = image_job(app.test_client(), f"/v1/images/{image['id']}", ann)
    assert guest.get(f"/v1/jobs/{made_by}").status_code == 404, "not the link's job"


def test_the_owner_sees_what_guests_do(app: Flask, ann: str, worker: Worker) -> None:
    image = made(app, worker, ann, user="person-1")
    mine = edited(guest_at(app, image["studio_url"]), worker, image["id"])
    client = app.test_client()
    assert listed(client, "/v1/images?user=person-1", **bearer(ann)) == [mine["id"], image["id"]]
    job = client.get("/v1/jobs", headers=bearer(ann)).get_json()["data"][0]
    assert (job["operation"], job["user"]) == ("edit", "person-1")


def test_a_guest_follows_what_the_link_does_alone(
    app: Flask, ann: str, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen_image_studio.web.events.LONGEST_S", 0.3)
    image = made(app, worker, ann, user="person-1")
    guest, cursor = guest_at(app, image["studio_url"]), f"{int((time.time() - 30) * 1000)}"
    other, mine = made(app, worker, ann, prompt="a secret boat"), edited(guest, worker, image["id"])
    told = guest.get("/v1/events", headers={"Last-Event-ID": cursor}).text
    assert mine["id"] in told
    assert image["id"] in told
    assert other["id"] not in told
    assert "secret" not in told
    assert "person-1" not in told
    assert '"studio_url":"' not in told
    whole = app.test_client().get("/v1/events", headers={"Last-Event-ID": cursor, **bearer(ann)}).text
    assert other["id"] in whole
    assert '"studio_url":"http' in whole, "what was written for guests is told to nobody else"
    assert_refused(guest.get("/v1/events?kinds=review"), 403, "scope_missing", None)


def test_what_waits_for_a_reviewer_is_seen_by_no_guest(app: Flask, ann: str, keys: KeyStore, worker: Worker) -> None:
    """An image that was to be held, and was approved: what a guest makes of it is held as well."""
    judge, client = bearer(keys.add("judge", "shop", [Scope.REVIEW])), app.test_client()
    job = client.post("/v1/jobs", json={**ASK, "hold": True}, headers=bearer(ann)).get_json()["id"]
    assert worker.run_next()
    [image] = client.get("/v1/images?review=held", headers=judge).get_json()["data"]
    assert image["studio_url"] is None
    link = app.extensions["qwen-image-studio"].sessions.link(image["id"])
    assert client.post("/v1/session", json=parts_of(link)).status_code == 403
    assert client.post(f"/v1/images/{image['id']}/review", json={"state": "approved"}, headers=judge).status_code == 200
    assert client.get(f"/v1/jobs/{job}", headers=bearer(ann)).get_json()["images"][0]["studio_url"] == link
    guest = guest_at(app, link)
    sent = guest.post("/v1/jobs", json={**RED, "image": image["id"], "hold": False}, headers=OWN_PAGE)
    assert worker.run_next()
    told = guest.get(f"/v1/jobs/{sent.get_json()['id']}").get_json()
    assert (told["state"], told["images"], told["held"]) == ("review", [], 1)
    assert listed(guest) == [image["id"]]
    [held] = client.get("/v1/images?review=held", headers=judge).get_json()["data"]
    assert guest.get(f"/v1/images/{held['id']}").status_code in {403, 404}
