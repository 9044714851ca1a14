"""The ranking of jobs: the claim and the places in the queue that people see, each one SQL text.

A *party* is what takes turns in a lane: all ordinary jobs of one owner (the column `party` is empty), or one batch with
its rows (`party` is the batch's id). Owners take turns, and an owner's batches take turns with the owner's other jobs:
the first job of every party comes before the second of any. Among the first ones goes the owner who was served longest
ago, an ordinary job before a row, and the batch that was served longest ago.

When a party was served stands in `turns`, and under the party ``*`` when any batch of the owner was. So neither text
looks at jobs that have ended, and both read what waits from an index that holds nothing else.
"""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, String, bindparam, text

from qwen_image_studio.contract.words import Lane
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

# Of each party only the oldest job of each variant can be the next one. The recursion finds these heads one after the
# other: each step looks into the index `jobs_waiting` for the party's next variant, else the owner's next party, else
# the next owner, so its cost grows with the number of parties and not with the number of jobs. A batch is a head itself
# while it wants to make more rows, or when all its rows have ended.
#
# The loaded variant goes before all turns, and after it variants with the same weights, since swapping 40 GB costs more
# than a picture. But a party's job that has waited since `:since`, while its variant has not painted for the party, is
# as good as loaded (`paintings`).
_NEXT = """
    WITH RECURSIVE heads (seq) AS (
        SELECT seq FROM (
            SELECT seq FROM jobs
            WHERE state = 'queued' AND rows IS NULL AND lane = :lane
            ORDER BY owner, party, variant, seq LIMIT 1
        ) AS first
        UNION ALL
        SELECT COALESCE(
            (
                SELECT seq FROM jobs WHERE state = 'queued' AND rows IS NULL AND lane = :lane
                    AND owner = head.owner AND party = head.party AND variant > head.variant
                ORDER BY variant, seq LIMIT 1
            ), (
                SELECT seq FROM jobs WHERE state = 'queued' AND rows IS NULL AND lane = :lane
                    AND owner = head.owner AND party > head.party
                ORDER BY party, variant, seq LIMIT 1
            ), (
                SELECT seq FROM jobs WHERE state = 'queued' AND rows IS NULL AND lane = :lane
                    AND owner > head.owner
                ORDER BY owner, party, variant, seq LIMIT 1
            )
        )
        FROM heads JOIN jobs AS head ON head.seq = heads.seq
    ),
    batches (seq) AS (
        SELECT batch.seq FROM jobs AS batch
        WHERE batch.state = 'queued' AND batch.rows IS NOT NULL AND batch.lane = :lane AND (
            NOT EXISTS (
                SELECT 1 FROM jobs AS made
                WHERE made.parent_id = batch.id AND made.state IN ('queued', 'running', 'review')
            )
            OR (SELECT COALESCE(MAX(made."row"), -1) + 1 FROM jobs AS made WHERE made.parent_id = batch.id) < batch.rows
            AND :few_rows > (
                SELECT COUNT(*) FROM jobs AS made
                WHERE made.parent_id = batch.id AND made.state IN ('queued', 'running', 'review')
            )
        )
    )
    SELECT head.seq
    FROM (SELECT seq FROM heads UNION ALL SELECT seq FROM batches) AS first
    JOIN jobs AS head ON head.seq = first.seq
    LEFT JOIN turns AS its_own
        ON its_own.lane = :lane AND its_own.owner = head.owner AND its_own.party = head.party
        AND its_own.served_at <= :now
    LEFT JOIN turns AS of_owner
        ON of_owner.lane = :lane AND of_owner.owner = head.owner
        AND of_owner.party = CASE WHEN head.party = '' THEN '' ELSE '*' END
        AND of_owner.served_at <= :now
    LEFT JOIN paintings AS painted
        ON painted.owner = head.owner AND painted.party = head.party AND painted.variant = head.variant
        AND painted.painted_at <= :now
    WHERE :lane <> 'paint' OR head.model IN :models
    ORDER BY
        CASE
            WHEN :loaded = '' OR head.variant = :loaded THEN 0
            WHEN head.created_at < :since AND COALESCE(painted.painted_at, 0) < :since THEN 0
            WHEN head.weights = :weights THEN 1
            ELSE 2
        END,
        COALESCE(of_owner.served_at, 0), head.party <> '', COALESCE(its_own.served_at, 0), head.seq
    LIMIT 1
"""
# PostgreSQL has to know the type of an empty list, which is that of the light worker.
NEXT = text(_NEXT).bindparams(bindparam("models", expanding=True, type_=String))
"""The number (`seq`) of the job that a worker of a lane goes on with."""

