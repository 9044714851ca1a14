"""API keys: made here, stored as hashes in the database, each belonging to an owner."""

import hashlib
import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, select, update
from sqlalchemy.exc import IntegrityError

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import api_keys

_ANY = select(api_keys.c.name).limit(1)
_CALLER = select(api_keys.c.owner, api_keys.c.name, api_keys.c.scopes).where(
    api_keys.c.hash == bindparam("hash"), api_keys.c.revoked_at.is_(None)
)


PAINTS = (Scope.GENERATE, Scope.EDIT)
"""Scopes of a key that is made without naming any."""


@dataclass(frozen=True)
class ApiKey:
    """One key's record; the key itself is shown once, when it is made."""

    name: str
    owner: str
    created_at: float
    revoked_at: float | None
    scopes: Collection[Scope]


class KeyStore:
    """The API keys of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, owner: str | None = None, scopes: Collection[Scope] = PAINTS) -> str:
        """Make a key and return it. Raises StudioError ``invalid_value`` for a name that is taken or unusable."""
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", owner or name):
            raise StudioError("invalid_value", "name: use 1 to 64 letters, digits, dots, dashes or underscores.")
        key = f"qis_{secrets.token_urlsafe(32)}"
        row = {
            "name": name,
            "owner": owner or name,
            "hash": _hash(key),
            "created_at": time.time(),
            "scopes": _listed(scopes),
        }
        try:
            with self._database.writing() as connection:
                connection.execute(api_keys.insert().values(row))
        except IntegrityError as error:
            raise StudioError("invalid_value", f"name: there is a key '{name}' already; choose another.") from error
        return key

    def grant(self, name: str, scopes: Collection[Scope]) -> None:
        """Give a key these scopes in place of those that it has. Raises StudioError for a name without a key."""
        self._change(name, scopes=_listed(scopes))

    def _change(self, name: str, **values: Any) -> None:
        """Change an active key. Raises StudioError ``invalid_value`` where there is none of this name."""
        with self._database.writing() as connection:
            if connection.execute(update(api_keys).where(_active(name)).values(**values)).rowcount:
                return
        raise StudioError("invalid_value", f"name: there is no active key '{name}'; 'keys list' shows those there are.")

    def revoke(self, name: str) -> bool:
        """Revoke a key; return whether there was such a key that was not revoked yet."""
        statement = update(api_keys).where(_active(name))
        with self._database.writing() as connection:
            return connection.execute(statement.values(revoked_at=time.time())).rowcount > 0

    def all(self) -> list[ApiKey]:
        """Return every key that was ever made, oldest first."""
        with self._database.reading() as connection:
            return [_as_key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.created_at))]

    def any(self) -> bool:
        """Return whether a key was ever made; from then on every request needs one."""
        with self._database.reading() as connection:
            return connection.execute(_ANY).first() is not None

    def caller(self, key: str) -> Caller | None:
        """Return the caller to whom the key belongs; None where the key is unknown or revoked."""
        with self._database.reading() as connection:
            row = connection.execute(_CALLER, {"hash": _hash(key)}).one_or_none()
        return None if row is None else Caller(row.owner, row.name, frozenset(map(Scope, row.scopes)))


def _as_key(row: Row[Any]) -> ApiKey:
    return ApiKey(row.name, row.owner, row.created_at, row.revoked_at, frozenset(map(Scope, row.scopes)))


def _active(name: str) -> ColumnElement[bool]:
    return (api_keys.c.name == name) & api_keys.c.revoked_at.is_(None)


def _listed(scopes: Collection[Scope]) -> list[str]:
    """Return scopes in the order of their declaration, each once."""
    return [scope.value for scope in Scope if scope in scopes]


def _hash(key: str) -> str:
    # A key carries 256 random bits, so a plain hash is enough: there is nothing to guess.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
