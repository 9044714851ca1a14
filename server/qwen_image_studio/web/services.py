"""What the views need, opened once per web process and kept with the Flask application."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from qwen_image_studio.gallery import Gallery
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.intake import Intake
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.models.table import Model
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.changes import Changes

_NAME = "qwen-image-studio"


@dataclass(frozen=True)
class Services:
    """The open parts of one application."""

    settings: Settings
    store: JobStore
    gallery: Gallery
    keys: KeyStore
    models: Mapping[str, Model]
    changes: Changes
    intake: Intake

    def keep_in(self, app: Flask) -> None:
        """Hand the parts to an application."""
        app.extensions[_NAME] = self


def services() -> Services:
    """The parts of the application that answers now."""
    return cast(Services, current_app.extensions[_NAME])
