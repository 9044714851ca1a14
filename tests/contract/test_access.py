"""Who may see what: keys, owners, and links."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.contract.words import Scope
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Route
from qwen_image_studio.worker.loop import Worker
from tests.support.refusals import error_code

OPEN = {
    "ops.health", "ops.health_of_others", "ops.live", "ops.ready", "ops.accepts", "ops.openapi", "files.file",
    "page.index", "page.static", "session.sign_in", "session.sign_out",
}  # fmt: skip
"""Endpoints that need no key: health, the contract, links that carry their own signature, the page and its doors."""
ASK = {"operation": "generate", "prompt": "a cup", "steps": 2}


@pytest.fixture
def keys(settings: Settings, app: Flask) -> KeyStore:
    """The application's keys."""
    return KeyStore(open_database(settings))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_without_keys_the_machine_is_trusted(client: FlaskClient) -> None:
    assert client.post("/v1/jobs", json=ASK).status_code == 202


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8300", "127.0.0.1.evil.example", ""])
def test_without_keys_a_page_that_points_its_name_at_us_gets_nothing(client: FlaskClient, host: str) -> None:
    answer = client.get("/v1/jobs", headers={"Host": host})
    assert answer.status_code in {400, 401}
    assert client.get("/v1/jobs", headers={"Host": "localhost:8300"}).status_code == 200
    assert client.get("/v1/jobs", headers={"Host": "[::1]:8300"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://evil.example@localhost"},
        {"Origin": "localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "cross-site", "Authorization": "Bearer made-up"},
    ],
    ids=str,
)
def test_a_form_on_another_site_neither_queues_nor_cancels_nor_deletes(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    """B6: a page of any site can have a browser post a form here, and the browser says where it comes from."""
    own = client.post("/v1/jobs", json=ASK).get_json()["id"]
    form = {"params": '{"operation": "generate", "prompt": "a cup"}'}
    for method, path in (("POST", "/v1/jobs"), ("POST", f"/v1/jobs/{own}/cancel"), ("DELETE", f"/v1/jobs/{own}")):
        body = form if path == "/v1/jobs" else None
        answer = client.open(path, method=method, headers=headers, data=body, content_type="multipart/form-data")
        error = answer.get_json()["error"]
        assert (answer.status_code, error["code"]) == (403, "foreign_page"), path
        assert "API key" in error["message"]
    assert [job["state"] for job in client.get("/v1/jobs").get_json()["data"]] == ["queued"]
    assert client.get("/v1/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://studio.example"},
        {"Origin": "http://localhost"},
        {"Origin": "http://LOCALHOST", "Host": "localhost:80"},
        {"Origin": "http://localhost:8300", "Host": "localhost:8300"},
        {"Origin": "http://[::1]:8300", "Host": "[::1]:8300"},
        {"Origin": "https://localhost", "Host": "localhost"},
        {"Origin": "http://127.0.0.1:8300", "Host": "localhost"},
    ],
    ids=str,
)
def test_programs_and_the_servers_own_pages_may_submit(client: FlaskClient, headers: dict[str, str]) -> None:
    """B6: the last is the server's public address, behind a proxy that names another host."""
    assert client.post("/v1/jobs", json=ASK, headers=headers).status_code == 202


def test_a_page_of_another_site_that_has_a_key_may_submit(client: FlaskClient, keys: KeyStore) -> None:
    """B6: a forged request carries no key, since browsers add none by themselves."""
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Origin": "https://chat.example"}
    assert client.post("/v1/jobs", json=ASK, headers={**elsewhere, **bearer(keys.add("ann"))}).status_code == 202
    assert client.post("/v1/jobs", json=ASK, headers={**elsewhere, **bearer("wrong")}).status_code == 401


