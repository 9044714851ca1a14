"""What was used in a month, added up: by key, person and model."""

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select

from qwen_image_studio.contract.account import UsageGroup, UsageView
from qwen_image_studio.contract.sheets import as_csv
from qwen_image_studio.contract.words import ADJUSTED
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import usage
from qwen_image_studio.jobs.limits import month_of

_FIRST = select(func.min(usage.c.submitted_at))
_COLUMNS = {
    UsageGroup.KEY: (usage.c.owner, usage.c.key),
    UsageGroup.PERSON: (usage.c.person,),
    UsageGroup.MODEL: (usage.c.model,),
}
_SUMS = (
    func.sum(usage.c.pictures).label("pictures"),
    func.sum(usage.c.megapixel_steps).label("megapixel_steps"),
    func.sum(usage.c.device_s).label("device_s"),
)
_COST_SOMETHING = (func.sum(usage.c.pictures) > 0) | (func.sum(usage.c.device_s) > 0)


def month_named(name: str) -> float:
    """Return the begin of a month such as ``2026-11``, in Unix seconds."""
    return datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC).timestamp()


class Costs:
    """The usage of a server, added up. `now` is in Unix seconds, as in `Jobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def added_up(
        self,
        now: float,
        groups: Collection[UsageGroup],
        *,
        month: str | None = None,
        owner: str | None = None,
        key: str | None = None,
    ) -> list[UsageView]:
        """Return what was used in a month, or in each month where they are grouped by month and none is named; else in
        the current one. `owner` and `key` keep what is theirs.
        """
        with self._database.reading() as connection:
            spans = _spans(connection, now, month, all_months=UsageGroup.MONTH in groups)
            return [cost for begin in spans for cost in _within(connection, begin, groups, owner, key)]


def _spans(connection: Connection, now: float, month: str | None, *, all_months: bool) -> Iterator[float]:
    """Yield the begin of each month to look at."""
    if month is not None:
        yield month_named(month)
        return
    first = connection.scalar(_FIRST) if all_months else None
    begin = month_of(now if first is None else first)[0]
    while begin <= now:
        yield begin
        begin = month_of(begin)[1]


def _within(
    connection: Connection, begin: float, groups: Collection[UsageGroup], owner: str | None, key: str | None
) -> Iterator[UsageView]:
    columns = [column for group, own in _COLUMNS.items() if group in groups for column in own]
    query = select(*columns, *_SUMS).where(usage.c.submitted_at >= begin, usage.c.submitted_at < month_of(begin)[1])
    for column, value in ((usage.c.owner, owner), (usage.c.key, key)):
        query = query if value is None else query.where(column == value)
    month = f"{datetime.fromtimestamp(begin, UTC):%Y-%m}" if UsageGroup.MONTH in groups else None
    for row in connection.execute(query.group_by(*columns).having(_COST_SOMETHING).order_by(*columns)):
        named = row._mapping
        yield UsageView(
            month=month,
            owner=named.get("owner"),
            key=named.get("key"),
            person=named.get("person"),
            model=ADJUSTED if named.get("model") == "" else named.get("model"),
            pictures=row.pictures,
            megapixel_steps=round(row.megapixel_steps, 3),
            device_s=round(row.device_s, 3),
        )


def as_sheet(costs: Iterable[UsageView]) -> str:
    """Return costs as CSV, with a line for each."""
    return as_csv(list(UsageView.model_fields), [list(cost.model_dump().values()) for cost in costs])
