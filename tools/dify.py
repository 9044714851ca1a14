"""Calls back to Dify: its SDK raises plain exceptions, which leave here as one of our own."""

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class DifyFailed(Exception):
    """Dify or its SDK did not do what it was asked; ``str()`` is what they say, which may hold keys and addresses."""


def from_dify(call: Callable[[], Result]) -> Result:
    """Return what a call of the SDK gives. Raises DifyFailed for whatever that raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the SDK has no class of its own for what Dify answers
        raise DifyFailed(str(error)) from None
