"""Sessions over HTTP: who signs in and out, how the cookie is kept safe, and what ends a session."""

import time
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.contract.words import Scope
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.cookies import SessionCookie
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.contract.doors import ASK, OWN_PAGE, bearer, guest_at, made, me, parts_of, signed_in
from tests.support.database import with_tables
from tests.support.refusals import assert_refused, error_code

ELSEWHERE: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://app.localhost"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
]
"""What browsers send with requests of other sites' pages."""


@pytest.fixture
def keys(parts: Services) -> KeyStore:
    """The application's keys."""
    return parts.keys


def cookie_of(answer: Any) -> Any:
    """The only cookie that an answer sets."""
    [[name, morsel]] = SimpleCookie(answer.headers["Set-Cookie"]).items()
    return name, morsel


def value_of(client: FlaskClient) -> str:
    """The value of a browser's cookie."""
    cookie = client.get_cookie("studio_session")
    assert cookie is not None
    return cookie.value


def asked_with(app: Flask, value: str, path: str = "/v1/me") -> Any:
    """The answer to somebody with that cookie."""
    return app.test_client(use_cookies=False).get(path, headers={"Cookie": f"studio_session={value}"})


# -- signing in and out --------------------------------------------------------------------------------------------


def test_who_sends_a_key_comes_by_its_cookie_from_then_on(app: Flask, keys: KeyStore) -> None:
    client = signed_in(app, keys.add("ann", "shop"))
    told = me(client)
    assert (told["kind"], told["owner"], told["key"], told["session"]) == ("key", "shop", "ann", True)
    assert told["can"] == ["generate", "edit"]
    assert 11.9 * 3600 < told["expires_at"] - time.time() <= 12 * 3600
    assert client.post("/v1/jobs", json=ASK, headers=OWN_PAGE).status_code == 202
    assert client.delete("/v1/session", headers=OWN_PAGE).status_code == 204
    assert_refused(client.get("/v1/me"), 401, "invalid_api_key", None)
    assert client.delete("/v1/session", headers=OWN_PAGE).status_code == 204, "once more changes nothing"


def test_a_program_with_a_key_has_no_session(client: FlaskClient, keys: KeyStore) -> None:
    told = client.get("/v1/me", headers=bearer(keys.add("ann"))).get_json()
    assert (told["session"], told["expires_at"], told["image_id"], told["jobs_left"]) == (False, None, None, None)


def test_a_key_that_is_sent_counts_and_not_the_cookie_beside_it(app: Flask, keys: KeyStore) -> None:
    client, other = signed_in(app, keys.add("ann")), keys.add("bob")
    assert client.get("/v1/me", headers=bearer(other)).get_json()["key"] == "bob"
    assert client.get("/v1/me", headers=bearer("wrong")).status_code == 401


def test_without_keys_there_is_nothing_to_sign_in_to(client: FlaskClient) -> None:
    answer = client.post("/v1/session", json={"image_id": "img_1", "k": "1.x"}, headers=OWN_PAGE)
    assert (answer.status_code, answer.headers.get("Set-Cookie")) == (204, None)
    assert (me(client)["kind"], me(client)["session"]) == ("loopback", False)


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({}, "image_id"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": "x" * 300}, "api_key"),
        ({"api_key": "qis_x", "k": "1.x"}, "api_key"),
        ({"image_id": "img_1"}, "k"),
        ({"k": "1.x"}, "image_id"),
        ({"api_key": 7}, "api_key"),
    ],
    ids=str,
)
def test_half_of_a_way_in_is_refused_with_what_is_missing(
    client: FlaskClient, sent: dict[str, Any], param: str
) -> None:
    assert_refused(client.post("/v1/session", json=sent, headers=OWN_PAGE), 422, "invalid_value", param)


