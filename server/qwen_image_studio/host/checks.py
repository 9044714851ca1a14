"""Checks before the server starts; each raises CannotServe with one line that says what to do."""

import errno
import os
import shutil
import socket
from urllib.parse import urlsplit

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.database.connection import Database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings

LEAST_FREE_MB = 200
"""Least free space on the disk of the data, in megabytes."""


def check_data_dir(settings: Settings) -> None:
    """Raise CannotServe where the data folder cannot be written, or its disk is nearly full."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        probe = settings.data_dir / f".probe-{os.getpid()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
        free_mb = shutil.disk_usage(settings.data_dir).free // 10**6
    except OSError as error:
        raise CannotServe(
            f"The folder {settings.data_dir} cannot be written ({error.strerror}); "
            "free some space or set STUDIO_DATA_DIR to another one."
        ) from error
    if free_mb < LEAST_FREE_MB:
        raise CannotServe(
            f"Only {free_mb} MB are free for {settings.data_dir}, less than {LEAST_FREE_MB} MB; free some space or set "
            "STUDIO_DATA_DIR to another disk."
        )


def check_port(settings: Settings) -> None:
    """Raise CannotServe where the server cannot listen on its address."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            cause = "is taken by another program" if taken else f"cannot be listened on ({error.strerror})"
            raise CannotServe(
                f"Port {settings.port} of {settings.host} {cause}; set STUDIO_PORT (or STUDIO_HOST) to another one."
            ) from error


def refuse_open_door(settings: Settings, database: Database) -> None:
    """Raise CannotServe where the settings would let anybody on the network use the server."""
    public = urlsplit(settings.public_url).hostname
    is_open = not settings.listens_on_loopback or public not in {None, "localhost", "127.0.0.1", "::1"}
    if is_open and not KeyStore(database).any():
        raise CannotServe(
            f"At {settings.public_url or settings.host} anybody could use this server; make an API key first: "
            "qwen-image-studio keys add NAME"
        )
