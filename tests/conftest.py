"""What all tests share: one real server with the miniature for the session."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.studio import Studio

# No example has a time limit of its own: machines are noisy, and a figure belongs into `make bench`.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A running server with the miniature and an API key."""
    with Studio(tmp_path_factory.mktemp("studio"), with_key=True) as server:
        yield server
