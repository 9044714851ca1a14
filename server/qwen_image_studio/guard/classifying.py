"""The classifier's process, one of a server: ``qwen-image-studio safety``. It answers `guard.scoring`.

It stands beside the processes that paint, so that they need none of its memory and wait for none of its work.
"""

import json
import logging
import os
import threading
import time
from contextlib import suppress
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Any, cast

from qwen_image_studio.guard.classifier import Classifier
from qwen_image_studio.guard.scoring import LENGTH, address_in
from qwen_image_studio.imaging import open_image
from qwen_image_studio.imaging.pixels import on_white
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

AT_ONCE = 2
"""Pictures that are opened at once: each may be as large as the largest upload."""
STUCK_S = 60.0
"""Time of one check in seconds after which the classifier counts as stuck."""


class Classifying(ThreadingUnixStreamServer):
    """The server of one classifier; `serve_forever` answers until `shutdown`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, settings: Settings, classifier: Classifier) -> None:
        """Listen in the settings' data folder, in place of a process before this one."""
        self._classifier, self._turns = classifier, threading.Semaphore(AT_ONCE)
        self._most_pixels = settings.most_pixels
        self._began: dict[int, float] = {}
        folder = settings.data_dir.resolve()
        with address_in(folder) as address:
            with suppress(FileNotFoundError):
                os.unlink(address)
            before = os.umask(0o177)
            try:
                super().__init__(address, _Question)
            finally:
                os.umask(before)

    def answer(self, data: bytes) -> bytes:
        """Return the scores of a picture as JSON."""
        with self._turns:
            thread = threading.get_ident()
            self._began[thread] = time.monotonic()
            try:
                picture = open_image(data, max_bytes=len(data), max_pixels=self._most_pixels, param="image")
                return json.dumps(dict(self._classifier.scores(on_white(picture)))).encode()
            finally:
                del self._began[thread]

    def is_stuck(self) -> bool:
        """Return whether a check takes longer than any may."""
        return any(time.monotonic() - began > STUCK_S for began in list(self._began.values()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with one question; whoever asked reads the end of its connection."""
        _log.exception("a picture was not classified")


class _Question(StreamRequestHandler):
    """One question."""

    def handle(self) -> None:
        """Read it and answer."""
        (length,) = LENGTH.unpack(self.rfile.read(LENGTH.size))
        data = self.rfile.read(length)
        if len(data) < length:
            return  # whoever asked has ended, or waits no more
        told = cast("Classifying", self.server).answer(data)
        with suppress(ConnectionError):
            self.wfile.write(LENGTH.pack(len(told)) + told)
