"""Who is called back for an API key: the address that it has, and the secrets by which its callbacks are signed.

The secrets are kept as they are: a signature of Standard Webhooks is symmetric, so the server needs them to sign.
"""

import base64
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, or_, select, update
from standardwebhooks import Webhook

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import api_keys, webhook_secrets

_SECRET_BYTES = 24
_MOST_SECRETS = 3
"""Largest number of secrets that sign a callback; more would only be those of rotations in a hurry."""

_VALID = (
    select(webhook_secrets.c.secret)
    .where(
        webhook_secrets.c.key == bindparam("of_key"),
        or_(webhook_secrets.c.expires_at.is_(None), webhook_secrets.c.expires_at > bindparam("now")),
    )
    .order_by(webhook_secrets.c.id.desc())
    .limit(_MOST_SECRETS)
)


class Receivers:
    """The receivers of the callbacks of one server. `key` is a key's name, empty for a server without keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- addresses -------------------------------------------------------------------------------------------------

    def set_address(self, key: str, url: str | None) -> None:
        """Call this address at the end of each job of the key that names none itself; with None, nobody.

        Raises StudioError ``invalid_value`` where there is no such active key.
        """
        statement = update(api_keys).where(api_keys.c.name == key, api_keys.c.revoked_at.is_(None))
        with self._database.writing() as connection:
            if not connection.execute(statement.values(webhook_url=url)).rowcount:
                raise _no_key(key)

    def address(self, key: str) -> str | None:
        """Return the address of a key; None where it has none. Raises StudioError ``invalid_value``."""
        query = select(api_keys.c.webhook_url).where(api_keys.c.name == key, api_keys.c.revoked_at.is_(None))
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise _no_key(key)
        return None if row.webhook_url is None else str(row.webhook_url)

    # -- secrets ---------------------------------------------------------------------------------------------------

    def secret(self, key: str, now: float | None = None) -> str:
        """Return the newest secret of a key, made where there is none yet. Raises StudioError ``invalid_value``."""
        self._check_key(key)
        return self._valid(key, self._database.now(now))[0]

    def rotate(self, key: str, overlap_s: float, now: float | None = None) -> str:
        """Make a new secret for a key and return it; those before sign as well for `overlap_s` more seconds.

        Raises StudioError ``invalid_value`` where there is no such key.
        """
        self._check_key(key)
        now = self._database.now(now)
        until = now + overlap_s
        outlasting = or_(webhook_secrets.c.expires_at.is_(None), webhook_secrets.c.expires_at > until)
        of_key = webhook_secrets.c.key == key
        with self._database.writing() as connection:
            connection.execute(webhook_secrets.delete().where(of_key, webhook_secrets.c.expires_at <= now))
            connection.execute(update(webhook_secrets).where(of_key, outlasting).values(expires_at=until))
            return _add(connection, key, now)

    def signed(self, key: str, event_id: str, body: bytes, now: float | None = None) -> Mapping[str, str]:
        """Return the headers that sign a callback, as Standard Webhooks has them."""
        now = self._database.now(now)
        at = datetime.fromtimestamp(int(now), UTC)
        valid = self._valid(key, now)
        return {
            "Content-Type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": " ".join(Webhook(each).sign(event_id, at, body.decode()) for each in valid),
        }

    def _valid(self, key: str, now: float) -> list[str]:
        """Return the secrets that sign now, newest first; one is made where there is none."""
        values = {"of_key": key, "now": now}
        with self._database.reading() as connection:
            if found := list(connection.scalars(_VALID, values)):
                return found
        with self._database.writing() as connection:  # another sender may have made one since
            return list(connection.scalars(_VALID, values)) or [_add(connection, key, now)]

    def _check_key(self, key: str) -> None:
        if not key:
            return
        with self._database.reading() as connection:
            if connection.scalar(select(api_keys.c.name).where(api_keys.c.name == key)) is None:
                raise _no_key(key)


def _add(connection: Connection, key: str, now: float) -> str:
    secret = f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"
    connection.execute(webhook_secrets.insert().values(key=key, secret=secret, created_at=now))
    return secret


def _no_key(key: str) -> StudioError:
    return StudioError("invalid_value", f"There is no active key '{key}'; 'keys list' shows those there are.")
