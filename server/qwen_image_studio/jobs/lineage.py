"""Which images were made from which, over all steps."""

from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam, select

from qwen_image_studio.database.tables import images, job_inputs

MOST_RELATED = 200
"""Largest number of ancestors, and of descendants, that are looked for."""
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
PARENTS = (
    select(job_inputs.c.image_id).join(images, images.c.job_id == job_inputs.c.job_id).where(images.c.id.in_(_IDS))
)
CHILDREN = select(images.c.id).join(job_inputs, images.c.job_id == job_inputs.c.job_id)
CHILDREN = CHILDREN.where(job_inputs.c.image_id.in_(_IDS))


def reached(connection: Connection, image_id: str, step: Select[Any]) -> list[str]:
    """Return the ids of all images that are reached from one by steps to its `PARENTS` or `CHILDREN`, the nearest
    first, up to a few more than are told.
    """
    found, at = {image_id: None}, [image_id]
    while at and len(found) <= MOST_RELATED + 1:
        near = connection.scalars(step.limit(2 * MOST_RELATED), {"ids": at})
        at = [each for each in dict.fromkeys(near) if each not in found]
        found |= dict.fromkeys(at)
    return list(found)[1:]
