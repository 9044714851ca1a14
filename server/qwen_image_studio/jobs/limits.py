"""Limits of keys and their people, counted from the table `usage` in the transaction that adds a job."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, Label, Select, Subquery, bindparam, func, select, union_all

from qwen_image_studio.contract.caller import Caller, person_of
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.database.connection import Database, take_turn
from qwen_image_studio.database.tables import shares, usage
from qwen_image_studio.jobs.states import NewJob

MINUTE_S, DAY_S = 60.0, 86400.0
_JOBS_PAUSE_S = 5
"""Seconds after which to try again where too many jobs are open: nobody knows when one ends."""
_SETTLING_S = 600.0
"""Time after the end of a day in which a submit of it may still be written, in seconds."""
_MINUTE, _AT_ONCE, _DAY, _MONTH = "requests_per_minute", "jobs_at_once", "images_per_day", "images_per_month"
_SPANS = {_DAY: "a day", _MONTH: "a month"}


@dataclass(frozen=True)
class Use:
    """One limit of a key, or of each of its persons, and how much of it is used."""

    name: str
    """Its name in `Limits`."""
    of_person: bool
    limit: int | None
    used: int
    resets_at: float | None
    """When it is free again, or for a minute when its oldest submit leaves it; in Unix seconds. None for jobs at
    once."""
    window_s: float | None
    """Length of what is counted, in seconds; None for jobs at once."""

    @property
    def left(self) -> int | None:
        """Return what is left; None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.used)


