"""Deletion in SQL of images and jobs, because their owner asks for it or because they are old; and its refusals.

Rows are deleted first, and then the gallery deletes the files: a file without a row is never served, and one that is
left behind is found by its key. Several rows may name one file, so it is deleted with the last of them.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, String, cast, func, literal, or_, select, update

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import State
from qwen_image_studio.database.connection import reading, upsert, writing
from qwen_image_studio.database.tables import forgotten_turns, images, installation, jobs
from qwen_image_studio.jobs.ranking import ACTIVE, later
from qwen_image_studio.jobs.transitions import clock, get_job, renew_version

_KEYS = (images.c.key, images.c.thumbnail_key, images.c.comparison_key)
_FINAL = [state for state in State if state.final]


class SqlForgetting:
    """The methods of JobStore for deletion."""

    engine: Engine

    def forget_image(self, image_id: str, owner: str, now: float | None = None) -> Sequence[str]:
        query = select(images).where(images.c.id == image_id, images.c.owner == owner).with_for_update()
        with writing(self.engine) as connection:
            image = connection.execute(query).one_or_none()
            if image is None:
                raise StudioError("not_found", f"There is no image '{image_id}' of yours on this server.")
            if image.deleted_at is None:
                _check_unused(connection, owner, [image])
                gone = {"deleted_at": clock(now), "sha256": "", "change_inside": None, "change_outside": None}
                connection.execute(update(images).where(images.c.id == image_id).values(gone))
                _show_change(connection, image.job_id)
            return _unnamed(connection, [image])

    def forget_job(self, job_id: str, owner: str) -> Sequence[str]:
        with writing(self.engine) as connection:
            job = get_job(connection, job_id, owner)
            if job.parent_id is not None:
                message = f"Job {job_id} is a row of batch {job.parent_id}; delete the batch, or the row's images."
                raise StudioError("invalid_value", message, param="job_id")
            family = or_(jobs.c.id == job_id, jobs.c.parent_id == job_id)
            members = connection.execute(select(jobs.c.id, jobs.c.state, jobs.c.inputs).where(family).with_for_update())
            ids, inputs = [], set()
            for member in members:
                if not State(member.state).final:
                    message = f"Job {job_id} has not ended; POST /v1/jobs/{job_id}/cancel ends it, and then delete it."
                    raise StudioError("job_not_ended", message)
                ids.append(member.id)
                inputs.update(member.inputs)
            made = connection.execute(select(images).where(images.c.job_id.in_(ids)).with_for_update()).all()
            _check_unused(connection, owner, made)
            uploads = connection.execute(select(images).where(images.c.id.in_(inputs), _is_upload())).all()
            named = _named_by_jobs(connection, [upload.id for upload in uploads], besides=ids, owner=owner)
            own = [upload for upload in uploads if upload.id not in named]
            _keep_turns(connection, family)
            connection.execute(images.delete().where(images.c.id.in_([image.id for image in (*made, *own)])))
            connection.execute(jobs.delete().where(family))
            return _unnamed(connection, [*made, *own])

    def forget_upload(self, image_id: str, since: float = 0.0) -> Sequence[str]:
        query = select(images).where(images.c.id == image_id, images.c.created_at >= since, _is_upload())
        with writing(self.engine) as connection:
            upload = connection.execute(query.with_for_update()).one_or_none()
            if upload is None or _named_by_jobs(connection, [image_id], owner=upload.owner):
                return []
            connection.execute(images.delete().where(images.c.id == image_id))
            return _unnamed(connection, [upload])

    def ended_jobs(self, before: float) -> Sequence[tuple[str, str]]:
        old = (jobs.c.finished_at < before) & jobs.c.state.in_(_FINAL) & jobs.c.parent_id.is_(None)
        with reading(self.engine) as connection:
            found = connection.execute(select(jobs.c.id, jobs.c.owner).where(old).order_by(jobs.c.seq))
            return [(row.id, row.owner) for row in found]

    def unused_uploads(self, before: float) -> Sequence[str]:
        old = select(images.c.id).where(_is_upload(), images.c.created_at < before)
        with reading(self.engine) as connection:
            found = list(connection.scalars(old))
            named = _named_by_jobs(connection, found)
        return [image_id for image_id in found if image_id not in named]

    def named_keys(self, keys: Collection[str]) -> set[str]:
        with reading(self.engine) as connection:
            previews = select(jobs.c.preview_key).where(jobs.c.state == State.RUNNING, jobs.c.preview_key.in_(keys))
            return _named(connection, keys) | set(connection.scalars(previews))

    def installation(self) -> str:
        with reading(self.engine) as connection:
            return str(connection.scalars(select(installation.c.id)).one())


@dataclass(frozen=True)
class _Waiting:
    """A job that has not ended, with a text in which every image that it needs is named."""

    id: str
    seq: int
    is_batch: bool
    text: str


def _check_unused(connection: Connection, owner: str, found: Iterable[Row[Any]]) -> None:
    """Raise StudioError ``image_in_use`` where a job that has not ended needs or makes one of the images."""
    query = select(jobs).where(jobs.c.owner == owner, jobs.c.state.in_(ACTIVE))
    waiting = [
        _Waiting(row.id, row.seq, row.rows is not None, json.dumps([row.inputs, _source_of_rows(row)]))
        for row in connection.execute(query)
    ]
    if not waiting:
        return
    active = {job.id for job in waiting}
    for image in found:
        maker = connection.execute(select(jobs).where(jobs.c.id == image.job_id)).one_or_none()
        users = [job.id for job in waiting if _waits_for(job, image, maker)]
        if maker is not None and maker.parent_id in active:
            users.append(maker.parent_id)
        if users:
            message = (
                f"Image {image.id} is in use: job {users[0]} has not ended. Delete it after that, or cancel the job."
            )
            raise StudioError("image_in_use", message)


def _source_of_rows(row: Row[Any]) -> Any:
    """Return what a batch makes its rows from: they may name images, or use the last one of a conversation."""
    return None if row.rows is None else [row.plan, row.conversation]


def _waits_for(job: _Waiting, image: Row[Any], maker: Row[Any] | None) -> bool:
    if image.id in job.text or image.key in job.text:
        return True
    if not job.is_batch or maker is None or maker.conversation is None:
        return False
    return maker.seq < job.seq and json.dumps(maker.conversation) in job.text


def _is_upload() -> ColumnElement[bool]:
    return images.c.job_id.is_(None)


def _named_by_jobs(
    connection: Connection, image_ids: Collection[str], *, besides: Collection[str] = (), owner: str | None = None
) -> set[str]:
    """Return those of the images that a job names; jobs with the ids `besides` do not count, nor, with `owner`, those
    of others. Each job is read once, however many images there are.
    """
    if not image_ids:
        return set()
    mine = literal(True) if owner is None else jobs.c.owner == owner
    sought, passed, named = set(image_ids), set(besides), set[str]()
    for job_id, inputs in connection.execute(select(jobs.c.id, jobs.c.inputs).where(mine)):
        if job_id not in passed:
            named.update(sought.intersection(inputs))
    batches = select(jobs.c.id, cast(jobs.c.plan, String)).where(mine, jobs.c.rows.is_not(None))
    for job_id, plan in connection.execute(batches):
        if job_id not in passed:
            named.update(image_id for image_id in sought - named if image_id in plan)
    return named


def _keep_turns(connection: Connection, forgotten: ColumnElement[bool]) -> None:
    """Note when the jobs that are about to be deleted were last claimed (`ranking` counts it among their owner's)."""
    turns = forgotten_turns.c
    of_batches = jobs.c.parent_id.is_not(None) | jobs.c.rows.is_not(None)
    whose = (jobs.c.owner, jobs.c.lane, of_batches)
    last = select(*whose, func.max(jobs.c.claimed_at)).where(forgotten, jobs.c.claimed_at.is_not(None)).group_by(*whose)
    noted = upsert(connection, forgotten_turns).from_select(list(turns.keys()), last)
    latest = later(turns.claimed_at, noted.excluded.claimed_at)
    keys = [turns.owner, turns.lane, turns.of_batches]
    connection.execute(noted.on_conflict_do_update(index_elements=keys, set_={"claimed_at": latest}))


def _unnamed(connection: Connection, forgotten: Iterable[Row[Any]]) -> list[str]:
    """Return the keys of the files that no row names any more."""
    keys = {key for row in forgotten for key in (row.key, row.thumbnail_key, row.comparison_key) if key is not None}
    return sorted(keys - _named(connection, keys))


def _named(connection: Connection, keys: Collection[str]) -> set[str]:
    return {
        key
        for column in _KEYS
        for key in connection.scalars(select(column).where(column.in_(keys), images.c.deleted_at.is_(None)))
    }


def _show_change(connection: Connection, job_id: str | None) -> None:
    """Count up the version of an image's job, so that its watchers look again."""
    changed = update(jobs).where(jobs.c.id == job_id).values(version=jobs.c.version + 1).returning(jobs.c.parent_id)
    if (row := connection.execute(changed).one_or_none()) is not None:
        renew_version(connection, row.parent_id)