@pytest.mark.parametrize("sent", ["wrong", "qis_" + "x" * 43, "qis_\u4e2d", "ann"])
def test_a_wrong_key_gets_no_session(client: FlaskClient, keys: KeyStore, sent: str) -> None:
    keys.add("ann")
    answer = client.post("/v1/session", json={"api_key": sent}, headers=OWN_PAGE)
    assert_refused(answer, 401, "invalid_api_key", "api_key")
    assert "Set-Cookie" not in answer.headers
    assert sent not in answer.text


def test_a_key_with_spaces_around_it_is_the_key(app: Flask, keys: KeyStore) -> None:
    assert me(signed_in(app, f"  {keys.add('ann')}\n"))["key"] == "ann"


def test_who_is_signed_in_with_the_owners_key_stays_so_by_a_link(app: Flask, keys: KeyStore, worker: Worker) -> None:
    ann, eve = keys.add("ann", "shop"), keys.add("eve", "elsewhere")
    image = made(app, worker, keys.add("dify", "shop"))
    staff, stranger = signed_in(app, ann), signed_in(app, eve)
    for client, kind in ((staff, "key"), (stranger, "guest")):
        assert client.post("/v1/session", json=parts_of(image["studio_url"]), headers=OWN_PAGE).status_code == 204
        assert me(client)["kind"] == kind
    guest = guest_at(app, image["studio_url"])
    assert guest.post("/v1/session", json={"api_key": ann}, headers=OWN_PAGE).status_code == 204
    assert me(guest)["key"] == "ann", "a guest with a key becomes who has it"


# -- the cookie ----------------------------------------------------------------------------------------------------


def test_no_script_reads_the_cookie_and_no_other_site_sends_it(client: FlaskClient, keys: KeyStore) -> None:
    name, cookie = cookie_of(client.post("/v1/session", json={"api_key": keys.add("ann")}))
    assert (name, cookie["path"], cookie["secure"]) == ("studio_session", "/", "")
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    assert 12 * 3600 - 60 < int(cookie["max-age"]) <= 12 * 3600
    assert cookie["domain"] == ""
    assert "no-store" in client.get("/v1/me").headers["Cache-Control"]


@pytest.mark.parametrize(
    ("address", "name", "path", "is_secure"),
    [
        ("", "studio_session", "/", False),
        ("http://studio.example", "studio_session", "/", False),
        ("https://studio.example", "__Host-studio", "/", True),
        ("https://studio.example/", "__Host-studio", "/", True),
        ("https://example.com/studio", "__Secure-studio", "/studio", True),
        ("https://example.com/a%20b/", "__Secure-studio", "/a%20b", True),
    ],
)
def test_what_the_cookie_is_called_follows_from_the_public_address_alone(
    tmp_path: Path, address: str, name: str, path: str, is_secure: bool
) -> None:
    """Neither X-Forwarded-Proto nor Host decides whether it is for https alone."""
    settings = with_tables(Settings(data_dir=tmp_path / "data", models="miniature", public_url=address))
    app = create_app(settings, configured_models(settings, card_gib=0))
    key = app.extensions["qwen-image-studio"].keys.add("ann")
    lies = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "Forwarded": "proto=https"}
    answer = app.test_client().post("/v1/session", json={"api_key": key}, headers=lies)
    found, cookie = cookie_of(answer)
    assert (found, cookie["path"], bool(cookie["secure"])) == (name, path, is_secure)
    assert SessionCookie(settings).name == name


