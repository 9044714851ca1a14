"""The web process: gunicorn with the Flask application, one process with an event loop."""

import gc
import os
from collections.abc import Mapping
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from qwen_image_studio.contract.words import LogFormat
from qwen_image_studio.host.connections import Worker
from qwen_image_studio.models.table import Model
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.processes import die_with_parent
from qwen_image_studio.web.app import close_app, create_app


class WebServer(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    """Gunicorn with our settings. The application is made in the child, since threads do not survive a fork."""

    def __init__(self, settings: Settings, models: Mapping[str, Model]) -> None:
        self._settings, self._models = settings, models
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's options."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        options = {
            "bind": f"{host}:{self._settings.port}",
            "workers": 1,
            "worker_class": Worker,
            "worker_connections": self._settings.web_connections,
            "timeout": 120,
            "graceful_timeout": 3,
            "keepalive": 30,
            "forwarded_allow_ips": "",  # where it stands is said by STUDIO_PUBLIC_URL alone
            "loglevel": "warning",
            "proc_name": "qwen-image-studio-web",
            "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # noqa: S108 - gunicorn's heartbeat
            "pre_fork": _keep_shared,
            "post_fork": _tie_to_master,
            "post_worker_init": self._set_grace,
            "worker_exit": _close,
            "control_socket_disable": True,
        }
        if self._settings.log_format is LogFormat.JSON:
            options["logger_class"] = _Propagated
        for name, value in options.items():
            self.cfg.set(name, value)

    def _set_grace(self, worker: Worker) -> None:
        worker.grace_s = self._settings.read_timeout_s

    def load(self) -> Flask:
        """Return the application; gunicorn calls this."""
        return create_app(self._settings, self._models)


class _Propagated(Logger):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's log as part of the process's own."""

    def setup(self, cfg: Any) -> None:
        """Leave the writing to the handlers of the process."""
        self.cfg = cfg
        self.error_log.setLevel(self.LOG_LEVELS[cfg.loglevel])
        self.error_log.propagate = True


def _keep_shared(_server: Any, _worker: Any) -> None:
    """Keep the garbage collector off what is imported by now: it would write to every page that the two share."""
    gc.collect()
    gc.freeze()


def _close(_server: Any, worker: Any) -> None:
    if (app := getattr(worker, "wsgi", None)) is not None:  # else it never came that far
        close_app(app)


def _tie_to_master(_server: Any, worker: Any) -> None:
    die_with_parent(worker.ppid)