def test_every_route_outside_the_short_list_needs_a_key(app: Flask, client: FlaskClient, keys: KeyStore) -> None:
    key = keys.add("ann")
    views = app.view_functions.items()
    assert {name for name, view in views if isinstance(view, Route) and not view.needs_key} == OPEN
    closed = [rule for rule in app.url_map.iter_rules() if rule.endpoint not in OPEN]
    assert len(closed) >= 7
    for rule in closed:
        path = rule.rule.replace("<job_id>", "job_1").replace("<image_id>", "img_1").replace("<path:model>", "Qwen/x")
        method = "POST" if "POST" in (rule.methods or ()) else "GET"
        others = ({"Authorization": f"Basic {key}"}, {"api-key": "wrong"}, {"api-key": ""}, {"x-key": key})
        for headers in ({}, bearer("wrong"), bearer(key + "x"), bearer(key[:-1]), *others):
            answer = client.open(path, method=method, headers=headers)
            assert (answer.status_code, error_code(answer)) == (401, "invalid_api_key"), path
            assert key not in answer.text
        for headers in (bearer(key), {"api-key": key}):
            assert client.open(path, method=method, headers=headers).status_code != 401, path
    assert client.get("/v1/health").status_code == 200
    assert client.get("/health").get_json() == client.get("/v1/health").get_json()
    assert client.get("/openapi.json").status_code == 200


def test_a_revoked_key_is_refused_at_once(client: FlaskClient, keys: KeyStore) -> None:
    key = keys.add("ann")
    assert client.get("/v1/jobs", headers=bearer(key)).status_code == 200
    assert keys.revoke("ann")
    assert not keys.revoke("ann")
    assert client.get("/v1/jobs", headers=bearer(key)).status_code == 401
    assert [row.revoked_at is not None for row in keys.all()] == [True]


@pytest.mark.parametrize("way", ["events", "jobs"])
@pytest.mark.parametrize("change", ["revoked", "granted"])
def test_a_stream_ends_once_its_key_is_another(
    app: Flask, client: FlaskClient, keys: KeyStore, monkeypatch: pytest.MonkeyPatch, way: str, change: str
) -> None:
    """That of a job which waits for a reviewer would go on for days."""
    for name in ("auth.KEY_LOOK_S", f"{way}.KEEP_ALIVE_S"):
        monkeypatch.setattr(f"qwen_image_studio.web.{name}", 0.05)
    key = keys.add("ann")
    job_id = client.post("/v1/jobs", json=ASK, headers=bearer(key)).get_json()["id"]
    path = {"events": "/v1/events", "jobs": f"/v1/jobs/{job_id}/events"}[way]
    pieces = app.test_client().get(path, headers=bearer(key)).iter_encoded()
    for piece in pieces:
        if b"still here" in piece:  # it holds as long as the key does
            break
    if change == "revoked":
        keys.revoke("ann")
    else:
        keys.grant("ann", [Scope.REVIEW])
    assert all(b"event" not in piece for piece in pieces), "and it does end"


def test_keys_are_not_kept_readable(settings: Settings, keys: KeyStore) -> None:
    key = keys.add("ann")
    for path in settings.data_dir.glob("studio.sqlite*"):
        assert key.encode() not in path.read_bytes()


