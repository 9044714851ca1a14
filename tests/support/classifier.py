"""A classifier that scores by colour and misbehaves on cue, behind the same seam (STUDIO_CLASSIFIER) as the real one.

The score is a picture's mean red, 0 to 1. The green of its middle pixel may be a cue: FAILS, HANGS or KILLS, which ends
the process, but only the first time in a folder. The scripted engine paints red and green from a seed (`seed_of`).
"""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageStat

from qwen_image_studio.guard.classifying import Classifying
from qwen_image_studio.settings import Settings

NAME = "tests.support.classifier:open_classifier"
FAILS, HANGS, KILLS = 255, 254, 253


class ScriptedClassifier:
    """Scores the colour red."""

    def __init__(self, marker: Path | None = None) -> None:
        self.seen: list[tuple[int, int]] = []
        """The sizes of the pictures it was asked about."""
        self._marker = marker
        self.goes_on = threading.Event()
        """What a picture with the cue HANGS waits for."""

    def scores(self, picture: Image.Image) -> Mapping[str, float]:
        """Score it, or do what its middle says."""
        self.seen.append(picture.size)
        pixel = picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))
        cue = pixel[1] if isinstance(pixel, tuple) else 0
        if cue == FAILS:
            raise ZeroDivisionError("a bug in the classifier")
        if cue == HANGS:
            self.goes_on.wait()
        if cue == KILLS and self._marker is not None and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"nsfw": round(ImageStat.Stat(picture).mean[0] / 255, 4)}


def seed_of(red: int, green: int = 0) -> int:
    """The seed with which the scripted engine paints a picture of this red and green; the next one has one more red."""
    return green * 256 + red


def open_classifier() -> ScriptedClassifier:
    """Called by the classifier's process through the settings."""
    return ScriptedClassifier(Settings().data_dir / "classifier-killed")


@contextmanager
def answering(settings: Settings) -> Iterator[ScriptedClassifier]:
    """The scripted classifier answers in this process until the end of the block."""
    classifier = ScriptedClassifier()
    with Classifying(settings, classifier) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield classifier
        finally:
            classifier.goes_on.set()
            server.shutdown()
            thread.join()
