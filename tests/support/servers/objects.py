"""Object stores that speak S3, each with a bucket from the start, and each with something that the others lack.

moto knows conditional puts, but looks at no signature and at no expiry. nanio checks signatures (SigV4) and expiry, but
gives a file no other type or name than it was put with. s3rver does that, and checks expiry and access key.
"""

import os
import socket
import subprocess
from collections.abc import Mapping
from secrets import token_hex

import requests

from tests.support import ROOT
from tests.support.servers import Server, command

BUCKET = "studio"
KEY = "S3RVER"
"""Access key and secret key: those that s3rver has."""
_SERVICES = ROOT / ".venv-services/bin"
_S3RVER = ROOT / "tests/services/node/node_modules/.bin"


class ObjectStore(Server):
    """An object store on loopback."""

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """A place of its own for one server's files, as STUDIO_STORAGE_URL names it."""
        return f"s3://{BUCKET}/{token_hex(6)}?endpoint={self.endpoint}"

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings of a server that keeps its files there, in a place of its own."""
        return {"storage_url": self.url, "storage_access_key": KEY, "storage_secret_key": KEY}

    def answers(self) -> bool:
        """Return whether it listens."""
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Moto(ObjectStore):
    """moto's server, which keeps everything in memory."""

    name = "moto"

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it."""
        return self.run([command("moto_server", str(_SERVICES)), "-H", "127.0.0.1", "-p", str(self.port)])

    def start(self) -> "Moto":
        """Start it, and make the bucket."""
        super().start()
        requests.put(f"{self.endpoint}/{BUCKET}", timeout=60).raise_for_status()
        return self


class S3rver(ObjectStore):
    """s3rver, which keeps files on the disk."""

    name = "s3rver"

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it with the bucket."""
        place = ["-d", str(self.folder / "objects"), "-a", "127.0.0.1", "-p", str(self.port)]
        return self.run([command("s3rver", str(_S3RVER)), *place, "--configure-bucket", BUCKET])


class Nanio(ObjectStore):
    """nanio, which keeps files on the disk."""

    name = "nanio"

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it with the bucket."""
        (self.folder / "objects" / BUCKET).mkdir(parents=True, exist_ok=True)
        place = ["--data-dir", str(self.folder / "objects"), "--host", "127.0.0.1", "--port", str(self.port)]
        keys = {"NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": KEY}
        return self.run([command("nanio", str(_SERVICES)), "serve", *place], {**os.environ, **keys})
