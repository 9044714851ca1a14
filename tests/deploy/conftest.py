"""Fixtures: the linters, or a skip that says what brings them."""

import os

import pytest

from tests.deploy import lint


@pytest.fixture(scope="session", autouse=True)
def linters() -> None:
    """All tests here need .venv-deploy."""
    if (lint.ENVIRONMENT / "bin/hadolint").exists():
        return
    message = ".venv-deploy is not here; `make setup-tests` makes it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
