"""What all hosts of one server must have in common: the store of pictures, and the keys that sign links.

Each process that works says in its report which ones it has; who finds others in the report of another host says so,
instead of painting into a folder that nobody reads, or giving out links that do not open.
"""

import hmac
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from secrets import token_hex
from typing import Any

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery.gallery import Gallery
from qwen_image_studio.gallery.local import LocalStore
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.secret_key import secret_keys

_log = logging.getLogger(__name__)

STORE_KEY = "store.id"
"""Key of the file with the id of the store, which is drawn by whoever uses it first."""


SETTLES_S = 2.0
"""Time after which an id that was just drawn is read back from an object store, in seconds; it happens once."""


@dataclass(frozen=True)
class Common:
    """What one process has."""

    pictures: str
    """Id of the store of pictures."""
    links: tuple[str, ...] = ()
    """What tells each secret key from others, and nothing more; empty for a process that signs no links."""

    def as_row(self) -> Mapping[str, Any]:
        """Return it as JSON, to be reported beside what a worker offers."""
        return asdict(self)

    def apart_from(self, reports: Iterable[WorkerReport]) -> str | None:
        """Return a sentence on the first of these workers that has another store, or no key in common; None where all
        have the same.
        """
        for report in reports:
            other = (report.offers or {}).get("common")
            if other is None:
                continue
            where = f"{report.host or 'another host'} ({report.device})"
            if other["pictures"] != self.pictures:
                return (
                    f"The pictures of {where} lie in another place than this process's; set STUDIO_STORAGE_URL on all "
                    "hosts to one store, or to a folder that they share."
                )
            if self.links and other["links"] and not set(self.links) & set(other["links"]):
                return (
                    f"Links of {where} are signed with another key than this process's, and do not open here; set "
                    "STUDIO_SECRET_KEY to the same value on all hosts."
                )
        return None


def common_of(settings: Settings, store: JobStore, gallery: Gallery, *, signs: bool) -> Common | None:
    """Return what this process has; `signs` says whether it gives out links. None where there are no other hosts, and
    where the store of pictures does not answer now.
    """
    if not store.database.is_postgresql:
        return None
    try:
        drawn = gallery.files.put_once(STORE_KEY, token_hex(12).encode(), "text/plain")
        if drawn and not isinstance(gallery.files, LocalStore):
            time.sleep(SETTLES_S)  # where a store knows no conditional puts, the last of those drawn at once stays
        pictures = gallery.open(STORE_KEY).decode()
    except StudioError as error:
        _log.warning("whether all hosts keep their pictures in one place could not be seen: %s", error)
        return None
    installation, keys = store.forgetting.installation().encode(), secret_keys(settings) if signs else ()
    return Common(pictures, tuple(hmac.new(key, installation, sha256).hexdigest()[:8] for key in keys))
