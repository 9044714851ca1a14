"""One server of each kind for a test process, started when the first test asks for it; tests leave them as they are.

They start where the tests run on servers (``TEST_DATABASE=postgresql``, which ``make test-services`` sets). Else what
asks for them is skipped, so that ``make test`` needs no server and stays quick.
"""

from collections.abc import Iterator

import pytest

from tests.support.database import runs_on_postgresql
from tests.support.servers.objects import Moto, Nanio, ObjectStore, S3rver
from tests.support.servers.postgresql import PostgreSQL
from tests.support.servers.rabbitmq import RabbitMQ
from tests.support.servers.redis import Redis


def need_servers(name: str) -> None:
    """Skip what needs a server where this run has none."""
    if not runs_on_postgresql():
        pytest.skip(f"needs {name}; `make test-services` runs it (TEST_DATABASE=postgresql)")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL for all tests of this process, each with a schema of its own."""
    need_servers("PostgreSQL")
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """A Redis for all tests of this process."""
    need_servers("Redis")
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """A RabbitMQ for all tests of this process."""
    need_servers("RabbitMQ")
    with RabbitMQ() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[ObjectStore]:
    """An object store for all tests of this process, which knows conditional puts."""
    need_servers("moto")
    with Moto() as server:
        yield server


@pytest.fixture(scope="session")
def s3rver() -> Iterator[ObjectStore]:
    """An object store for all tests of this process, which gives files another type and name where it is asked to."""
    need_servers("s3rver")
    with S3rver() as server:
        yield server


@pytest.fixture(scope="session")
def nanio() -> Iterator[ObjectStore]:
    """An object store for all tests of this process, which checks signatures."""
    need_servers("nanio")
    with Nanio() as server:
        yield server
