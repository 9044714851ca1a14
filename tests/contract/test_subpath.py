"""The service below a path of its public address, https://x.example/studio, whether a proxy strips it or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from tests.support.database import with_tables
from tests.support.worker import scripted_worker

ASK = {"operation": "generate", "prompt": "a cup", "steps": 2}
OWN = "https://x.example/studio"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    """A caller of a server that stands below a path."""
    settings = with_tables(Settings(data_dir=tmp_path, models="miniature", public_url=f"{OWN}/"))
    app = create_app(settings, configured_models(settings, card_gib=0))
    app.testing = False
    with app.test_client() as client:
        yield client


PROXIES = pytest.mark.parametrize("prefix", ["/studio", ""], ids=["passed on", "stripped"])


@PROXIES
def test_a_job_and_its_links_are_below_the_path(client: FlaskClient, prefix: str) -> None:
    answer = client.post(f"{prefix}/v1/jobs", json=ASK)
    assert answer.status_code == 202, answer.text
    place = answer.headers["Location"]
    assert place == f"/studio/v1/jobs/{answer.get_json()['id']}"
    assert scripted_worker(client.application.extensions["qwen-image-studio"]).run_next()
    [image] = client.get(place).get_json()["images"]
    assert image["url"].startswith(f"{OWN}/files/")
    path = image["url"].removeprefix("https://x.example")
    assert client.get(path).status_code == 200
    assert client.get(path.removeprefix("/studio")).status_code == 200, "the proxy may take the path off"


@PROXIES
def test_links_as_paths_have_the_path_of_the_public_address(client: FlaskClient, prefix: str) -> None:
    headers = {"Accept": "application/json;links=path"}
    assert client.post(f"{prefix}/v1/jobs", json=ASK).status_code == 202
    assert scripted_worker(client.application.extensions["qwen-image-studio"]).run_next()
    [image] = client.get(f"{prefix}/v1/images", headers=headers).get_json()["data"]
    assert image["url"].startswith("/studio/files/")


def test_the_contract_says_where_the_service_is(client: FlaskClient) -> None:
    assert client.get("/studio/openapi.json").get_json()["servers"] == [{"url": OWN}]


def test_no_header_moves_the_service(client: FlaskClient) -> None:
    forged = {"X-Forwarded-Prefix": "/evil", "X-Script-Name": "/evil", "X-Forwarded-Host": "evil.example"}
    answer = client.post("/studio/v1/jobs", json=ASK, headers=forged)
    assert answer.headers["Location"].startswith("/studio/v1/jobs/")


@pytest.mark.parametrize("path", ["/studiox/v1/health", "/other/v1/health", "/studio/studio/v1/health"])
def test_other_paths_are_not_the_service(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "x.example"}, 202),
        ({"Host": "x.example", "Origin": "https://x.example"}, 202),
        ({"Host": "x.example", "Origin": "https://evil.example"}, 403),
        ({"Host": "evil.example"}, 401),
    ],
)
def test_pages_and_names_are_checked_below_a_path_as_elsewhere(
    client: FlaskClient, headers: dict[str, Any], status: int
) -> None:
    assert client.post("/studio/v1/jobs", json=ASK, headers=headers).status_code == status
