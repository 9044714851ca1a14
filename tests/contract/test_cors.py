"""Pages of other origins: which may call the server from a browser (CORS), and what they may read."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import ValidationError

from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from tests.support.worker import scripted_worker, working

APP, OTHER = "https://app.example.com", "https://evil.example"
ASK = {"operation": "generate", "prompt": "a cup", "steps": 2}
FROM_APP = {"Origin": APP, "Sec-Fetch-Site": "cross-site"}


@pytest.fixture
def make(settings: Settings) -> Any:
    """Makes an application that allows these origins."""

    def made(*origins: str) -> Flask:
        own = settings.model_copy(update={"allowed_origins": origins})
        app = create_app(own, configured_models(own, card_gib=0))
        app.testing = False
        return app

    return made


@pytest.fixture
def app(make: Any) -> Flask:
    """The application, which allows one origin by its name."""
    found: Flask = make(APP)
    return found


@pytest.fixture
def key(parts: Services) -> dict[str, str]:
    """The header of a key."""
    return {"Authorization": f"Bearer {parts.keys.add('page')}"}


def allowed(answer: Any) -> str | None:
    """The origin whose pages may read an answer."""
    assert "Access-Control-Allow-Credentials" not in answer.headers, "never with cookies"
    found: str | None = answer.headers.get("Access-Control-Allow-Origin")
    return found


def asks(client: FlaskClient, path: str, origin: str = APP, method: str = "POST") -> Any:
    """What a browser sends before a request that no plain form could send."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
    }
    return client.options(path, headers=headers)


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/jobs", "/openai/deployments/x/images/edits"])
def test_a_browser_is_told_without_a_key_what_a_page_may_send(
    client: FlaskClient, key: dict[str, str], path: str
) -> None:
    assert key
    answer = asks(client, path)
    assert (answer.status_code, allowed(answer), answer.data) == (200, APP, b"")
    assert "POST" in answer.headers["Access-Control-Allow-Methods"].split(", ")
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type,x-stainless-lang"
    assert "Origin" in answer.headers["Vary"]


def test_all_methods_of_an_address_are_told(client: FlaskClient) -> None:
    told = asks(client, "/v1/images/img_1", method="DELETE").headers["Access-Control-Allow-Methods"]
    assert {"GET", "DELETE"} <= set(told.split(", "))


@pytest.mark.parametrize("origin", [OTHER, "null", "https://app.example.com.evil.example", "http://app.example.com"])
def test_another_origin_is_told_nothing(client: FlaskClient, key: dict[str, str], origin: str) -> None:
    answer = asks(client, "/v1/jobs", origin)
    assert (answer.status_code, allowed(answer)) == (401, None)
    assert allowed(client.get("/v1/jobs", headers={"Origin": origin, **key})) is None


def test_an_address_where_nothing_is_stays_one(client: FlaskClient) -> None:
    assert asks(client, "/v1/nothing").status_code == 404


def test_a_page_with_a_key_reads_answers_errors_and_streams(
    client: FlaskClient, parts: Services, key: dict[str, str]
) -> None:
    headers = {**FROM_APP, **key}
    with working(scripted_worker(parts)):
        painted = client.post("/v1/images/generations", json={"prompt": "a cup", "steps": 2}, headers=headers)
        stream = {"prompt": "a cup", "steps": 2, "stream": True}
        streamed = client.post("/v1/images/generations", json=stream, headers=headers)
        assert ".completed" in streamed.text
    wrong = client.post("/v1/images/generations", json={}, headers=headers)
    nothing = client.get("/v1/nothing", headers=headers)
    no_key = client.get("/v1/jobs", headers=FROM_APP)
    found = [painted, streamed, wrong, nothing, no_key]
    assert [each.status_code for each in found] == [200, 200, 400, 404, 401]
    for answer in found:
        assert allowed(answer) == APP
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy"} <= set(exposed)


def test_without_keys_only_a_named_origin_is_an_own_page(client: FlaskClient) -> None:
    assert client.post("/v1/jobs", json=ASK, headers=FROM_APP).status_code == 202
    assert allowed(client.get("/v1/jobs", headers=FROM_APP)) == APP
    other = client.post("/v1/jobs", json=ASK, headers={**FROM_APP, "Origin": OTHER})
    assert (other.status_code, other.get_json()["error"]["code"]) == (403, "foreign_page")
    strange = client.get("/v1/jobs", headers={**FROM_APP, "Host": "evil.example"})
    assert strange.status_code == 401, "and the host has still to be this machine"


def test_a_star_stands_for_pages_with_a_key_alone(make: Any, parts: Services) -> None:
    client = make("*").test_client()
    page = {**FROM_APP, "Origin": OTHER}
    health = client.get("/v1/health", headers=page)
    assert (allowed(health), health.get_json()["operator"]) == ("*", None), "what is for operators no page may read"
    assert client.get("/v1/health").get_json()["operator"] is not None
    assert allowed(client.get("/v1/jobs", headers=page)) is None, "any page could read everything"
    assert client.post("/v1/jobs", json=ASK, headers=page).status_code == 403
    headers = {**page, "api-key": parts.keys.add("page")}
    answer = client.post("/v1/jobs", json=ASK, headers=headers)
    assert (answer.status_code, allowed(answer)) == (202, "*")
    assert allowed(asks(client, "/v1/jobs", OTHER)) == "*"


def test_without_the_setting_nothing_is_said(make: Any) -> None:
    client = make().test_client()
    answer = client.get("/v1/health", headers=FROM_APP)
    assert not [name for name, _ in answer.headers if name.startswith(("Access-Control", "Vary"))]
    assert "Access-Control-Allow-Methods" not in asks(client, "/v1/jobs").headers


def test_origins_are_checked_at_the_start() -> None:
    assert Settings(allowed_origins=f"{APP}, http://localhost:3000").allowed_origins == (APP, "http://localhost:3000")
    for wrong in ("app.example.com", "https://app.example.com/", "https://App.example.com", "ftp://x", "https://*"):
        with pytest.raises(ValidationError, match="has to be an origin"):
            Settings(allowed_origins=wrong)