def test_a_session_that_is_used_is_renewed_and_one_that_is_not_ends(
    app: Flask, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, began = signed_in(app, keys.add("ann")), time.time()
    assert "Set-Cookie" not in client.get("/v1/me").headers, "it is fresh"
    monkeypatch.setattr(time, "time", lambda: began + 6 * 3600)
    assert "Set-Cookie" not in client.get("/v1/jobs").headers, "a slow answer may come after signing out"
    assert "Set-Cookie" in client.get("/v1/me").headers
    monkeypatch.setattr(time, "time", lambda: began + 17 * 3600)
    assert client.get("/v1/jobs").status_code == 200, "eleven hours after it was renewed"
    monkeypatch.setattr(time, "time", lambda: began + 19 * 3600)
    assert_refused(client.get("/v1/jobs"), 401, "invalid_api_key", "session")


@pytest.mark.parametrize("spoil", ["kind", "key", "expiry", "signature", "nothing", "bytes", "unsigned"])
def test_a_cookie_that_was_changed_is_none(app: Flask, keys: KeyStore, spoil: str) -> None:
    keys.add("admin", scopes=[Scope.OPERATE])
    client = signed_in(app, keys.add("ann"))
    value = value_of(client)
    kind, key, tag, expiry, signature = value.split(".")
    changed = {
        "kind": f"guest.{key}.{tag}.{expiry}.{signature}",
        "key": f"{kind}.admin.{tag}.{expiry}.{signature}",
        "expiry": f"{kind}.{key}.{tag}.{int(expiry) + 1}.{signature}",
        "signature": f"{kind}.{key}.{tag}.{expiry}.{signature[:-4]}AAAA",
        "nothing": "",
        "bytes": "\x7f%00;",
        "unsigned": f"{kind}.{key}.{tag}.{expiry}",
    }[spoil]
    assert asked_with(app, value).status_code == 200
    answer = asked_with(app, changed)
    assert (answer.status_code, error_code(answer)) == (401, "invalid_api_key")


def test_a_link_is_no_session_and_a_session_no_link(app: Flask, keys: KeyStore, worker: Worker) -> None:
    """Both are signed with one secret, each for its purpose."""
    image = made(app, worker, keys.add("ann"))
    k = parts_of(image["studio_url"])["k"]
    expiry, signature = k.split(".")
    for cookie in (k, f"guest.{image['id']}.{expiry}.{expiry}.{signature}"):
        assert asked_with(app, cookie).status_code == 401
    file_link = image["url"].partition("?")[2]
    sent = {"image_id": image["id"], "k": file_link[-64:]}
    assert app.test_client().post("/v1/session", json=sent).status_code in {403, 422}


# -- what ends a session -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["revoked", "rotated", "secret"])
def test_a_session_ends_with_its_key(app: Flask, settings: Settings, keys: KeyStore, change: str) -> None:
    client = signed_in(app, keys.add("ann"))
    cookie = value_of(client)
    if change == "revoked":
        keys.revoke("ann")
    elif change == "rotated":
        keys.rotate("ann", overlap_s=0)
    else:
        other = Settings(data_dir=settings.data_dir, models="miniature", secret_key="another")
        app = create_app(other, configured_models(other, card_gib=0))
    answer = asked_with(app, cookie, "/v1/jobs")
    assert_refused(answer, 401, "invalid_api_key", "session")
    assert "sign in again" in answer.text


def test_a_session_goes_on_as_long_as_the_key_before_a_rotation_does(app: Flask, keys: KeyStore) -> None:
    client = signed_in(app, keys.add("ann"))
    keys.rotate("ann", overlap_s=60)
    assert client.get("/v1/jobs").status_code == 200
    keys.rotate("ann", overlap_s=60)
    assert client.get("/v1/jobs").status_code == 401, "that key has ended"


def test_a_session_is_signed_by_earlier_secrets_too(settings: Settings, app: Flask, keys: KeyStore) -> None:
    client = signed_in(app, keys.add("ann"))
    cookie = value_of(client)
    before = (settings.data_dir / "secret_key").read_text()
    now = Settings(data_dir=settings.data_dir, models="miniature", secret_key="new", secret_key_fallbacks=before)
    assert asked_with(create_app(now, configured_models(now, card_gib=0)), cookie).status_code == 200


def test_what_the_key_may_is_looked_up_each_time(app: Flask, keys: KeyStore) -> None:
    client = signed_in(app, keys.add("ann"))
    keys.grant("ann", [Scope.REVIEW])
    assert client.post("/v1/jobs", json=ASK, headers=OWN_PAGE).status_code == 403


@pytest.mark.parametrize("way", ["events", "jobs"])
def test_a_stream_ends_soon_after_its_session(
    app: Flask, keys: KeyStore, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    for name in ("auth.KEY_LOOK_S", f"{way}.KEEP_ALIVE_S"):
        monkeypatch.setattr(f"qwen_image_studio.web.{name}", 0.05)
    client = signed_in(app, keys.add("ann"))
    job_id = client.post("/v1/jobs", json=ASK, headers=OWN_PAGE).get_json()["id"]
    pieces = client.get({"events": "/v1/events", "jobs": f"/v1/jobs/{job_id}/events"}[way]).iter_encoded()
    for piece in pieces:
        if b"still here" in piece:
            break
    keys.revoke("ann")
    assert all(b"event" not in piece for piece in pieces), "and it does end"


# -- pages of other sites ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
def test_no_other_page_uses_a_session(app: Flask, keys: KeyStore, headers: dict[str, str]) -> None:
    """Even where a browser would send the cookie, as to a page of the same site."""
    client = signed_in(app, keys.add("ann"))
    own = client.post("/v1/jobs", json=ASK, headers=OWN_PAGE).get_json()["id"]
    form = {"params": '{"operation": "generate", "prompt": "a cup"}'}
    tries = [
        client.post("/v1/jobs", data=form, headers=headers, content_type="multipart/form-data"),
        client.post("/v1/jobs", json=ASK, headers=headers),
        client.post(f"/v1/jobs/{own}/cancel", headers=headers),
        client.delete(f"/v1/jobs/{own}", headers=headers),
        client.delete("/v1/session", headers=headers),
        client.post("/v1/session", json={"api_key": "mine"}, headers=headers),
    ]
    for answer in tries:
        assert (answer.status_code, error_code(answer)) == (403, "foreign_page")
        assert "Set-Cookie" not in answer.headers
    assert [job["state"] for job in client.get("/v1/jobs").get_json()["data"]] == ["queued"]


def test_an_allowed_origin_brings_its_own_key_and_no_session(tmp_path: Path) -> None:
    settings = with_tables(
        Settings(data_dir=tmp_path / "data", models="miniature", allowed_origins="http://app.localhost")
    )
    app = create_app(settings, configured_models(settings, card_gib=0))
    key = app.extensions["qwen-image-studio"].keys.add("ann")
    client, there = signed_in(app, key), {"Origin": "http://app.localhost", "Sec-Fetch-Site": "same-site"}
    assert client.post("/v1/jobs", json=ASK, headers=there).status_code == 403
    answer = client.post("/v1/jobs", json=ASK, headers={**there, **bearer(key)})
    assert answer.status_code == 202
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_what_is_somebodys_is_kept_by_no_cache_and_shown_by_no_other_site(
    app: Flask, keys: KeyStore, worker: Worker
) -> None:
    key = keys.add("ann")
    image = made(app, worker, key)
    client = signed_in(app, key)
    for path in ("/v1/me", "/v1/images", f"/v1/images/{image['id']}/content"):
        answer = client.get(path)
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin", path
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"], path
        assert "private" in answer.headers["Cache-Control"] or "no-store" in answer.headers["Cache-Control"], path
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
    file = client.get(image["url"].partition("/files/")[2].join(["/files/", ""]))
    assert (file.status_code, "private" in file.headers["Cache-Control"]) == (200, True)
    assert "Cross-Origin-Resource-Policy" not in file.headers, "Dify shows it"


def test_signing_out_takes_pictures_out_of_the_browser(app: Flask, keys: KeyStore) -> None:
    client = signed_in(app, keys.add("ann"))
    answer = client.delete("/v1/session", headers=OWN_PAGE)
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    assert cookie_of(answer)[1]["max-age"] == "0"
