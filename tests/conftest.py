"""What all tests share: no proxy from outside, and one real server with the miniature for the session."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.studio import Studio

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


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A running server with the miniature and an API key."""
    with Studio(tmp_path_factory.mktemp("studio"), with_key=True) as server:
        yield server