def test_the_log_names_requests_but_no_secret(
    client: FlaskClient, keys: KeyStore, link: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = keys.add("ann")
    caplog.set_level("DEBUG")
    answer = client.get("/v1/jobs", headers=bearer(key))
    client.get("/v1/jobs", headers=bearer("canary-key"))
    client.get(link)
    lines = [record.getMessage() for record in caplog.records if record.name == "qwen_image_studio.web.edge"]
    assert len(lines) == 3
    assert "GET '/v1/jobs' 200" in lines[0]
    assert "owner ann" in lines[0]
    assert answer.headers["X-Request-Id"] in lines[0]
    assert " 401 " in lines[1]
    signature = parse_qs(urlsplit(link).query)["signature"][0]
    for secret in (key, "canary-key", signature):
        assert secret not in caplog.text


def test_owners_see_their_own_only(client: FlaskClient, keys: KeyStore, worker: Worker) -> None:
    ann, bob, second = bearer(keys.add("ann")), bearer(keys.add("bob")), bearer(keys.add("ann-2", "ann"))
    job = client.post("/v1/jobs", json=ASK, headers=ann).get_json()["id"]
    worker.run_next()
    image = client.get(f"/v1/jobs/{job}", headers=ann).get_json()["images"][0]["id"]
    for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/events", f"/v1/images/{image}", f"/v1/images/{image}/content"):
        assert client.get(path, headers=ann).status_code == 200
        assert client.get(path, headers=second).status_code == 200
        assert client.get(path, headers=bob).status_code == 404
    assert client.post(f"/v1/jobs/{job}/cancel", headers=bob).status_code == 404
    assert client.get("/v1/jobs", headers=bob).get_json()["data"] == []
    answer = client.post("/v1/jobs", json={"operation": "edit", "prompt": "x", "image": image}, headers=bob)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (422, "image_not_found")


@pytest.fixture
def link(client: FlaskClient, worker: Worker) -> str:
    """The path and query of a link to a painted image."""
    job = client.post("/v1/jobs", json=ASK).get_json()["id"]
    worker.run_next()
    url = client.get(f"/v1/jobs/{job}").get_json()["images"][0]["url"]
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def test_a_link_needs_no_key(client: FlaskClient, link: str, keys: KeyStore) -> None:
    keys.add("ann")
    assert client.get(link).status_code == 200


def test_any_changed_byte_refuses_the_link(client: FlaskClient, link: str) -> None:
    start = len("/files/")
    for position in range(start, len(link)):
        for other in {"0", "a", "/", "?", chr(ord(link[position]) ^ 1)} - {link[position]}:
            changed = link[:position] + other + link[position + 1 :]
            if changed.startswith(("/files//", "/files/?")):
                continue  # no address of a file at all: 404
            answer = client.get(changed)
            assert answer.status_code == 403, changed
            assert answer.get_json()["error"]["code"] == "link_refused"


def test_an_expired_link_is_refused(client: FlaskClient, link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expires = int(parse_qs(urlsplit(link).query)["expires"][0])
    monkeypatch.setattr("qwen_image_studio.web.files.time.time", lambda: expires - 1.0)
    assert client.get(link).status_code == 200
    monkeypatch.setattr("qwen_image_studio.web.files.time.time", lambda: expires + 0.0)
    assert client.get(link).status_code == 403


def test_a_link_opens_its_own_image_only(client: FlaskClient, link: str, worker: Worker) -> None:
    job = client.post("/v1/jobs", json={**ASK, "seed": 1}).get_json()["id"]
    worker.run_next()
    other = urlsplit(client.get(f"/v1/jobs/{job}").get_json()["images"][0]["url"]).path
    assert client.get(f"{other}?{urlsplit(link).query}").status_code == 403


def test_links_survive_a_restart(settings: Settings, link: str) -> None:
    again = create_app(Settings(data_dir=settings.data_dir), configured_models(settings, card_gib=0))
    assert again.test_client().get(link).status_code == 200


HOSTILE: list[Callable[[str], str]] = [
    lambda query: f"/files/../studio.sqlite?{query}",
    lambda query: f"/files/..%2fstudio.sqlite?{query}",
    lambda query: f"/files/%2e%2e/studio.sqlite?{query}",
    lambda query: f"/files/%2e%2e%2f%2e%2e%2fetc/passwd?{query}",
    lambda query: f"/files/2026/../../secret_key?{query}",
]


@pytest.mark.parametrize("make", HOSTILE)
def test_traversal_is_not_found(client: FlaskClient, link: str, settings: Settings, make: Any) -> None:
    answer = client.get(make(urlsplit(link).query))
    assert answer.status_code == 404
    assert (settings.data_dir / "secret_key").read_bytes() not in answer.data


@pytest.mark.parametrize("key", ["%2fetc%2fpasswd", "a%00b", "a%5cb", "x" * 3000, "."])
def test_other_hostile_keys_are_refused(client: FlaskClient, link: str, key: str) -> None:
    assert client.get(f"/files/{key}?{urlsplit(link).query}").status_code in {403, 404}
