"""What the views need, opened once per web process and kept with the Flask application."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from server.auth import KeyStore
from server.engine import Model
from server.intake import Intake
from server.jobs import JobStore
from server.settings import Settings
from server.storage import Storage
from server.web.changes import Changes

_NAME = "qwen-image-studio"


@dataclass(frozen=True)
class Services:
    """The open parts of one application."""

    settings: Settings
    store: JobStore
    storage: Storage
    keys: KeyStore
    models: Mapping[str, Model]
    changes: Changes
    intake: Intake
    link_keys: tuple[bytes, ...]
    """Keys that may have signed a link to an image."""

    def keep_in(self, app: Flask) -> None:
        """Hand the parts to an application."""
        app.extensions[_NAME] = self


def services() -> Services:
    """The parts of the application that answers now."""
    return cast(Services, current_app.extensions[_NAME])
