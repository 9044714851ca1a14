"""Servers for the page, and what is painted on them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tests.support.studio import Studio

SMALL: Mapping[str, Any] = {"width": 128, "height": 128, "steps": 2}
"""Where the picture does not matter."""


class OwnStudio(Protocol):
    """Makes a server of one's own."""

    def __call__(self, *, with_key: bool = False, settings: Mapping[str, object] | None = None) -> Studio:
        """Start it."""
        ...


class Hold(Protocol):
    """Paints pictures that wait for a reviewer."""

    def __call__(self, prompt: str = "a cup", *, studio: Studio | None = None, **params: Any) -> list[str]:
        """Return their ids."""
        ...


def page_studio(folder: Path, *, with_key: bool = False, settings: Mapping[str, object] | None = None) -> Studio:
    """Return a server that is not started yet; ``settings`` as their environment names them, without ``STUDIO_``."""
    studio = Studio(folder, with_key=with_key, **(settings or {}))
    studio.environment["OMP_NUM_THREADS"] = "1"  # beside other servers and browsers, two threads wait for each other
    return studio
