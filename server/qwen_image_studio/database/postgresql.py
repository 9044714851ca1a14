"""PostgreSQL: how a process connects to it, and its clock.

The settings of a session are sent when a connection opens (`options`), so they cost nothing later and no transaction is
without them. PgBouncer in transaction mode lets them through only where its `ignore_startup_parameters` names
`options`, and then drops them: there they have to be settings of the role (``ALTER ROLE … SET``), and a connection on
which the one that matters most is missing is told of in the log.
"""

import logging
from typing import Any, NamedTuple

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.database.clock import Clock
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.seats import host_name

_log = logging.getLogger(__name__)

POOL_TIMEOUT_S = 3.0
"""Longest wait for a connection of this process, in seconds."""
_CONNECT_TIMEOUT_S = 5
_STATEMENT_MS = 30_000
"""Longest time of a statement, in milliseconds; a migration has no limit."""
LOCK_MS = 5_000
"""Longest wait for a lock, in milliseconds."""
_IDLE_MS = 15_000
"""Longest pause within a transaction, in milliseconds, where the lease is not shorter: a process that is frozen or cut
off must not keep a job's row locked for longer than its lease."""
_SILENCE_S = 10
_PROBES = 3
"""Silence in seconds after which the other side is probed, and how often, before a connection counts as broken."""
_PREPARE = "prepare_threshold"
"""Parameter of the URL with which no statement is kept on the server: PgBouncer before 1.22 loses it there.
Planning a claim anew costs the server 10 ms each time."""
_TIME = "SELECT extract(epoch FROM clock_timestamp())::float8"
_MIGRATION_LOCK = 0x51495332
"""Number of the advisory lock under which one process migrates: 'QIS2'."""
_TURN = text("SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' ' || :what, 0))")


class Pool(NamedTuple):
    """How many connections a process keeps, and how many more it opens for a moment."""

    kept: int
    more: int


POOLS = {
    # The threads that look things up and those that read files, and a third of those with a body, which mostly wait for
    # a decoder or an address (`system.threads`).
    "web": Pool(8, 24),
    "worker": Pool(3, 2),  # the painting thread, the keeper, the reporter; the finisher and its keeper
    "light": Pool(4, 12),  # and the lines of the sender
}
"""By the kind of process; others need two."""
_FEW = Pool(1, 1)


def connect_postgresql(url: URL, settings: Settings, kind: str, **options: Any) -> Engine:
    """Return an engine for a PostgreSQL database, for a process of a kind of `POOLS` or another, with more `options` of
    SQLAlchemy's. Raises CannotServe where psycopg is not installed.
    """
    kept, more = POOLS.get(kind, _FEW)
    try:
        engine = create_engine(
            url.difference_update_query([_PREPARE]),
            pool_size=kept,
            max_overflow=more,
            pool_timeout=POOL_TIMEOUT_S,
            pool_pre_ping=True,
            pool_use_lifo=True,  # so that what a rush has opened is closed again
            connect_args=_arguments(url, settings, kind),
            **options,
        )
    except ModuleNotFoundError as error:
        raise CannotServe(
            "STUDIO_DATABASE_URL names PostgreSQL, for which psycopg is missing; install it: "
            "pip install 'qwen-image-studio[postgresql]'."
        ) from error
    idle_ms = _idle_ms(settings)
    event.listen(engine, "connect", lambda connection, _: _check_session(connection, idle_ms))
    return engine


def _arguments(url: URL, settings: Settings, kind: str) -> dict[str, Any]:
    """Return the arguments of psycopg's `connect`, beside those of the URL."""
    session = {
        "statement_timeout": _STATEMENT_MS,
        "lock_timeout": LOCK_MS,
        "idle_in_transaction_session_timeout": _idle_ms(settings),
        "jit": "off",  # it compiles for longer than these statements run
        "plan_cache_mode": "force_generic_plan",  # else a claim of few jobs is planned anew each time, for 10 ms
        "tcp_keepalives_idle": _SILENCE_S,
        "tcp_keepalives_interval": _SILENCE_S,
        "tcp_keepalives_count": _PROBES,
    }
    of_url = url.query.get("options", "")
    own = " ".join(f"-c {name}={value}" for name, value in session.items())
    host = host_name(settings.worker_name)
    arguments: dict[str, Any] = {
        "options": f"{own} {of_url if isinstance(of_url, str) else ' '.join(of_url)}".strip(),
        "application_name": f"studio {kind} {host}"[:63],
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "keepalives_idle": _SILENCE_S,
        "keepalives_interval": _SILENCE_S,
        "keepalives_count": _PROBES,
        "tcp_user_timeout": _SILENCE_S * _PROBES * 1000,
    }
    # What an operator writes into the URL goes before.
    arguments = {name: value for name, value in arguments.items() if name == "options" or name not in url.query}
    if _PREPARE in url.query:
        arguments[_PREPARE] = None  # 0, none: whatever it is, nothing is kept on the server
    return arguments


def _idle_ms(settings: Settings) -> int:
    return min(_IDLE_MS, int(settings.lease_s * 500))


def _check_session(connection: DBAPIConnection, idle_ms: int) -> None:
    """Tell of a session that may keep a row locked for longer than a lease."""
    cursor = connection.cursor()
    cursor.execute("SELECT setting::int FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'")
    [limit_ms] = cursor.fetchone() or [0]
    cursor.close()
    connection.commit()
    if not 0 < limit_ms <= idle_ms:
        _log.warning(
            "the database did not take the settings of this session; where PgBouncer is between, set them for the "
            "role: ALTER ROLE NAME SET idle_in_transaction_session_timeout = %d; docs/machines.md lists them", idle_ms
        )  # fmt: skip


def measure(clock: Clock, connection: Connection) -> None:
    """Note the server's time."""
    clock.measure(lambda: float(connection.exec_driver_sql(_TIME).scalar_one()))


def lift_limits(connection: Connection) -> None:
    """Lift the limits on how long a statement and a pause may take, until the transaction ends; SQLite has none."""
    if connection.dialect.name == "postgresql":
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {name} = 0")


def lock_for_migration(connection: Connection) -> None:
    """Wait until no other process migrates, and keep it so until the transaction ends, however long that takes."""
    lift_limits(connection)
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK}, hashtext(current_schema()))")


def take_turn(connection: Connection, what: str) -> None:
    """Wait for the transactions before that take turns at the same thing, and be one of them until this one ends. In
    SQLite all that write take turns anyway.

    It is to be the first lock of a transaction, or one for which nobody waits who holds what this one still needs.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_TURN, {"what": what})
