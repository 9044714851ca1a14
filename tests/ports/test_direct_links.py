"""Links to files in an object store: which of them are answered with an address there, and for how long."""

import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.contract.words import Lane
from qwen_image_studio.gallery import STORES
from qwen_image_studio.gallery.bucket import bucket_of
from qwen_image_studio.gallery.direct import HOUR_S
from qwen_image_studio.gallery.names import preview_key
from qwen_image_studio.gallery.s3 import S3Store
from qwen_image_studio.gallery.store import StoredFile
from qwen_image_studio.jobs import Progress
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import close_app, create_app
from qwen_image_studio.web.routing import Services
from tests.ports.test_file_stores import Toy
from tests.support.worker import scripted_worker

S3 = {"storage_url": "s3://pictures/studio?region=eu-central-1"}


class Offline(S3Store):
    """A store in a bucket that nobody has: addresses are the bucket's, files are kept in memory."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(bucket_of(settings.storage_url), "AKID", "secret")
        self.toy = Toy()
        self.opened: list[str] = []

    def put(self, key: str, data: bytes, mime_type: str) -> None:
        """Keep."""
        self.toy.put(key, data, mime_type)

    def put_once(self, key: str, data: bytes, mime_type: str) -> bool:
        """Keep, unless there is something."""
        return self.toy.put_once(key, data, mime_type)

    def open(self, key: str) -> StoredFile:
        """Open what was kept."""
        self.opened.append(key)
        return self.toy.open(key)

    def delete(self, key: str) -> None:
        """Delete."""
        self.toy.delete(key)

    def keys(self) -> Iterator[tuple[str, float]]:
        """List all."""
        return self.toy.keys()


class Served:
    """An application over a bucket, with a picture that was painted."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
        told = {"data_dir": tmp_path, "models": "miniature", **S3, **settings}
        self.settings = Settings.model_validate(told)
        self.files = Offline(self.settings)
        monkeypatch.setitem(STORES, "s3", lambda _: self.files)
        self.app: Flask = create_app(self.settings, configured_models(self.settings, card_gib=0))
        self.parts: Services = self.app.extensions["qwen-image-studio"]
        self.worker = scripted_worker(self.parts)
        self.client: FlaskClient = self.app.test_client()

    def painted(self, **ask: Any) -> dict[str, Any]:
        """A job that has succeeded."""
        ask = {"operation": "generate", "prompt": "a cup", "steps": 2, **ask}
        answer = self.client.post("/v1/jobs", json=ask)
        assert answer.status_code == 202, answer.text
        assert self.worker.run_next()
        return dict(self.client.get(f"/v1/jobs/{answer.get_json()['id']}").get_json())


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Served]]:
    """A function that makes the application with other settings; it is closed after the test."""
    made: list[Served] = []

    def make(**settings: str) -> Served:
        made.append(Served(tmp_path, monkeypatch, **settings))
        return made[-1]

    yield make
    for each in made:
        close_app(each.app)


@pytest.fixture
def served(serving: Callable[..., Served]) -> Served:
    """The application with the settings as they are by default."""
    return serving()


def test_a_link_to_a_picture_leads_to_the_bucket(served: Served) -> None:
    [image] = served.painted()["images"]
    for link in (image["url"], image["thumbnail_url"]):
        assert urlsplit(link).path.startswith("/files/"), "what is given out is the server's own"
        served.files.opened.clear()
        answer = served.client.get(link, headers={"Authorization": "Bearer qis_key", "Range": "bytes=0-1"})
        assert answer.status_code == 302
        assert answer.data == b""
        there = urlsplit(answer.headers["Location"])
        assert there.netloc == "pictures.s3.eu-central-1.amazonaws.com"
        assert there.path == "/studio" + urlsplit(link).path.removeprefix("/files")
        assert "qis_key" not in answer.headers["Location"]
        assert served.files.opened == []
        kept = int(answer.headers["Cache-Control"].removeprefix("private, max-age="))
        query = parse_qs(there.query)
        assert 0 < kept < int(query["X-Amz-Expires"][0])


