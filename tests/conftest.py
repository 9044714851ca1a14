"""What all tests share: one real server with the miniature for the session."""

from collections.abc import Iterator

import pytest

from tests.studio import Studio


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A running server with the miniature and an API key."""
    with Studio(tmp_path_factory.mktemp("studio"), with_key=True) as server:
        yield server
