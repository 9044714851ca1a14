"""The web application in this process, without a worker: tests play the worker through the store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, Response, g, request
from flask.testing import FlaskClient

from qwen_image_studio.jobs import JobStore
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Route, Services
from qwen_image_studio.worker.light import light_worker
from qwen_image_studio.worker.loop import Worker
from tests.support.database import with_tables
from tests.support.worker import scripted_worker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a folder of the test's own."""
    folder = tmp_path / "data"
    return with_tables(Settings(data_dir=folder, models="miniature", max_image_mb=2, max_image_mpx=4, queue_limit=30))


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """The application as the web process makes it; an exception is answered, not raised, as it would be there.

    Whatever a test makes a route answer, an error has to be one that the route declares.
    """
    app = create_app(settings, configured_models(settings, card_gib=0))
    app.testing = False
    undeclared: list[str] = []

    def check(response: Response) -> Response:
        view = app.view_functions.get(request.endpoint or "")
        code = g.get("error_code") if response.status_code >= 400 else None
        if isinstance(view, Route) and code is not None and code not in view.all_errors:
            undeclared.append(f"{request.method} {request.path}: {code}")
        return response

    app.after_request(check)
    yield app
    assert not undeclared


@pytest.fixture
def client(app: Flask) -> Iterator[FlaskClient]:
    """A caller."""
    with app.test_client() as client:
        yield client


@pytest.fixture
def parts(app: Flask) -> Services:
    """What the application was made of."""
    found: Services = app.extensions["qwen-image-studio"]
    return found


@pytest.fixture
def store(parts: Services) -> JobStore:
    """The job store behind the application."""
    return parts.store


@pytest.fixture
def light(parts: Services) -> Worker:
    """The worker that runs batches and adjustments."""
    return light_worker(parts.settings, parts.models, parts.store)


@pytest.fixture
def worker(parts: Services) -> Worker:
    """A worker without an engine's weight: it paints plain pictures when the test lets it."""
    return scripted_worker(parts)
