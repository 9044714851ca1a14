"""What npm has for the tests of the page, in ``node/``."""

import os
from pathlib import Path

import pytest

_MODULES = Path(__file__).parents[1] / "node/node_modules"


def module(path: str) -> Path:
    """Return a file of a package. Where it is not here, what needs it is skipped; in CI it fails."""
    found = _MODULES / path
    if found.exists():
        return found
    message = f"{path.partition('/')[0]} is not here; `make test-page` installs it from npm"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
