"""Bells: they tell other processes what has happened to jobs, so that nobody has to look at the table again and again.

A word is rung under a *topic*, and only those hear it who listen to that topic:

=========== ============================ ==========================================
topic       words                        who listens
=========== ============================ ==========================================
work-LANE   (the lane's name)            the workers of that lane: there is something to claim
cancels     ids of jobs                  workers: the job in hand is to stop
jobs        ids of jobs, or ``queue``    the web process: that job has changed; places in the queue have changed
deliveries  ``due``                      the sender of callbacks: a job has ended
=========== ============================ ==========================================

The table is the truth: a word that is lost costs time, and one that comes twice costs a look. So a bell never raises,
and those who listen look at the table now and then without being told (`Ear.look_s`).

========================= ==============================================================================
bell                      how it rings
========================= ==============================================================================
`pipes`                   named pipes in DATA_DIR/bells, for the processes of one machine
`postgresql`              NOTIFY within the transaction that changes the job; a LISTEN connection per ear
`broker`                  messages of Redis or RabbitMQ, sent by a thread of their own after the commit
========================= ==============================================================================
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.database.connection import Database
from qwen_image_studio.jobs.news.announcer import Announcer
from qwen_image_studio.jobs.news.pipes import Pipes
from qwen_image_studio.jobs.news.port import CANCELS, DEAF_LOOK_S, DELIVERIES, DUE, JOBS, QUEUE, Bell, Ear, work
from qwen_image_studio.settings import Settings

__all__ = [
    "BELLS", "CANCELS", "DEAF_LOOK_S", "DELIVERIES", "DUE", "JOBS", "QUEUE", "Announcer", "Bell", "Ear", "Pipes",
    "open_bell", "work",
]  # fmt: skip


def open_bell(settings: Settings, database: Database) -> Bell:
    """Open the bell that the settings name. Raises CannotServe where STUDIO_BROKER_URL names no known one."""
    scheme = urlsplit(settings.broker_url).scheme if settings.broker_url else ""
    if scheme not in BELLS or (settings.broker_url and not scheme):
        known = ", ".join(f"{name}://" for name in BELLS if name and "+" not in name)
        raise CannotServe(f"STUDIO_BROKER_URL: there is no bell of the kind '{scheme}'; leave it empty or use {known}.")
    return BELLS[scheme](settings, database)


def _open_own(settings: Settings, database: Database) -> Bell:
    """Open the bell that needs nothing but what is there: the job store's database, else pipes."""
    if database.engine.dialect.name == "postgresql":
        return _open_postgresql(settings, database)
    return Pipes(settings.data_dir.resolve() / "bells")


def _open_postgresql(settings: Settings, database: Database) -> Bell:
    from qwen_image_studio.jobs.news.postgresql import PostgresBell

    return PostgresBell(database, settings.broker_url)


def _open_broker(settings: Settings, database: Database) -> Bell:
    from qwen_image_studio.jobs.news.broker import BrokerBell

    return BrokerBell(settings.broker_url, database)


BELLS: dict[str, Callable[[Settings, Database], Bell]] = {
    "": _open_own,
    "redis": _open_broker,
    "rediss": _open_broker,
    "amqp": _open_broker,
    "amqps": _open_broker,
    "postgresql": _open_postgresql,
    "postgresql+psycopg": _open_postgresql,
    "postgres": _open_postgresql,
}
"""Functions that open a bell, by the scheme of STUDIO_BROKER_URL."""
