"""The ranking of jobs: the claim and the places in the queue that people see, each one SQL text.

Turns are taken on four levels, and on each goes first what was served longest ago: the owners of a lane; the persons of
an owner, of whom the empty one has all jobs without a `user`; of a person the ordinary jobs and the batches; and the
batches among themselves. So an owner with fifty persons gets what an owner with one gets, and whoever comes anew waits
for one job at most, whatever the others of his level have queued.

A *party* is what takes a turn at last: all ordinary jobs of one person (the column `party` is empty), or one batch with
its rows (`party` is the batch's id). When it was served stands in `turns`, beside it under marks of `states` when any
batch of the person was, any job of the person, and any of the owner. So neither text looks at jobs that have ended, and
both read what waits from an index that holds nothing else.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, String, bindparam, text

from qwen_image_studio.contract.words import Lane, State
from qwen_image_studio.jobs.retries import LONGEST_REST_S
from qwen_image_studio.jobs.states import FEW_ROWS
from qwen_image_studio.planning.plan import Variant

HAS_WORK = text(
    """
    SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'queued' AND rows IS NULL AND lane = :lane)
        OR EXISTS (SELECT 1 FROM jobs WHERE state = 'queued' AND rows IS NOT NULL AND lane = :lane)
        OR EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND leased_until < :now)
    """
)
"""Whether a claim may find anything: an idle worker asks this, and writes nothing while no batch is under way."""

# What jobs are sorted by, level by level, and the joins that it comes from. Who was never served goes in the order of
# arrival, an ordinary job before a row.
_TURN = """
    COALESCE(of_owner.served_at, 0), COALESCE(of_person.served_at, 0), COALESCE(of_kind.served_at, 0),
    {job}.party <> '', COALESCE(its_own.served_at, 0), {job}.seq
"""
_TURNS = """
    LEFT JOIN turns AS of_owner
        ON of_owner.lane = {lane} AND of_owner.owner = {job}.owner
        AND of_owner.person = '' AND of_owner.party = '***' AND of_owner.served_at <= :now
    LEFT JOIN turns AS of_person
        ON of_person.lane = {lane} AND of_person.owner = {job}.owner AND of_person.person = {job}.person
        AND of_person.party = '**' AND of_person.served_at <= :now
    LEFT JOIN turns AS of_kind
        ON of_kind.lane = {lane} AND of_kind.owner = {job}.owner AND of_kind.person = {job}.person
        AND of_kind.party = CASE WHEN {job}.party = '' THEN '' ELSE '*' END AND of_kind.served_at <= :now
    LEFT JOIN turns AS its_own
        ON its_own.lane = {lane} AND its_own.owner = {job}.owner AND its_own.person = {job}.person
        AND its_own.party = {job}.party AND its_own.served_at <= :now
"""

# A job that rests before its next attempt is passed over; if for long, the clock was set back since.
_READY = f"""
    state = 'queued' AND rows IS NULL AND lane = :lane
    AND (not_before IS NULL OR not_before <= :now OR not_before > :now + {LONGEST_REST_S})
