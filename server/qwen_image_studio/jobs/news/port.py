"""The port: the topics and words that are rung, and what every bell and ear promises."""

from collections.abc import Collection, Mapping
from typing import Protocol, runtime_checkable

from sqlalchemy import Connection

from qwen_image_studio.contract.words import Lane

JOBS = "jobs"
CANCELS = "cancels"
DELIVERIES = "deliveries"
DUE = "due"
QUEUE = "queue"
"""The word under JOBS that places in the queue have changed."""
DEAF_LOOK_S = 1.0
"""Time between two looks at the table of one whom no words reach, in seconds."""
HEARING_LOOK_S = 5.0
"""The same of one whom they reach over a network, where a word may still be lost."""


def work(lane: Lane) -> str:
    """Return the topic under which new work for a lane is rung."""
    return f"work-{lane}"


class Ear(Protocol):
    """What one process has of a bell, to be used by one thread; only its attributes may be read by others."""

    @property
    def look_s(self) -> float:
        """Longest time for which its owner may go without a look at the table, in seconds."""

    @property
    def spread_s(self) -> float:
        """Longest pause to be drawn by lot before a look that a word asked for, in seconds; all who heard it look."""

    def wait(self, timeout: float) -> frozenset[str]:
        """Wait for words, for `timeout` seconds at most, and return those that were rung since the last call. Without
        any, the time is up, or words may have been lost: look at everything.
        """

    def close(self) -> None:
        """Stop listening."""


class Bell(Protocol):
    """The words between the processes of one server. Its methods may be called from many threads at once."""

    def ring(self, topic: str, words: Collection[str]) -> None:
        """Tell all who listen to the topic. It never waits and never raises."""

    def listen(self, *topics: str) -> Ear:
        """Listen to topics from now on. Never raises: an ear that cannot hear yet tries again by itself."""

    def close(self) -> None:
        """Send what has been rung but not sent yet, for a second at most, and close all ears."""


@runtime_checkable
class TransactionalBell(Protocol):
    """A bell that can ring as part of a transaction: its words go out with the commit, and with no other one."""

    def ring_within(self, connection: Connection, rung: Mapping[str, Collection[str]], *, durable: bool = True) -> None:
        """Ring words under topics when the connection's transaction is committed. Without `durable` the commit may be
        lost to a crash of the database within a second; it then costs others less time.

        Raises what the database raises.
        """
