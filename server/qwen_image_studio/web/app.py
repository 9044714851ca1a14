"""The Flask application: wiring only."""

from collections.abc import Mapping

from flask import Flask
from flask.json.provider import DefaultJSONProvider

from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.intake import Intake
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.models.table import Model
from qwen_image_studio.settings import Settings
from qwen_image_studio.web import account, deliveries, events, files, images, jobs, operators, ops, review
from qwen_image_studio.web.auth import protect
from qwen_image_studio.web.call_log import CallLog
from qwen_image_studio.web.edge import guard_edge
from qwen_image_studio.web.health import health_now
from qwen_image_studio.web.limits import tell_limits
from qwen_image_studio.web.metrics import Metrics
from qwen_image_studio.web.openai import routes as openai
from qwen_image_studio.web.routing import Services, services
from qwen_image_studio.web.speeds import Speeds
from qwen_image_studio.web.streams import Streams
from qwen_image_studio.web.subpath import stand_below_path
from qwen_image_studio.web.waiting import Changes


class _Json(DefaultJSONProvider):
    """JSON with fields in the contract's order, and with Chinese unescaped."""

    sort_keys = False
    ensure_ascii = False


def create_app(settings: Settings, models: Mapping[str, Model]) -> Flask:
    """Return the web application over the settings' job store and gallery, offering ``models``."""
    app = Flask("qwen_image_studio", static_folder=None)
    app.json = _Json(app)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_mb * 10**6
    app.config["MAX_FORM_MEMORY_SIZE"] = 1_000_000
    app.config["MAX_FORM_PARTS"] = 20
    app.url_map.merge_slashes = False  # the key in a signed link must stay as it is
    store = open_store(settings)
    gallery = open_gallery(settings, store)
    call_log = CallLog(store.calls)
    parts = Services(
        settings=settings,
        store=store,
        gallery=gallery,
        keys=KeyStore(store.database),
        models=models,
        changes=Changes(store, Streams(store, lambda: health_now(store, settings).model_dump_json())),
        intake=Intake(settings, store, gallery, models),
        call_log=call_log,
        metrics=Metrics(store, settings, models, call_log),
        speeds=Speeds(store.calls, models),
    )
    parts.keep_in(app)
    stand_below_path(app, settings)
    guard_edge(app, settings)
    protect(app, settings)
    tell_limits(app)
    for module in (account, jobs, images, events, review, deliveries, operators, openai, files, ops):
        app.register_blueprint(module.blueprint)
    return app


def close_app(app: Flask) -> None:
    """Write what the application still has to write, before its process ends."""
    with app.app_context():
        services().call_log.close()