# A job that is the third of its party has before it the first two of every other party, and the third of those parties
# whose turn comes before its own. So parties are counted once, places follow from the counts, and nothing is sorted.
# `seq + 0` keeps SQLite from counting in the index of all jobs of the owner, past ones too. What is loaded, and that
# batches make rows in between, is left out: nobody could foresee it.
_PLACES = """
    WITH waiting AS (
        SELECT lane, owner, party, COUNT(*) AS number, MIN(seq) AS seq FROM jobs
        WHERE state = 'queued' AND rows IS NULL
        GROUP BY lane, owner, party
    ),
    parties AS MATERIALIZED (
        SELECT waiting.*, COALESCE(of_owner.served_at, 0) AS of_owner, COALESCE(its_own.served_at, 0) AS its_own
        FROM waiting
        LEFT JOIN turns AS its_own
            ON its_own.lane = waiting.lane AND its_own.owner = waiting.owner AND its_own.party = waiting.party
        LEFT JOIN turns AS of_owner
            ON of_owner.lane = waiting.lane AND of_owner.owner = waiting.owner
            AND of_owner.party = CASE WHEN waiting.party = '' THEN '' ELSE '*' END
    ),
    sought AS MATERIALIZED (
        SELECT job.id, job.lane, job.owner, job.party,
            COALESCE(of_owner.served_at, 0) AS of_owner, COALESCE(its_own.served_at, 0) AS its_own, (
                SELECT COUNT(*) FROM jobs AS before
                WHERE before.state = 'queued' AND before.rows IS NULL AND before.lane = job.lane
                    AND before.owner = job.owner AND before.party = job.party AND before.seq + 0 <= job.seq
            ) AS turn, (
                SELECT MIN(before.seq + 0) FROM jobs AS before
                WHERE before.state = 'queued' AND before.rows IS NULL AND before.lane = job.lane
                    AND before.owner = job.owner AND before.party = job.party
            ) AS seq
        FROM jobs AS job
        LEFT JOIN turns AS its_own
            ON its_own.lane = job.lane AND its_own.owner = job.owner AND its_own.party = job.party
        LEFT JOIN turns AS of_owner
            ON of_owner.lane = job.lane AND of_owner.owner = job.owner
            AND of_owner.party = CASE WHEN job.party = '' THEN '' ELSE '*' END
        WHERE job.id IN :ids AND job.state = 'queued' AND job.rows IS NULL
    )
    SELECT sought.id, SUM(
        CASE
            WHEN other.number < sought.turn THEN other.number
            WHEN (other.of_owner, other.party <> '', other.its_own, other.seq)
                <= (sought.of_owner, sought.party <> '', sought.its_own, sought.seq) THEN sought.turn
            ELSE sought.turn - 1
        END
    ) AS place
    FROM sought JOIN parties AS other ON other.lane = sought.lane
    GROUP BY sought.id
"""
PLACES = text(_PLACES).bindparams(bindparam("ids", expanding=True))
"""The place of each of several queued jobs in its lane, from 1."""


def next_job(
    connection: Connection, lane: Lane, models: Collection[str], loaded: Variant | None, since: float, now: float
) -> int | None:
    """Return the number of the job to go on with, in the paint lane one for `models`; None where there is none.

    Jobs of the `loaded` variant go first, and those that have waited since `since` (Unix seconds) with them. What was
    served after `now` was served by a clock that has been set back since, and does not count.
    """
    values = {
        "lane": lane,
        "models": list(models),
        "loaded": str(loaded or ""),
        "weights": loaded.weights if loaded else "",
        "since": since,
        "now": now,
        "few_rows": FEW_ROWS,
    }
    return connection.execute(NEXT, values).scalar()


def places(connection: Connection, job_ids: Collection[str]) -> Mapping[str, int]:
    """Return the places of those of the jobs that are queued, by id; a batch has none."""
    return {row.id: int(row.place) for row in connection.execute(PLACES, {"ids": list(job_ids)})}
