"""How tests come through the doors of the page: by a key, and by a link to an image."""

from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.worker.loop import Worker

ASK = {"operation": "generate", "prompt": "a cup", "steps": 2}
RED = {"operation": "edit", "prompt": "make it red", "steps": 2}
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
"""What a browser sends with a request of the server's own page."""


def bearer(key: str) -> dict[str, str]:
    """Return the headers of a program with a key."""
    return {"Authorization": f"Bearer {key}"}


def made(app: Flask, worker: Worker, key: str, **asked: Any) -> dict[str, Any]:
    """Return the first image, as its job shows it, of a job that was painted for a key."""
    client = app.test_client()
    answer = client.post("/v1/jobs", json={**ASK, **asked}, headers=bearer(key))
    assert answer.status_code == 202, answer.text
    assert worker.run_next()
    job = client.get(f"/v1/jobs/{answer.get_json()['id']}", headers=bearer(key)).get_json()
    found: dict[str, Any] = job["images"][0]
    return found


def parts_of(studio_url: str) -> dict[str, str]:
    """Return what the page sends of a link that it was opened with."""
    path, _, k = urlsplit(studio_url).fragment.partition("?k=")
    return {"image_id": path.removeprefix("/edit/"), "k": k}


def guest_at(app: Flask, studio_url: str) -> FlaskClient:
    """Return the browser of somebody who came by a link."""
    client = app.test_client()
    answer = client.post("/v1/session", json=parts_of(studio_url), headers=OWN_PAGE)
    assert answer.status_code == 204, answer.text
    return client


def guest_of_new_image(app: Flask, worker: Worker, key: str, **asked: Any) -> FlaskClient:
    """Return the browser of somebody who came by the link of an image that was made with a key."""
    return guest_at(app, made(app, worker, key, **asked)["studio_url"])


def signed_in(app: Flask, key: str) -> FlaskClient:
    """Return the browser of somebody who has typed a key."""
    client = app.test_client()
    answer = client.post("/v1/session", json={"api_key": key}, headers=OWN_PAGE)
    assert answer.status_code == 204, answer.text
    return client


def edited(guest: FlaskClient, worker: Worker, image: str, **more: Any) -> dict[str, Any]:
    """Edit an image as a guest, and return the first image that comes of it."""
    answer = guest.post("/v1/jobs", json={**RED, "image": image, **more}, headers=OWN_PAGE)
    assert answer.status_code == 202, answer.text
    assert worker.run_next()
    found: dict[str, Any] = guest.get(f"/v1/jobs/{answer.get_json()['id']}").get_json()["images"][0]
    return found


def me(client: FlaskClient) -> dict[str, Any]:
    """Return who the server says that a browser is."""
    answer = client.get("/v1/me", headers=OWN_PAGE)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def listed(client: FlaskClient, path: str = "/v1/images", **headers: str) -> list[str]:
    """Return the ids that a list has."""
    return [each["id"] for each in client.get(path, headers=headers).get_json()["data"]]


def with_settings(settings: Settings, **changed: Any) -> Flask:
    """Return another application over the same data, with other settings."""
    other = Settings(data_dir=settings.data_dir, models="miniature", **changed)
    return create_app(other, configured_models(other, card_gib=0))
