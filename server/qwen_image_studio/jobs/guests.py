"""Guests: what the bearer of a link to one image may see, and how many jobs were submitted through the link.

That is the image, what it was made from, and what was sent and made through the link. Everything else of the same
owner's is as if it were not there.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, bindparam, func, select

from qwen_image_studio.contract.caller import Guest
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import MAX_INPUTS
from qwen_image_studio.database.connection import Database, take_turn
from qwen_image_studio.database.tables import images, jobs, usage
from qwen_image_studio.jobs.held import WITHHELD
from qwen_image_studio.jobs.lineage import PARENTS, reached
from qwen_image_studio.jobs.records import NOT_DELETED
from qwen_image_studio.jobs.states import NewJob

_OF_LINK: BindParameter[Any] = bindparam("guest")
_MADE = select(images.c.id).join(jobs, jobs.c.id == images.c.job_id).where(jobs.c.guest == _OF_LINK)
_SENT = select(images.c.id).where(images.c.guest == _OF_LINK)
_NUMBER_SENT = select(func.count()).select_from(_SENT.where(~images.c.is_mask).subquery())
_USED = select(func.count()).where(usage.c.guest == _OF_LINK)
_IS_MADE = _MADE.where(images.c.id == bindparam("image_id"))
_IS_SENT = _SENT.where(images.c.id == bindparam("image_id"))
_LINKED = (
    select(images.c.owner, jobs.c.key, jobs.c.user, jobs.c.hold)
    .join(jobs, jobs.c.id == images.c.job_id)
    .where(images.c.id == bindparam("image_id"), NOT_DELETED, ~WITHHELD)
)


@dataclass(frozen=True)
class Linked:
    """For whom the image of a link was made."""

    owner: str
    key: str | None
    """Name of the API key."""
    user: str | None
    hold: bool
    """Whether it was to be held for a reviewer."""


class Guests:
    """The images of links and what was done through them. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def linked(self, image_id: str) -> Linked | None:
        """Return for whom an image was made; None for one that no link may lead to (any more): it is not there, or
        withheld, or no job made it.
        """
        with self._database.reading() as connection:
            row = connection.execute(_LINKED, {"image_id": image_id}).one_or_none()
        return None if row is None else Linked(row.owner, row.key, row.user, row.hold)

    def used(self, guest: Guest) -> int:
        """Return how many jobs were submitted through the link."""
        with self._database.reading() as connection:
            return _number(connection, guest)

    def seen(self, guest: Guest) -> frozenset[str]:
        """Return the ids of the image and of what it was made from."""
        with self._database.reading() as connection:
            return frozenset(lineage(connection, guest))

    def check_start(self, guest: Guest, image_id: str) -> None:
        """Raise StudioError ``scope_missing`` for an image that a guest has sent: what is changed is the link's image
        or what came of it, and others are references beside it.
        """
        with self._database.reading() as connection:
            of_link = {"guest": guest.id, "image_id": image_id}
            if connection.execute(_IS_SENT, of_link).first() is not None:
                message = "image: this link is for changing its picture; put that first, and others after it."
                raise StudioError("scope_missing", message, param="image")

    def check_upload(self, guest: Guest) -> None:
        """Raise StudioError ``quota_exceeded`` where more was sent than the jobs of the link can name."""
        with self._database.reading() as connection:
            sent = connection.scalar(_NUMBER_SENT, {"guest": guest.id}) or 0
        if sent >= guest.jobs * MAX_INPUTS:
            message = f"image: {sent} pictures were sent through this link, which is all that its jobs can use."
            raise StudioError("quota_exceeded", message, param="image")


def seen_by(connection: Connection, guest: Guest) -> ColumnElement[bool]:
    """Return the condition that an image is one that a guest may see, unless it is withheld. They are few, and so are
    named, where their owner's may be very many.
    """
    of_link = {"guest": guest.id}
    done = [each for query in (_MADE, _SENT) for each in connection.scalars(query, of_link)]
    return images.c.id.in_([*lineage(connection, guest), *done])


def sees(connection: Connection, guest: Guest, image_id: str) -> bool:
    """Return whether a guest may see an image, unless it is withheld."""
    of_link = {"guest": guest.id, "image_id": image_id}
    if image_id == guest.image_id:
        return True
    if any(connection.execute(query, of_link).first() is not None for query in (_IS_MADE, _IS_SENT)):
        return True
    return image_id in lineage(connection, guest)


def lineage(connection: Connection, guest: Guest) -> list[str]:
    """Return the ids of the image of a link and of what it was made from."""
    return [guest.image_id, *reached(connection, guest.image_id, PARENTS)]


def take_turn_of(connection: Connection, guest: Guest | None) -> None:
    """Let no other job of the link be counted until the transaction ends."""
    if guest is not None:
        take_turn(connection, f"link {guest.id}")


def check_jobs(connection: Connection, new: NewJob) -> None:
    """Raise StudioError ``quota_exceeded`` where as many jobs were submitted through the link as may be."""
    if new.guest is not None and _number(connection, new.guest) >= new.guest.jobs:
        raise StudioError(
            "quota_exceeded",
            f"{new.guest.jobs} jobs were submitted through this link, and more may not be. Ask for a new link where "
            "you got it, or sign in with an API key.",
        )


def _number(connection: Connection, guest: Guest) -> int:
    return connection.scalar(_USED, {"guest": guest.id}) or 0