def test_a_redirect_is_kept_for_a_shorter_time_than_the_address_works(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    [image] = served.painted()["images"]
    expires = int(parse_qs(urlsplit(image["url"]).query)["expires"][0])
    seen = []
    for left in (3 * HOUR_S, 1.5 * HOUR_S, 1000, 200, 1):
        monkeypatch.setattr(time, "time", lambda left=left: expires - left)
        answer = served.client.get(image["url"])
        lasts = int(parse_qs(urlsplit(answer.headers["Location"]).query)["X-Amz-Expires"][0])
        start = (expires - left) // HOUR_S * HOUR_S
        assert start + lasts <= expires
        seen.append((start + lasts - (expires - left), answer.headers["Cache-Control"]))
    assert seen == [
        (2 * HOUR_S, f"private, max-age={2 * HOUR_S - 300}"),
        (1.5 * HOUR_S, f"private, max-age={int(1.5 * HOUR_S) - 300}"),
        (1000, "private, max-age=700"),
        (200, "no-store"),
        (1, "no-store"),
    ]


def test_what_is_not_for_everybody_or_changes_passes_through(served: Served) -> None:
    job = served.painted()
    [image] = job["images"]
    gallery = served.parts.gallery
    review = gallery.link(urlsplit(image["url"]).path.removeprefix("/files/"), review=True)
    for link in (f"/v1/images/{image['id']}/content", job["archive_url"], review):
        assert served.client.get(link).status_code == 200, link
    head = served.client.head(image["url"])
    assert head.status_code == 200
    assert head.content_length == len(served.client.get(f"/v1/images/{image['id']}/content").data)
    assert served.client.head(f"/v1/images/{image['id']}/content").status_code == 200


def test_the_servers_own_page_gets_the_bytes(served: Served) -> None:
    """Its policy lets it take pictures from where it came from alone, which a redirect leaves."""
    [image] = served.painted()["images"]
    for link in (image["url"], image["thumbnail_url"]):
        own = served.client.get(link, headers={"Sec-Fetch-Site": "same-origin"})
        assert (own.status_code, own.headers.get("Location")) == (200, None)
        for site in ("cross-site", "same-site", "none"):
            other = served.client.get(link, headers={"Sec-Fetch-Site": site})
            assert other.status_code == 302, site
            varies = {"sec-fetch-site", "cookie"}
            assert other.vary.as_set() >= varies <= own.vary.as_set(), "no cache takes one for the other"


def test_a_page_over_plain_http_gets_the_bytes(served: Served) -> None:
    """Browsers do not say there where a request comes from, but show the session's cookie to the page alone."""
    [image] = served.painted()["images"]
    served.client.set_cookie("studio_session", "of somebody", domain="127.0.0.1")
    assert served.client.get(image["url"]).status_code == 200
    assert served.client.get(image["url"], headers={"Authorization": "Bearer qis_key"}).status_code == 302
    served.client.delete_cookie("studio_session", domain="127.0.0.1")
    assert served.client.get(image["url"]).status_code == 302


def test_a_preview_passes_through(served: Served) -> None:
    store, files = served.parts.store, served.files
    job_id = served.client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup"}).get_json()["id"]
    lease = store.leases.claim("painter", Lane.PAINT, ["miniature"])
    assert lease is not None
    key = preview_key(lease, lease.token)
    for step, data in ((1, b"first"), (2, b"second")):
        files.put(key, data, "image/webp")
        store.leases.renew(lease, Progress("denoising", step, 8, preview_key=key))
        url = served.client.get(f"/v1/jobs/{job_id}").get_json()["progress"]["preview_url"]
        answer = served.client.get(url)
        assert (answer.status_code, answer.data) == (200, data)


def test_a_held_image_has_no_address(served: Served) -> None:
    job = served.painted(hold=True)
    assert job["state"] == "review"
    [image] = served.parts.store.images.of_jobs([job["id"]])[job["id"]]
    for key in (image.key, image.thumbnail_key):
        answer = served.client.get(served.parts.gallery.link(key))
        assert answer.get_json()["error"]["code"] == "held_for_review"
        assert "Location" not in answer.headers


def test_a_deleted_image_has_no_address(served: Served) -> None:
    [image] = served.painted()["images"]
    assert served.client.delete(f"/v1/images/{image['id']}").status_code == 204
    assert served.client.get(image["url"]).status_code == 404
    assert served.client.get(image["url"].replace("signature=", "signature=A")).get_json()["error"]["code"] == (
        "link_refused"
    )


def test_links_and_ids_are_edited_without_a_detour(served: Served) -> None:
    [image] = served.painted()["images"]
    for reference in (image["url"], image["id"]):
        [edited] = served.painted(operation="edit", prompt="make it green", image=reference)["images"]
        Image.open(BytesIO(served.client.get(f"/v1/images/{edited['id']}/content").data)).load()


def test_openai_and_its_bytes_pass_through(served: Served) -> None:
    [image] = served.painted()["images"]
    answer = served.client.get(f"/v1/images/{image['id']}/content", headers={"Range": "bytes=1-3"})
    assert (answer.status_code, answer.data) == (206, b"PNG")
    assert (
        served.client.get(
            f"/v1/images/{image['id']}/content", headers={"If-None-Match": f'"{image["sha256"]}"'}
        ).status_code
        == 304
    )


def test_through_passes_all_bytes_on(serving: Callable[..., Served]) -> None:
    served = serving(storage_links="through")
    [image] = served.painted()["images"]
    answer = served.client.get(image["url"], headers={"Range": "bytes=1-3"})
    assert (answer.status_code, answer.data) == (206, b"PNG")


def test_a_cdn_stands_before_the_bucket(serving: Callable[..., Served]) -> None:
    served = serving(cdn_url="https://img.example.com", cdn_signing="oss-a", cdn_key="key")
    [image] = served.painted()["images"]
    answer = served.client.get(image["url"])
    there = urlsplit(answer.headers["Location"])
    assert answer.status_code == 302
    assert (there.netloc, there.path) == ("img.example.com", "/studio" + urlsplit(image["url"]).path[len("/files") :])
    assert there.query.startswith("auth_key=")
