"""What all tests share: no proxy from outside, and one real server with the miniature for the session."""

import gc
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.database import Schemas, on_schemas, runs_on_postgresql
from tests.support.quick import quick_applications
from tests.support.servers.fixtures import moto, nanio, postgresql, rabbitmq, redis, s3rver
from tests.support.studio import Studio

__all__ = ["moto", "nanio", "postgresql", "rabbitmq", "redis", "s3rver"]  # fixtures for all tests

PROCESSES = {"studio", "sdk_python"}
"""Fixtures behind which a server or a plugin runs in processes of its own."""


LONG = (
    "contract/test_schemathesis",
    *("services/", "apps/", "faults/", "e2e/", "compat/"),
    *("server/test_engine", "server/test_families", "server/test_parts"),
    *("server/test_compiling", "server/test_adapters"),
    *("server/test_notebook", "plugin/test_errors", "plugin/test_parallel", "plugin/test_real", "contract/test_openai"),
)
"""Files that take long. They are handed out first, so that none is left for one process while the others are idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts servers or plugins, which ``make check`` leaves out, and put the long files first."""
    for item in items:
        if isinstance(item, pytest.Function) and PROCESSES.intersection(item.fixturenames):
            item.add_marker(pytest.mark.processes)
    items.sort(key=_place)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the thousands of tests and the libraries, which all live until the end."""
    gc.collect()
    gc.freeze()


def _place(item: pytest.Item) -> int:
    file = item.nodeid.removeprefix("tests/")
    return next((place for place, beginning in enumerate(LONG) if file.startswith(beginning)), len(LONG))


# No example has a time limit of its own: machines are noisy, and a figure belongs into `make bench`.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _no_proxy_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            environment.delenv(name, raising=False)
            environment.delenv(name.upper(), raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_applications() -> Iterator[None]:
    with quick_applications():
        yield


@pytest.fixture(scope="session", autouse=True)
def _patient_with_the_database() -> Iterator[None]:
    """A machine that is loaded many-fold makes no writer of this process give up."""
    with pytest.MonkeyPatch.context() as patience:
        patience.setattr("qwen_image_studio.database.sqlite.BUSY_TIMEOUT_MS", 60_000)
        patience.setattr("qwen_image_studio.database.postgresql.LOCK_MS", 60_000)
        yield


@pytest.fixture(scope="session", autouse=True)
def schemas(request: pytest.FixtureRequest) -> Iterator[Schemas | None]:
    """The schemas of all data folders where the tests run on PostgreSQL; None on SQLite."""
    if not runs_on_postgresql():
        yield None
        return
    with on_schemas(request.getfixturevalue("postgresql")) as schemas:
        yield schemas


@pytest.fixture(autouse=True)
def _no_schema_outlives_its_test(request: pytest.FixtureRequest, schemas: Schemas | None) -> Iterator[None]:
    own = request.getfixturevalue("tmp_path") if schemas is not None and "tmp_path" in request.fixturenames else None
    before = set(threading.enumerate())
    yield
    # What a test leaves running goes on writing; it finds its schema until the server ends.
    if schemas is not None and own is not None and not set(threading.enumerate()) - before:
        schemas.drop_below(own)


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A running server with the miniature and an API key."""
    with Studio(tmp_path_factory.mktemp("studio"), with_key=True) as server:
        yield server
