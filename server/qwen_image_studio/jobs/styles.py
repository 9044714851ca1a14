"""Art directions that owners keep by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select

from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.fields import IDLE_STYLES
from qwen_image_studio.database.connection import Database, upsert
from qwen_image_studio.database.tables import images, styles
from qwen_image_studio.jobs.records import NOT_DELETED

MAX_STYLES = 200
"""Largest number of art directions of one owner."""
_OF_OWNER = styles.c.owner == bindparam("whose")
_NAMED = (_OF_OWNER, styles.c.name == bindparam("named"))
_ONE = select(styles).where(*_NAMED)
_ALL = select(styles).where(_OF_OWNER).order_by(styles.c.name)
_OTHERS = select(func.count()).where(_OF_OWNER, styles.c.name != bindparam("named"))
_REFERENCE = select(images.c.id).where(
    images.c.id == bindparam("image"), images.c.owner == bindparam("whose"), NOT_DELETED
)
_REFERENCE = _REFERENCE.with_for_update(read=True)


@dataclass(frozen=True)
class Style:
    """A saved art direction; the times are in Unix seconds."""

    name: str
    direction: Direction
    created_at: float
    changed_at: float


class Styles:
    """The art directions of a server. Every method is one transaction; `now` is in Unix seconds, as in `Jobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, owner: str, name: str, direction: Direction, now: float | None = None) -> tuple[Style, Style | None]:
        """Keep a direction under a name, in place of the one that had it; return it, and that one or None. Its
        reference, where it has one, is the id of an image.

        Raises StudioError ``image_not_found`` for one that is not the owner's, ``too_many_styles``, and
        ``invalid_value`` for a name that OpenAI's clients use.
        """
        now = self._database.now(now)
        whose = {"whose": owner, "named": name}
        with self._database.writing() as connection:
            if direction.reference is not None:
                _check_reference(connection, owner, direction.reference)
            _check_room(connection, whose)
            earlier = connection.execute(_ONE, whose).one_or_none()
            kept = {"direction": direction.model_dump(mode="json"), "reference": direction.reference, "changed_at": now}
            saved = upsert(connection, styles).values(owner=owner, name=name, created_at=now, **kept)
            connection.execute(saved.on_conflict_do_update(index_elements=["owner", "name"], set_=kept))
            kept_now = connection.execute(_ONE, whose).one()
            return _as_style(kept_now), None if earlier is None else _as_style(earlier)

    def check_room(self, owner: str, name: str) -> None:
        """Raise StudioError ``too_many_styles`` or ``invalid_value`` where no direction can have that name."""
        with self._database.reading() as connection:
            _check_room(connection, {"whose": owner, "named": name})

    def get(self, owner: str, name: str) -> Style:
        """Return one. Raises StudioError ``not_found``, which names those that there are."""
        with self._database.reading() as connection:
            row = connection.execute(_ONE, {"whose": owner, "named": name}).one_or_none()
            if row is not None:
                return _as_style(row)
            names = [each.name for each in connection.execute(_ALL, {"whose": owner})]
        raise StudioError("not_found", f"style: you have no style '{name}'; {_those(names)}.", param="style")

    def all(self, owner: str) -> list[Style]:
        """Return all of an owner's, by name."""
        with self._database.reading() as connection:
            return [_as_style(row) for row in connection.execute(_ALL, {"whose": owner})]

    def delete(self, owner: str, name: str) -> str | None:
        """Delete one, and return its reference, which may be deleted from then on. Raises StudioError ``not_found``."""
        named = {"whose": owner, "named": name}
        with self._database.writing() as connection:
            gone = connection.execute(styles.delete().where(*_NAMED).returning(styles.c.reference), named).one_or_none()
        if gone is None:
            raise StudioError("not_found", f"You have no style '{name}'.", param="name")
        reference: str | None = gone.reference
        return reference


def _check_room(connection: Connection, whose: Mapping[str, str]) -> None:
    if whose["named"] in IDLE_STYLES:
        raise refusal("name", "is a word of OpenAI's clients, which send it without meaning yours; take another name")
    if (connection.scalar(_OTHERS, whose) or 0) >= MAX_STYLES:
        message = f"You have {MAX_STYLES} styles, the most that are kept; delete one, or save under its name."
        raise StudioError("too_many_styles", message, param="name")


def _check_reference(connection: Connection, owner: str, image_id: str) -> None:
    if connection.scalar(_REFERENCE, {"image": image_id, "whose": owner}) is None:
        message = f"reference: there is no image '{image_id[:80]}' of yours; send an image id or a URL."
        raise StudioError("image_not_found", message, param="reference")


def _those(names: list[str]) -> str:
    """Return which names there are, as the rest of a sentence."""
    if not names:
        return "save one with PUT /v1/styles/NAME first"
    more = "" if len(names) <= 10 else f" and {len(names) - 10} more"
    return f"you have {', '.join(names[:10])}{more}"


def _as_style(row: Row[Any]) -> Style:
    return Style(row.name, Direction.model_validate(row.direction), row.created_at, row.changed_at)
