"""The bell of PostgreSQL, by LISTEN and NOTIFY: what a transaction has changed is told with its commit, or not at all.

An ear has a connection of its own, which only listens. LISTEN does not work through a pooler that hands out its
connections by transaction (PgBouncer), while NOTIFY does: an ear notices that it hears nothing, and STUDIO_BROKER_URL
can name the database's own address for ears alone.
"""

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping
from secrets import token_hex
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection, make_url, text
from sqlalchemy.engine import URL

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.database.connection import Database
from qwen_image_studio.jobs.news.identity import identity
from qwen_image_studio.jobs.news.lines import LOST, BellFailure, LineBell

_PAYLOAD_BYTES = 7900
"""Longest payload of a NOTIFY that PostgreSQL takes, with some room, in bytes."""
ECHO_S = 5.0
"""Time within which an ear has to hear its own first word, in seconds."""
_RING = "SELECT pg_notify(channel, payload){more} FROM unnest(CAST(:channels AS text[]), CAST(:payloads AS text[]))"
_RUNG = " AS rung (channel, payload)"
_DURABLE = text(_RING.format(more="") + _RUNG)
# While it is committed, a transaction with a NOTIFY holds a lock that all others with one wait for. Without the wait
# for the disk it is held for microseconds.
_PASSING = text(_RING.format(more=", set_config('synchronous_commit', 'off', true)") + _RUNG)
_KEEPALIVES = {
    "keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000,
}  # fmt: skip


class PostgresBell(LineBell):
    """A bell with a channel of the database for each topic."""

    def __init__(self, database: Database, url: str = "") -> None:
        """Ears connect to `url` where it is given, which has to lead to the same database. Raises CannotServe where
        the job store is not on PostgreSQL, and StudioError where it cannot be read.
        """
        if database.engine.dialect.name != "postgresql":
            raise CannotServe(
                "STUDIO_BROKER_URL: PostgreSQL rings for a job store that it keeps itself, and STUDIO_DATABASE_URL "
                "names none there; leave it empty, or use redis://, rediss://, amqp:// or amqps://."
            )
        self._database = database
        self._url = make_url(url).set(drivername="postgresql+psycopg") if url else database.engine.url
        self._prefix, self._echo = f"studio_{identity(database)}_", f"echo_{token_hex(6)}"
        super().__init__(f"The bell of PostgreSQL at {self._url.host or 'its socket'}")

    def ring_within(self, connection: Connection, rung: Mapping[str, Collection[str]], *, durable: bool = True) -> None:
        """Notify all who listen, once this transaction is committed."""
        payloads = [(self._prefix + topic, each) for topic, words in rung.items() for each in _payloads(words)]
        values = {"channels": [channel for channel, _ in payloads], "payloads": [payload for _, payload in payloads]}
        connection.execute(_DURABLE if durable else _PASSING, values)

    def open_ringing(self) -> "_Notifying":
        """Return what notifies in transactions of their own."""
        return _Notifying(self._database, self)

    def open_hearing(self, topics: Collection[str]) -> "_Listening":
        """Open a connection that listens to the channels, and see whether it hears. Raises BellFailure."""
        word = token_hex(6)
        line = _Listening(self._url, [self._prefix + topic for topic in topics], self._prefix + self._echo)
        try:
            self.open_ringing().send({self._echo: {word}})
            line.check(word)
        except BellFailure:
            line.close()
            raise
        return line


class _Listening:
    """A connection that listens to channels."""

    def __init__(self, url: URL, channels: Collection[str], echo: str) -> None:
        """`echo` is the channel of words that tell no more than that they came."""
        self._waiting, self._echo, self._echoes = set[str](), echo, set[str]()
        with _failures(), contextlib.ExitStack() as undo:
            self._connection = undo.enter_context(contextlib.closing(_connected(url)))
            for channel in (*channels, echo):
                self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            undo.pop_all()

    def check(self, echo: str) -> None:
        """Wait for the ear's own word. Raises BellFailure where it does not come."""
        deadline = time.monotonic() + ECHO_S
        while echo not in self._echoes:
            if time.monotonic() > deadline:
                raise BellFailure(
                    "NOTIFY does not come through; a pooler such as PgBouncer that hands out connections by "
                    "transaction cannot LISTEN: name the database's own address in STUDIO_BROKER_URL"
                )
            self._waiting |= self._heard(0.1)

    def hear(self, timeout: float) -> Collection[str]:
        words, self._waiting = self._waiting, set()
        self._echoes.clear()
        return words or self._heard(timeout)

    def _heard(self, timeout: float) -> set[str]:
        with _failures():
            found = list(self._connection.notifies(timeout=timeout, stop_after=1))
        self._echoes.update(each.payload for each in found if each.channel == self._echo)
        return {word for each in found if each.channel != self._echo for word in each.payload.split() or [LOST]}

    def close(self) -> None:
        with contextlib.suppress(psycopg.Error):
            self._connection.close()


class _Notifying:
    """A way to notify in transactions of their own, on the store's connections."""

    def __init__(self, database: Database, bell: PostgresBell) -> None:
        self._database, self._bell = database, bell

    def send(self, rung: Mapping[str, Collection[str]]) -> None:
        try:
            with self._database.writing() as connection:
                self._bell.ring_within(connection, rung, durable=False)
        except StudioError as busy:
            raise BellFailure(busy.message) from busy

    def close(self) -> None:
        pass


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (psycopg.Error, OSError) as error:
        raise BellFailure(str(error).partition("\n")[0]) from error


def _connected(url: URL) -> psycopg.Connection[Any]:
    arguments, options = url.get_dialect()().create_connect_args(url)
    options.pop("prepare_threshold", None)
    options = {"application_name": "qwen-image-studio ear", "connect_timeout": 3, **_KEEPALIVES, **options}
    return psycopg.connect(*arguments, **options, autocommit=True)


def _payloads(words: Collection[str]) -> Iterator[str]:
    """Yield the words in pieces that PostgreSQL takes; an empty one where others are lost."""
    if LOST in words:
        yield ""
        return
    piece = ""
    for word in sorted(words):
        if len(piece) + len(word) >= _PAYLOAD_BYTES:
            yield piece
            piece = ""
        piece = f"{piece} {word}" if piece else word
    if piece:
        yield piece
