"""Styles: the owner's art directions by name, for all people and tools of an API key's owner."""

from flask import Blueprint

from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.contract.fields import STYLE_NAME_TAKES, is_style_name, style_name
from qwen_image_studio.contract.styles import StyleList, StyleView
from qwen_image_studio.contract.words import MAX_NAME_CHARS
from qwen_image_studio.jobs.styles import Style
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.jobs import PAINTS
from qwen_image_studio.web.routing import Body, read_model, route, services

blueprint = Blueprint("styles", __name__, url_prefix="/v1/styles")


def _read_direction() -> Direction:
    return read_model(Direction, "style", '{"style": "watercolour", "palette": ["red", "gold"]}')


@route(blueprint, "GET", "")
def index() -> StyleList:
    """List the owner's art directions, by name."""
    return StyleList(data=[_shown(each) for each in services().store.styles.all(caller().owner)])


@route(blueprint, "GET", "/<name>", errors=("not_found",))
def show(name: str) -> StyleView:
    """Look at one art direction."""
    return _shown(services().store.styles.get(caller().owner, style_name(name)))


@route(
    blueprint,
    "PUT",
    "/<name>",
    body=Body(_read_direction, Direction),
    returns={200: StyleView, 201: StyleView},
    errors=(
        "image_not_found", "unsupported_image", "image_too_large", "url_not_allowed", "url_not_fetched",
        "content_blocked", "safety_unavailable", "held_for_review", "too_many_styles",
    ),
    scope=PAINTS,
)  # fmt: skip
def save(name: str, body: Direction) -> tuple[StyleView, int]:
    """Save an art direction under a name, for `style` in every request; in place of the one that had the name.

    A reference by URL is fetched and stored. Its image stays as long as the style does.
    """
    if not is_style_name(name := style_name(name)):
        raise refusal("name", f"{STYLE_NAME_TAKES}, at most {MAX_NAME_CHARS}")
    if body == Direction():
        raise refusal("style", "says nothing; send style, palette, negative_prompt, seed or reference")
    style, is_new = services().intake.save_style(name, body, caller())
    return _shown(style), 201 if is_new else 200


@route(blueprint, "DELETE", "/<name>", returns={204: None}, errors=("not_found",), scope=PAINTS)
def delete(name: str) -> tuple[str, int]:
    """Delete an art direction. Jobs that were submitted with it go on."""
    services().intake.delete_style(style_name(name), caller())
    return "", 204


def _shown(style: Style) -> StyleView:
    times = {"created_at": style.created_at, "changed_at": style.changed_at}
    return StyleView(name=style.name, **times, **style.direction.model_dump())
