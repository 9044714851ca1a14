"""The Flask application: wiring only."""

from collections.abc import Mapping

from flask import Flask
from flask.json.provider import DefaultJSONProvider

from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.gallery.common import common_of
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.guard.sessions import open_sessions
from qwen_image_studio.intake import Intake
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.models.table import Model
from qwen_image_studio.settings import Settings
from qwen_image_studio.web import (
    account,
    deliveries,
    events,
    files,
    images,
    jobs,
    operators,
    ops,
    review,
    session,
    styles,
)
from qwen_image_studio.web.auth import protect
from qwen_image_studio.web.call_log import CallLog
from qwen_image_studio.web.cookies import SessionCookie
from qwen_image_studio.web.cors import allow_origins
from qwen_image_studio.web.edge import guard_edge
from qwen_image_studio.web.health import health_now
from qwen_image_studio.web.huggingface import routes as huggingface
from qwen_image_studio.web.limits import tell_limits
from qwen_image_studio.web.mcp import routes as mcp
from qwen_image_studio.web.mcp.under_way import CallsUnderWay
from qwen_image_studio.web.metrics import Metrics
from qwen_image_studio.web.offered import Offered
from qwen_image_studio.web.openai import routes as openai
from qwen_image_studio.web.page import serve_page
from qwen_image_studio.web.routing import Services, services
from qwen_image_studio.web.session import keep_sessions
from qwen_image_studio.web.speeds import Speeds
from qwen_image_studio.web.streams import Streams
from qwen_image_studio.web.subpath import stand_below_path
from qwen_image_studio.web.waiters import Waiters
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
    store = open_store(settings, "web")
    gallery = open_gallery(settings, store)
    call_log, common = CallLog(store.calls), common_of(settings, store, gallery, signs=True)
    parts = Services(
        settings=settings,
        store=store,
        gallery=gallery,
        keys=KeyStore(store.database),
        sessions=open_sessions(settings),
        cookie=SessionCookie(settings),
        models=models,
        changes=Changes(store, Streams(store, lambda: health_now(store, settings, common).model_dump_json())),
        intake=Intake(settings, store, gallery, models),
        call_log=call_log,
        metrics=Metrics(store, settings, models, call_log),
        speeds=Speeds(store.calls, models),
        offered=Offered(store, settings),
        common=common,
        waiters=Waiters(),
        calls_under_way=CallsUnderWay(),
    )
    parts.keep_in(app)
    stand_below_path(app, settings)
    guard_edge(app, settings)
    allow_origins(app, settings)
    protect(app, settings)
    keep_sessions(app)
    tell_limits(app)
    for module in (account, session, jobs, images, styles, events, review, deliveries, operators, files, ops, mcp):
        app.register_blueprint(module.blueprint)
    for facade in (openai, huggingface):
        facade.register(app)
    serve_page(app, settings)
    return app


def close_app(app: Flask) -> None:
    """Write what the application still has to write, and close the job store, before its process ends."""
    with app.app_context():
        services().call_log.close()
        services().store.close()
