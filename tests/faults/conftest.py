"""Servers with the scripted engine: they start in a second and fail on cue."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.studio import SCRIPTED, Studio


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """One running server with the scripted engine for the tests of a module."""
    with Studio(tmp_path_factory.mktemp("scripted"), **SCRIPTED) as server:
        yield server


@pytest.fixture
def make_scripted(tmp_path: Path) -> Iterator[Callable[..., Studio]]:
    """Make servers of a test's own, not yet started; stopped at its end."""
    made: list[Studio] = []

    def make(**settings: Any) -> Studio:
        server = Studio(tmp_path, **{**SCRIPTED, **settings})
        made.append(server)
        return server

    yield make
    for server in made:
        server.__exit__(None, None, None)