class Allowance:
    """What keys and people may use, and have used. `now` is in Unix seconds, as in `Jobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._past: dict[str, tuple[float, float, int]] = {}
        """Images that a key made in the days of a month that are over, after their begin and their end."""

    def take_turn(self, connection: Connection, key: str | None, limits: KeyLimits) -> None:
        """Let no other submit of the key be counted until the transaction ends, where there is anything to count."""
        if limits.counts:
            take_turn(connection, f"limits of {key or ''}")

    def check(self, connection: Connection, new: NewJob, limits: KeyLimits, now: float, *, paints: bool = True) -> None:
        """Raise StudioError ``rate_limited`` or ``quota_exceeded`` where the job would be beyond a limit. One that
        `paints` nothing ends at once, and counts as a request alone.
        """
        for use in self._uses(connection, new.key, person_of(new.user), limits, now) if limits.counts else ():
            if not paints and use.name != _MINUTE:
                continue
            asked = new.images if use.name in _SPANS else 1
            if use.limit is not None and use.used + asked > use.limit:
                raise _refused(use, asked, new, now)

    def uses(self, caller: Caller, person: str | None, now: float, *, with_free: bool = False) -> list[Use]:
        """Return how much is used of the limits of the caller's key, and of those of a person of it; `with_free` also
        of what has no limit.
        """
        with self._database.reading() as connection:
            return list(self._uses(connection, caller.key, person, caller.limits, now, with_free=with_free))

    def _uses(
        self,
        connection: Connection,
        key: str | None,
        person: str | None,
        limits: KeyLimits,
        now: float,
        *,
        with_free: bool = False,
    ) -> Iterator[Use]:
        both = [(limits.key, False), *([] if person is None else [(limits.person, True)])]
        of_both = [_Asked(name, of_person, getattr(one, name)) for one, of_person in both for name in Limits.COUNTED]
        asked = [each for each in of_both if with_free or each.limit is not None]
        day, month = day_of(now), month_of(now)
        begins = {"minute": now - MINUTE_S, "soon": now + MINUTE_S, **_both(_DAY, day[0]), **_both(_MONTH, month[0])}
        past = 0
        if any(each.label == _MONTH for each in asked):
            past, begins[_MONTH] = self._of_past_days(connection, key or "", month[0], now)
        statement = _statement(tuple(each[:2] for each in asked))
        row = connection.execute(statement, {"key": key or "", "person": person, **begins}).one()._mapping
        for each in asked:
            spans = {_DAY: day, _MONTH: month, _MINUTE: _minute_of(row.get(f"{each.label}_first"), now)}
            begin, end = spans.get(each.name, (0.0, None))
            used = row[each.label] + (past if each.label == _MONTH else 0)
            yield Use(*each, used, end, None if end is None else end - begin)

    def _of_past_days(self, connection: Connection, key: str, month: float, now: float) -> tuple[int, float]:
        """Return the images of this month's days that are over, and their end. They are added up once a day, since a
        month of a busy key is long; where a job of theirs goes on, none of them counts as over.
        """
        today = max(month, day_of(now - _SETTLING_S)[0])
        days = {"key": key, "begin": month, "end": today}
        if connection.execute(_GOING_ON, days).first() is not None:
            return 0, month
        if (known := self._past.get(key)) is None or known[:2] != (month, today):
            known = self._past[key] = (month, today, connection.scalar(_PAST, days) or 0)
        return known[2], today


# -- counting ------------------------------------------------------------------------------------------------------


def day_of(now: float) -> tuple[float, float]:
    """Return begin and end of a day in UTC, in Unix seconds."""
    begin = now - now % DAY_S
    return begin, begin + DAY_S


def month_of(now: float) -> tuple[float, float]:
    """Return begin and end of a month in UTC, in Unix seconds."""
    begin = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return begin.timestamp(), (begin + timedelta(days=31)).replace(day=1).timestamp()


def _minute_of(first: float | None, now: float) -> tuple[float, float]:
    """Return begin and end of the minute that began with the first submit within it."""
    begin = now if first is None else first
    return begin, begin + MINUTE_S


class _Asked(NamedTuple):
    """A limit that is asked for."""

    name: str
    of_person: bool
    limit: int | None

    @property
    def label(self) -> str:
        """Return its name among those of the key and of a person."""
        return _label(self.name, self.of_person)


def _label(name: str, of_person: bool) -> str:
    return f"{name}_of_person" if of_person else name


def _both(name: str, value: float) -> dict[str, float]:
    return {_label(name, of_person): value for of_person in (False, True)}


_OF_KEY = (usage.c.key == bindparam("key"), usage.c.parent_id.is_(None))
_OF_PERSON = (*_OF_KEY, usage.c.person == bindparam("person"))
_OPEN = usage.c.ended_at.is_(None)
_IMAGES = select(func.coalesce(func.sum(usage.c.images), 0))
_PAST = _IMAGES.where(*_OF_KEY, usage.c.submitted_at >= bindparam("begin"), usage.c.submitted_at < bindparam("end"))
_GOING_ON = select(usage.c.job_id).where(*_OF_KEY, _OPEN, usage.c.submitted_at + 0 < bindparam("end")).limit(1)
"""With a sum, since SQLite would otherwise go through all that the key had before that time."""


@cache
def _statement(asked: tuple[tuple[str, bool], ...]) -> Select[Any]:
    """Return one statement that counts all that is asked for."""
    return select(*(column for name, of_person in asked for column in _columns(name, of_person)))


def _columns(name: str, of_person: bool) -> Iterator[Label[Any]]:
    whose, label = (_OF_PERSON if of_person else _OF_KEY), _label(name, of_person)
    if name in _SPANS:
        query = _IMAGES.where(*whose, usage.c.submitted_at >= bindparam(label))
    elif name == _AT_ONCE:
        query = select(func.count()).where(*whose, _OPEN)
    else:
        submits = _of_minute(of_person)
        query = select(func.count()).select_from(submits)
        yield select(func.min(submits.c.at)).scalar_subquery().label(f"{label}_first")
    yield query.scalar_subquery().label(label)


def _of_minute(of_person: bool) -> Subquery:
    """Return when each submit within a minute came: those with a job of their own, and those that share one."""
    sharing = [shares.c.key == bindparam("key"), *([shares.c.person == bindparam("person")] if of_person else [])]

    def within(time: Column[Any], whose: Sequence[ColumnElement[bool]]) -> Select[Any]:
        # What is later than that was submitted before the clock was set back.
        return select(time.label("at")).where(*whose, time > bindparam("minute"), time < bindparam("soon"))

    owned = within(usage.c.submitted_at, _OF_PERSON if of_person else _OF_KEY)
    return union_all(owned, within(shares.c.created_at, sharing)).subquery("submits")


# -- refusing ------------------------------------------------------------------------------------------------------


def _refused(use: Use, asked: int, new: NewJob, now: float) -> StudioError:
    key = f"API key '{new.key}'" if new.guest is None else "owner of this link"
    who = f"{'Each person of the' if use.of_person else 'The'} {key}"
    wait_s = _JOBS_PAUSE_S if use.resets_at is None else max(1, math.ceil(use.resets_at - now))
    code = "quota_exceeded" if use.name in _SPANS else "rate_limited"
    message = f"{who} {_said(use, asked, wait_s)}"
    return StudioError(code, message, param="user" if use.of_person else None, retry_after=wait_s)


def _said(use: Use, asked: int, wait_s: int) -> str:
    """Return what may be used, and what to do."""
    if use.resets_at is None:
        return f"may have {use.limit} jobs at once, and {use.used} have not ended. Wait for one to end, or cancel one."
    if use.name not in _SPANS:
        return f"may submit {use.limit} jobs a minute, and has. Send it again in {wait_s} seconds."
    until = f"{datetime.fromtimestamp(use.resets_at, UTC):%Y-%m-%d %H:%M} UTC"
    has = f"may make {use.limit} images {_SPANS[use.name]}, of which {use.left} are left; this asks for {asked}."
    return f"{has} Ask for fewer, again after {until}, or the operator for more."
