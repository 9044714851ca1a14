"""What the server's own page gets: links as paths, and bytes from where it came from itself."""

import time

import pytest
from flask import Flask

from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.contract.doors import OWN_PAGE, bearer, made, signed_in


def test_the_page_gets_paths_and_programs_whole_addresses(app: Flask, parts: Services, worker: Worker) -> None:
    key = parts.keys.add("ann")
    image = made(app, worker, key)
    assert image["url"].startswith("http://127.0.0.1:8300/files/")
    client, path = signed_in(app, key), f"/v1/images/{image['id']}"
    shown = client.get(path, headers=OWN_PAGE).get_json()
    assert shown["url"].startswith("/files/")
    assert shown["thumbnail_url"].startswith("/files/")
    assert shown["studio_url"].startswith("http://127.0.0.1:8300/#/edit/"), "it is there to be handed on"
    assert client.get(shown["url"], headers=OWN_PAGE).status_code == 200
    for site in ("cross-site", "same-site", "none"):
        assert client.get(path, headers={"Sec-Fetch-Site": site}).get_json()["url"].startswith("http"), site


def test_a_page_over_plain_http_is_known_by_its_cookie(app: Flask, parts: Services, worker: Worker) -> None:
    """Browsers send no Sec-Fetch-Site over plain http to another machine."""
    key = parts.keys.add("ann")
    image = made(app, worker, key)
    client, path = signed_in(app, key), f"/v1/images/{image['id']}"
    assert client.get(path).get_json()["url"].startswith("/files/")
    told = client.get(path, headers={"Sec-Fetch-Site": "none"}).get_json()
    assert told["url"].startswith("http"), "where the browser says whence, that counts"
    assert client.get(path, headers=bearer(key)).get_json()["url"].startswith("http"), "a key sent along counts alone"
    assert app.test_client().get(path, headers=bearer(key)).get_json()["url"].startswith("http")


def test_streams_tell_the_page_paths(
    app: Flask, parts: Services, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An EventSource can ask for nothing in Accept."""
    monkeypatch.setattr("qwen_image_studio.web.events.LONGEST_S", 0.3)
    key = parts.keys.add("ann")
    image = made(app, worker, key)
    client = signed_in(app, key)
    cursor = f"{int((time.time() - 30) * 1000)}"
    told = client.get("/v1/events", headers={**OWN_PAGE, "Last-Event-ID": cursor}).text
    assert image["id"] in told
    assert '"url":"/files/' in told
    assert '"url":"http' not in told
    told = client.get("/v1/events", headers={"Last-Event-ID": cursor}).text
    assert '"url":"/files/' in told, "over plain http, too"
    told = client.get("/v1/events", headers={**bearer(key), "Last-Event-ID": cursor}).text
    assert '"url":"http' in told
