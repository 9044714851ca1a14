"""A route's declaration: what it reads, what it answers, and which errors follow from it."""

from collections.abc import Iterator

import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from pydantic import BaseModel

from qwen_image_studio.contract.errors import ERRORS
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.bodies import read_json
from qwen_image_studio.web.openapi import document
from qwen_image_studio.web.routing import Body, Route, route


class Pace(BaseModel):
    """How fast."""

    model_config = {"extra": "forbid"}

    step: int = 1
    left: str | None = None


toy = Blueprint("toy", __name__, url_prefix="/toy")


@route(toy, "GET", "/<name>", errors=("job_finished",))
def walk(name: str, query: Pace) -> Pace:
    """Walk there."""
    assert name == "dog"
    return Pace(step=query.step + 1)


@route(
    toy,
    "POST",
    "",
    body=Body(lambda: Pace.model_validate(read_json(b'{"step": 4}')), Pace),
    returns={202: Pace},
    needs_key=False,
    null_is_left_out=True,
)
def run(body: Pace) -> tuple[Pace, int, dict[str, str]]:
    """Run there."""
    return body, 202, {"X-Pace": "fast"}


@toy.get("/bare/<thing>")
def bare(thing: str) -> str:
    return thing


@toy.get("/bare")
def summarised() -> str:
    """Say nothing of yourself."""
    return ""


@pytest.fixture
def toy_app(settings: Settings) -> Flask:
    """The application with routes of this module beside its own."""
    app = create_app(settings, {})
    app.register_blueprint(toy)
    return app


@pytest.fixture
def toy_client(toy_app: Flask) -> Iterator[FlaskClient]:
    """A caller of those."""
    with toy_app.test_client() as client:
        yield client


def test_a_view_is_passed_what_it_declares_and_its_model_is_dumped(toy_client: FlaskClient) -> None:
    answer = toy_client.get("/toy/dog?step=2")
    assert (answer.status_code, answer.get_json()) == (200, {"step": 3, "left": None})
    answer = toy_client.post("/toy")
    assert (answer.status_code, answer.get_json(), answer.headers["X-Pace"]) == (202, {"step": 4}, "fast")


@pytest.mark.parametrize(
    ("query", "code", "param"), [("step=x", "invalid_value", "step"), ("stride=2", "unknown_parameter", "stride")]
)
def test_a_query_that_cannot_be_read_names_its_parameter(
    toy_client: FlaskClient, query: str, code: str, param: str
) -> None:
    error = toy_client.get(f"/toy/dog?{query}").get_json()["error"]
    assert (error["code"], error["param"]) == (code, param)


def test_a_view_that_is_not_declared_is_listed_plainly(toy_app: Flask) -> None:
    paths = document(toy_app)["paths"]
    assert paths["/toy/bare/{thing}"]["get"]["operationId"] == "toy_bare"
    assert [each["name"] for each in paths["/toy/bare/{thing}"]["get"]["parameters"]] == ["thing"]
    assert paths["/toy/bare"]["get"]["summary"] == "Say nothing of yourself."
    assert paths["/toy/{name}"]["get"]["responses"].keys() == {"200", "401", "404", "409", "422", "500", "503"}


def test_a_view_that_is_not_declared_needs_a_key(toy_client: FlaskClient) -> None:
    assert toy_client.get("/toy/bare", headers={"Host": "evil.example"}).status_code == 401
    assert toy_client.get("/toy/bare").status_code == 200


def test_errors_follow_from_what_a_route_declares(app: Flask) -> None:
    routes = [view for view in app.view_functions.values() if isinstance(view, Route)]
    assert len(routes) >= 14
    for each in routes:
        codes = set(each.all_errors)
        assert len(codes) == len(each.all_errors)
        assert codes <= ERRORS.keys()
        assert "internal_error" in codes
        assert not each.needs_key or codes >= {"invalid_api_key", "database_busy", "storage_failed"}
        assert each.query is None or codes >= {"invalid_value", "unknown_parameter"}
        assert each.body is None or codes >= {"malformed_body", "body_too_large", "unsupported_media_type"}


def test_every_view_of_the_application_is_declared(app: Flask) -> None:
    assert [name for name, view in app.view_functions.items() if not isinstance(view, Route)] == []
