"""The bell of a message broker, Redis or RabbitMQ, through kombu, the messaging library under Celery.

Every topic is a fanout: all who listen hear it, and nothing is kept for those who do not. Nothing of it lasts: what a
broker forgets or never gets costs a look at the table. So messages are neither confirmed nor acknowledged, and who
rings waits for nobody.
"""

import contextlib
import ssl
import time
from collections.abc import Collection, Iterator, Mapping
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.database.connection import Database
from qwen_image_studio.jobs.news.identity import identity
from qwen_image_studio.jobs.news.lines import LOST, BellFailure, LineBell

try:
    import redis.exceptions
    from amqp.exceptions import AMQPError
    from kombu import Connection, Consumer, Exchange, Producer, Queue
    from kombu.exceptions import KombuError
    from kombu.message import Message
except ImportError as error:
    raise CannotServe(
        "STUDIO_BROKER_URL needs libraries that are not installed: pip install 'qwen-image-studio[broker]'; "
        "or leave it empty."
    ) from error

ECHO_EVERY_S = 10.0
"""Time without a word after which an ear sends itself one, in seconds."""
ECHO_S = 5.0
"""Time within which it has to hear that one, in seconds."""
_ECHO = "echo"
TIMEOUT_S = 1.0
"""Longest wait for the broker, in seconds, when a line is opened and when a word is sent."""
_KEPT_S = 60
_KEPT_MESSAGES = 1000
_FAILURES = (
    OSError, KombuError, AMQPError, redis.exceptions.RedisError,
    AttributeError, LookupError, ValueError,  # kombu's, where a connection goes away while it is being used
)  # fmt: skip


class BrokerBell(LineBell):
    """A bell with a fanout exchange for each topic, named by the installation."""

    def __init__(self, url: str, database: Database) -> None:
        """Raises CannotServe for a URL that leads nowhere; a broker that is only away is waited for."""
        _check(url)
        self._url, self._prefix = url, f"studio-{identity(database)}-"
        super().__init__(f"The broker {_shown(url)} of STUDIO_BROKER_URL")

    def open_ringing(self) -> "_Sending":
        """Open a connection to send on. Raises BellFailure."""
        return _Sending(self._url, self._prefix)

    def open_hearing(self, topics: Collection[str]) -> "_Receiving":
        """Open a connection with a queue for each topic, which goes away with it. Raises BellFailure."""
        return _Receiving(self._url, self._prefix, topics)


class _Sending:
    """A line to the broker on which words go out."""

    def __init__(self, url: str, prefix: str) -> None:
        self._prefix = prefix
        self._connection = _connected(url)
        with _failures(self._connection):
            self._producer = Producer(self._connection.channel())

    def send(self, rung: Mapping[str, Collection[str]]) -> None:
        with _failures(self._connection):
            for topic, words in rung.items():
                exchange = _exchange(self._prefix + topic)
                _publish(self._producer, exchange, "" if LOST in words else " ".join(words))

    def close(self) -> None:
        _close(self._connection)


class _Receiving:
    """A line from the broker on which words come in. It hears its own word when it is opened, and now and then."""

    def __init__(self, url: str, prefix: str, topics: Collection[str]) -> None:
        token = token_hex(6)
        self._heard_at = time.monotonic()
        self._asked_at: float | None = None
        self._words: set[str] = set()
        self._echo = _exchange(f"{prefix}{_ECHO}-{token}", auto_delete=True)
        self._connection = _connected(url)
        with _failures(self._connection):
            channel = self._connection.channel()
            self._producer = Producer(channel)
            exchanges = [*(_exchange(prefix + topic) for topic in topics), self._echo]
            queues = [_queue(exchange, token) for exchange in exchanges]
            self._consumer = Consumer(channel, queues, no_ack=True, on_message=self._take, prefetch_count=0)
            self._consumer.consume()
        self._await_echo()

    def hear(self, timeout: float) -> Collection[str]:
        now = time.monotonic()
        if self._asked_at is None and now - self._heard_at > ECHO_EVERY_S:
            self._ask()
        elif self._asked_at is not None and now - self._asked_at > ECHO_S:
            _close(self._connection)
            raise BellFailure("it does not answer")
        self._drain(timeout)
        words, self._words = self._words, set()
        return words

    def close(self) -> None:
        _close(self._connection)

    def _await_echo(self) -> None:
        """Wait until its own word comes. Redis may not have subscribed it yet when the first one is sent."""
        deadline = time.monotonic() + ECHO_S
        self._ask()
        while self._asked_at is not None:
            if time.monotonic() > deadline:
                _close(self._connection)
                raise BellFailure("it does not answer")
            if not self._drain(0.2):
                self._ask()

    def _ask(self) -> None:
        self._asked_at = time.monotonic()
        with _failures(self._connection):
            _publish(self._producer, self._echo, _ECHO)

    def _drain(self, timeout: float) -> bool:
        """Take what comes; return whether anything did."""
        with _failures(self._connection):
            try:
                self._connection.drain_events(timeout=timeout)
            except TimeoutError:
                return False
        return True

    def _take(self, message: Message) -> None:
        body = message.body.decode() if isinstance(message.body, bytes) else str(message.body)
        self._heard_at = time.monotonic()
        if body == _ECHO:
            self._asked_at = None
        else:
            self._words.update(body.split() or [LOST])


