"""Checks before the server starts; each raises CannotServe with one line that says what to do."""

import errno
import logging
import os
import shutil
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.database.connection import Database
from qwen_image_studio.gallery import check_store
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.loading.memory import machine_of, plan_memory
from qwen_image_studio.models.needs import least_gib
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import devices, largest_card_gib

_log = logging.getLogger(__name__)

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


def check_storage(settings: Settings) -> None:
    """Raise CannotServe, or StudioError ``storage_failed``, where images cannot be kept as the settings say. An object
    store that only does not answer now is named in the log: jobs wait for it.
    """
    try:
        check_store(settings)
    except StudioError as error:
        if urlsplit(settings.storage_url).scheme in {"", "file"}:
            raise
        _log.warning("STUDIO_STORAGE_URL: %s", error)


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


def check_models_named(settings: Settings, database: Database) -> None:
    """Raise CannotServe where a host that paints nothing would offer what it could paint itself: the miniature, which
    stands in for every other model, and not what the workers of other hosts serve.
    """
    if settings.models or not database.is_postgresql:
        return
    if largest_card_gib(settings) < least_gib(MODELS["Qwen-Image"]):
        raise CannotServe(
            "STUDIO_MODELS is empty, and this host has no card for a large model: name the models that your workers "
            "paint, such as STUDIO_MODELS=Qwen-Image,Qwen-Image-Edit-2509; for a trial, STUDIO_MODELS=miniature."
        )


def check_memory(settings: Settings, models: Mapping[str, Model]) -> None:
    """Raise CannotServe where a card could hold the models only in more memory than STUDIO_MEMORY allows."""
    if settings.memory_gib is None:
        return
    for device in devices(settings):
        if device.gpu and device.memory_gib and plan_memory(models, machine_of(device, settings)) is None:
            raise CannotServe(
                f"{' and '.join(models)} cannot run in STUDIO_MEMORY={settings.memory} GiB of {device.id} "
                f"({device.memory_gib:.0f} GiB); raise it, or serve smaller models (qwen-image-studio doctor)."
            )
