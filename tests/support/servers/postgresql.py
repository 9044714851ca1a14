"""PostgreSQL, which writes to no disk by itself: what it promised survives its own end, not that of the machine."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar

import psycopg

from tests.support.servers import Server, command

USER, DATABASE = "studio", "postgres"
_OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "shared_buffers": "64MB",
    "max_connections": "400",
    "max_locks_per_transaction": "256",  # a schema is dropped in one transaction
    "listen_addresses": "127.0.0.1",
}


def binaries() -> list[str]:
    """Return the folders of PostgreSQL's commands that are not on PATH, the newest version first."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    return [str(path) for path in sorted(versions, key=lambda path: int(path.parent.name), reverse=True)]


class PostgreSQL(Server):
    """One PostgreSQL with an empty database."""

    name: ClassVar[str] = "postgresql"
    ends_by: ClassVar[signal.Signals] = signal.SIGINT  # "fast": callers are cut off, not waited for
    user: ClassVar[str | None] = "postgres" if os.geteuid() == 0 else None  # it refuses to be root

    def __init__(self, **options: str) -> None:
        """Make a cluster; `options` are settings of postgresql.conf beside those that tests have."""
        self._initdb, self._postgres = (command(name, *binaries()) for name in ("initdb", "postgres"))
        super().__init__()
        self._options = {**_OPTIONS, "unix_socket_directories": str(self.folder), **options}
        self.cluster = self.folder / "cluster"
        if self.user is not None:
            shutil.chown(self.folder, self.user)
        made = (self._initdb, "-D", str(self.cluster), "-U", USER, "--auth=trust", "--no-sync")
        assert self.run([*made, "--encoding=UTF8", "--locale=C.UTF-8"]).wait() == 0, self.log.read_text()

    @property
    def url(self) -> str:
        """Where it is reached, as SQLAlchemy takes it."""
        return f"postgresql+psycopg://{self.address}"

    @property
    def address(self) -> str:
        """User, host, port and database, as URLs have them."""
        return f"{USER}@127.0.0.1:{self.port}/{DATABASE}"

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        """Open a connection that commits each statement by itself."""
        return psycopg.connect(f"postgresql://{self.address}", autocommit=True, connect_timeout=2)

    def answers(self) -> bool:
        """Return whether it takes a connection."""
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it."""
        options = [word for name, value in self._options.items() for word in ("-c", f"{name}={value}")]
        return self.run([self._postgres, "-D", str(self.cluster), "-p", str(self.port), *options])