""".strip()

# Of each party only the oldest job of each variant can be the next one. The recursion finds these heads one after the
# other: each step looks into the index `jobs_waiting` for the party's next variant, else the person's next party, else
# the owner's next person, else the next owner, so its cost grows with the number of parties and not with the number of
# jobs. A batch is a head itself while it wants to make more rows, or when all its rows have ended or wait for
# reviewers, who keep nothing up.
#
# States are literal where the index that holds only those rows is meant, and parameters where rows are found otherwise:
# PostgreSQL takes such an index for empty as long as its statistics are of an idle hour, and would read all that waits
# for each batch.
#
# The loaded variant goes before all turns, after it variants with the same weights (other tiers and LoRAs), and then
# the same model in another precision, which has its text encoder in common, and on some devices even its weights:
# swapping 40 GB costs more than a picture. But a party's job that has waited since `:since`, while its variant has not
# painted for the party, is as good as loaded (`paintings`).
_NEXT = f"""
    WITH RECURSIVE heads (seq) AS (
        SELECT seq FROM (
            SELECT seq FROM jobs
            WHERE {_READY}
            ORDER BY owner, person, party, variant, seq LIMIT 1
        ) AS first
        UNION ALL
        SELECT COALESCE(
            (
                SELECT seq FROM jobs WHERE {_READY}
                    AND owner = head.owner AND person = head.person AND party = head.party AND variant > head.variant
                ORDER BY variant, seq LIMIT 1
            ), (
                SELECT seq FROM jobs WHERE {_READY}
                    AND owner = head.owner AND person = head.person AND party > head.party
                ORDER BY party, variant, seq LIMIT 1
            ), (
                SELECT seq FROM jobs WHERE {_READY}
                    AND owner = head.owner AND person > head.person
                ORDER BY person, party, variant, seq LIMIT 1
            ), (
                SELECT seq FROM jobs WHERE {_READY}
                    AND owner > head.owner
                ORDER BY owner, person, party, variant, seq LIMIT 1
            )
        )
        FROM heads JOIN jobs AS head ON head.seq = heads.seq
    ),
    batches (seq) AS (
        SELECT batch.seq FROM jobs AS batch
        WHERE batch.state = 'queued' AND batch.rows IS NOT NULL AND batch.lane = :lane AND (
            NOT EXISTS (
                SELECT 1 FROM jobs AS made
                WHERE made.parent_id = batch.id AND made.state IN (:queued, :running)
            )
            OR (SELECT COALESCE(MAX(made."row"), -1) + 1 FROM jobs AS made WHERE made.parent_id = batch.id) < batch.rows
            AND :few_rows > (
                SELECT COUNT(*) FROM jobs AS made
                WHERE made.parent_id = batch.id AND made.state IN (:queued, :running)
            )
        )
    )
    SELECT head.seq, head.variant
    FROM (SELECT seq FROM heads UNION ALL SELECT seq FROM batches) AS first
    JOIN jobs AS head ON head.seq = first.seq
    {_TURNS.format(job="head", lane=":lane")}
    LEFT JOIN paintings AS painted
        ON painted.owner = head.owner AND painted.person = head.person AND painted.party = head.party
        AND painted.variant = head.variant AND painted.painted_at <= :now
    WHERE head.state = :queued AND (
        :lane <> 'paint' OR (head.model IN :models AND head.variant NOT IN :left)
    )
    ORDER BY
        CASE
            WHEN :loaded = '' OR head.variant = :loaded THEN 0
            WHEN head.created_at < :since AND COALESCE(painted.painted_at, 0) < :since THEN 0
            WHEN head.weights = :weights THEN 1
            WHEN head.model = :model THEN 2
            ELSE 3
        END,
        {_TURN.format(job="head")}
    LIMIT 1