def _exchange(name: str, *, auto_delete: bool = False) -> Exchange:
    return Exchange(name, type="fanout", durable=False, auto_delete=auto_delete, delivery_mode=1)


def _queue(exchange: Exchange, token: str) -> Queue:
    return Queue(
        f"{exchange.name}.{token}",
        exchange,
        durable=False,
        exclusive=True,
        auto_delete=True,
        message_ttl=_KEPT_S,
        expires=_KEPT_S,
        max_length=_KEPT_MESSAGES,
    )


def _publish(producer: Producer, exchange: Exchange, body: str) -> None:
    producer.publish(
        body, exchange=exchange, declare=[exchange], retry=False, delivery_mode=1,
        content_type="text/plain", content_encoding="utf-8",
    )  # fmt: skip


def _connected(url: str) -> Connection:
    """Return an open connection. Raises BellFailure."""
    if urlsplit(url).scheme.startswith("redis"):
        options = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "socket_keepalive": True}
    else:
        options = {"read_timeout": TIMEOUT_S, "write_timeout": TIMEOUT_S}
    more: dict[str, Any] = {}
    if url.startswith("rediss:") and "ssl_" not in url:
        more["ssl"] = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    with _failures(None):
        connection = Connection(url, connect_timeout=TIMEOUT_S, heartbeat=0, transport_options=options, **more)
    with _failures(connection):
        connection.ensure_connection(max_retries=1, interval_start=0)
    return connection


def _close(connection: Connection) -> None:
    with contextlib.suppress(BellFailure), _failures(None):
        connection.release()


@contextlib.contextmanager
def _failures(connection: Connection | None) -> Iterator[None]:
    """Raise BellFailure for whatever goes wrong with a connection, and close it."""
    try:
        yield
    except _FAILURES as error:
        if connection is not None:
            _close(connection)
        raise BellFailure(f"{type(error).__name__}: {error}".partition("\n")[0]) from error


def _check(url: str) -> None:
    """Raise CannotServe for a URL that no broker can be reached by; several are divided by semicolons."""
    for each in url.split(";"):
        try:
            parts = urlsplit(each)
            is_right = bool(parts.hostname) and (parts.port is None or parts.port > 0)
            if parts.scheme.startswith("redis") and parts.path.strip("/"):
                int(parts.path.strip("/"))
        except ValueError:
            is_right = False
        if not is_right:
            raise CannotServe(
                f"STUDIO_BROKER_URL: {_shown(each)} is no address of a broker; write it as redis://HOST:6379/0 or "
                "amqp://NAME:PASSWORD@HOST:5672/VHOST, with reserved characters of a password as %XX."
            )


def _shown(url: str) -> str:
    """Return the URL's scheme and what stands behind its name and password. Where the host is missing, the password
    stands in the place of a port.
    """
    scheme, _, rest = url.partition("://")
    _, has_password, place = rest.partition("?")[0].rpartition("@")
    host, slash, path = place.partition("/")
    _, colon, port = host.rpartition("]")[2].partition(":")
    if not has_password and colon and not port.isdecimal():
        host = f"{host.removesuffix(port)}***"
    return f"{scheme}://{host}{slash}{path}"
