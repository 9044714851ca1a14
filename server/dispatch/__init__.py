"""Port: dispatch says "look now". It carries no job: the table is the truth, so a lost word costs nothing."""

from typing import Protocol

from server.settings import Settings


class Doorbell(Protocol):
    """Tells one waiting thread that the jobs table may have changed."""

    def wait(self, timeout: float) -> bool:
        """Return once something may have changed, at the latest after `timeout` seconds; whether it did."""

    def close(self) -> None:
        """Give back what it holds."""


def open_doorbell(settings: Settings) -> Doorbell:
    """A doorbell of the settings' dispatch, for one thread."""
    from server.dispatch.local import TableWatch

    return TableWatch(settings.database)