"""  # noqa: S608 - our own texts
# PostgreSQL has to know the type of an empty list, which is that of the light worker.
_LISTS = [bindparam(name, expanding=True, type_=String) for name in ("models", "left")]
NEXT = text(_NEXT).bindparams(*_LISTS)
"""The number (`seq`) and the variant of the job that a worker of a lane goes on with."""
# Several workers that rank at the same moment find the same job: each passes over what another is about to claim, and
# locks the first one that is left. Where somebody is about to claim the first job of every party, the next one of the
# party whose turn it is will do.
_FREE = text(f"{_NEXT} FOR UPDATE OF head SKIP LOCKED").bindparams(*_LISTS)
_BEHIND = text(
    f"""
    SELECT seq, variant FROM jobs
    WHERE {_READY}
        AND (owner, person, party, variant) = (SELECT owner, person, party, variant FROM jobs WHERE seq = :seq)
    ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED
    """  # noqa: S608 - our own text
)

# On each level there are streams that are served in turns: the parties of a kind (batches, or the ordinary jobs alone),
# the kinds of a person, the persons of an owner, the owners of a lane. The third job of a stream has before it the
# first two of every other stream of its level, and the third of those whose turn comes before that of its own. That is
# its place in the stream of the next level, whose turn is that of the first of its parties. So parties are counted and
# sorted once, and jobs never. `seq + 0` keeps SQLite from counting in the index of all jobs of the owner, past ones
# too. What is loaded, who rests, and that batches make rows in between, is left out: nobody could foresee it.
_STREAM = ("lane", "owner", "person", "kind", "party")


def _merged(level: int) -> str:
    """Return the tables of one level: its `streams`, named by so many columns, and the `places` in the next level."""
    names, below = _STREAM[:level], f"places_{level + 1}"
    kept = ", ".join(f"sought.{name}" for name in ["id", *names])
    own, others = (
        " AND ".join(f"{stream}.{name} = sought.{name}" for name in of)
        for stream, of in (("own", names), ("other", names[:-1]))
    )
    return f"""
    streams_{level} AS MATERIALIZED (
        SELECT {", ".join(names)}, SUM(number) AS number, MIN(turn) AS turn FROM parties GROUP BY {", ".join(names)}
    ),
    places_{level} AS MATERIALIZED (
        SELECT {kept}, SUM(
            CASE
                WHEN other.number < sought.place THEN other.number
                WHEN other.turn <= own.turn THEN sought.place
                ELSE sought.place - 1
            END
        ) AS place
        FROM {below} AS sought
        JOIN streams_{level} AS own ON {own}
        JOIN streams_{level} AS other ON {others}
        GROUP BY {kept}, sought.place
    )"""  # noqa: S608 - our own texts


_PLACES = f"""
    WITH waiting AS (
        SELECT lane, owner, person, party, COUNT(*) AS number, MIN(seq) AS seq FROM jobs
        WHERE state = 'queued' AND rows IS NULL
        GROUP BY lane, owner, person, party
    ),
    parties AS MATERIALIZED (
        SELECT waiting.*, waiting.party <> '' AS kind,
            ROW_NUMBER() OVER (ORDER BY {_TURN.format(job="waiting")}) AS turn
        FROM waiting {_TURNS.format(job="waiting", lane="waiting.lane")}
    ),
    places_6 AS MATERIALIZED (
        SELECT job.id, job.lane, job.owner, job.person, job.party <> '' AS kind, job.party, (
            SELECT COUNT(*) FROM jobs AS before
            WHERE before.state = 'queued' AND before.rows IS NULL AND before.lane = job.lane
                AND before.owner = job.owner AND before.person = job.person AND before.party = job.party
                AND before.seq + 0 <= job.seq
        ) AS place
        FROM jobs AS job
        WHERE job.id IN :ids AND job.state = :queued AND job.rows IS NULL
    ),
    {", ".join(_merged(level) for level in (5, 4, 3, 2))}
    SELECT id, place FROM places_2
"""  # noqa: S608 - our own texts
PLACES = text(_PLACES).bindparams(bindparam("ids", expanding=True))
"""The place of each of several queued jobs in its lane, from 1."""


class Next(NamedTuple):
    """The job that a worker goes on with."""

    seq: int
    """Its number."""
    variant: str
    is_free: bool = True
    """Whether nobody else is about to claim it."""


def next_job(
    connection: Connection,
    lane: Lane,
    models: Collection[str],
    loaded: Variant | None,
    since: float,
    now: float,
    left: Collection[str] = (),
    *,
    to_claim: bool = False,
) -> Next | None:
    """Return the job to go on with, in the paint lane one for `models` whose variant is not `left` to other workers;
    None where there is none. With `to_claim`, PostgreSQL locks it; where others have locked all that wait, it is not
    free, and to wait for it would keep them up: all who wait would have to look at it one by one.

    Jobs of the `loaded` variant go first, and those that have waited since `since` (Unix seconds) with them. What was
    served after `now` was served by a clock that has been set back since, and does not count.
    """
    values = {
        "lane": lane,
        "models": list(models),
        "left": list(left),
        "loaded": str(loaded or ""),
        "weights": loaded.weights if loaded else "",
        "model": loaded.model if loaded else "",
        "since": since,
        "now": now,
        "few_rows": FEW_ROWS,
        "queued": State.QUEUED,
        "running": State.RUNNING,
    }
    if not to_claim or connection.dialect.name != "postgresql":
        row = connection.execute(NEXT, values).one_or_none()
        return None if row is None else Next(row.seq, row.variant)
    if (row := connection.execute(_FREE, values).one_or_none()) is not None:
        return Next(row.seq, row.variant)
    if (first := connection.execute(NEXT, values).one_or_none()) is None:
        return None
    row = connection.execute(_BEHIND, {"lane": lane, "now": now, "seq": first.seq}).one_or_none()
    return Next(first.seq, first.variant, is_free=False) if row is None else Next(row.seq, row.variant)


def places(connection: Connection, job_ids: Collection[str], now: float) -> Mapping[str, int]:
    """Return the places of those of the jobs that are queued, by id; a batch has none. `now` is as in `next_job`."""
    values = {"ids": list(job_ids), "now": now, "queued": State.QUEUED}
    return {row.id: int(row.place) for row in connection.execute(PLACES, values)}
