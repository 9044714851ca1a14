"""Callbacks over HTTP, for operators: what has become of them, and sending one again."""

from flask import Blueprint

from qwen_image_studio.contract.callbacks import DeliveriesQuery, DeliveryList, DeliveryView
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.jobs.news import DELIVERIES, DUE
from qwen_image_studio.jobs.outbox import Delivery
from qwen_image_studio.web.routing import route, services

blueprint = Blueprint("deliveries", __name__, url_prefix="/v1/deliveries")


@route(blueprint, "GET", "", errors=("not_found",), scope=Scope.OPERATE)
def index(query: DeliveriesQuery) -> DeliveryList:
    """List the callbacks of all owners, newest first."""
    found, has_more = services().store.outbox.page(limit=query.limit, dead=query.dead, after=query.after)
    return DeliveryList(data=[_view(delivery) for delivery in found], has_more=has_more)


@route(blueprint, "POST", "/<delivery_id>/resend", errors=("not_found",), scope=Scope.OPERATE)
def resend(delivery_id: str) -> DeliveryView:
    """Send a callback again, whether it was given up or delivered.

    It keeps its id, so a receiver that has it already can tell.
    """
    store = services().store
    store.outbox.resend([delivery_id], store.database.now())
    store.bell.ring(DELIVERIES, {DUE})
    return _view(store.outbox.get(delivery_id))


def _view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(**{name: getattr(delivery, name) for name in DeliveryView.model_fields if name != "object"})
