"""API keys: made here, stored as hashes in the database, each belonging to an owner, with what it may do and use."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, bindparam, or_, select, update
from sqlalchemy.exc import IntegrityError

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.limits import NO_LIMITS, KeyLimits
from qwen_image_studio.contract.words import Policy, Scope
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import api_keys

USUAL = (Scope.GENERATE, Scope.EDIT)
"""Scopes of a key that is made without naming any."""
_ANY = select(api_keys.c.name).limit(1)
_NAMED = select(api_keys).where(api_keys.c.name == bindparam("name"))
_CALLER = select(api_keys).where(
    or_(
        api_keys.c.hash == bindparam("hash"),
        and_(api_keys.c.old_hash == bindparam("hash"), api_keys.c.old_until > bindparam("now")),
    ),
    api_keys.c.revoked_at.is_(None),
)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class ApiKey:
    """One key's record; the key itself is shown once, when it is made."""

    name: str
    owner: str
    created_at: float
    revoked_at: float | None
    scopes: Collection[Scope]
    limits: KeyLimits
    policy: Policy | None
    old_until: float | None
    """Until when the key before the last rotation goes on working, in Unix seconds; None without one."""

    @property
    def caller(self) -> Caller:
        """Return the caller to whom the key belongs."""
        return Caller(self.owner, self.name, self.scopes, self.limits)


class KeyStore:
    """The API keys of one database. Methods that change a key raise StudioError ``invalid_value`` where there is no
    active one of that name. `now` is in Unix seconds; tests pass it in.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._has_any = False

    def add(
        self,
        name: str,
        owner: str | None = None,
        scopes: Collection[Scope] = USUAL,
        limits: KeyLimits = NO_LIMITS,
        policy: Policy | None = None,
    ) -> str:
        """Make a key and return it. Raises StudioError ``invalid_value`` for a name that is taken or unusable."""
        if not _NAME.fullmatch(name) or not _NAME.fullmatch(owner or name):
            raise StudioError("invalid_value", "name: use 1 to 64 letters, digits, dots, dashes or underscores.")
        key = _new_key()
        row = {"name": name, "owner": owner or name, "hash": _hash(key), "created_at": self._database.now()}
        may = {"scopes": _listed(scopes), "limits": _stored(limits), "policy": policy}
        try:
            with self._database.writing() as connection:
                connection.execute(api_keys.insert().values(**row, **may))
        except IntegrityError as error:
            raise StudioError("invalid_value", f"name: there is a key '{name}' already; choose another.") from error
        return key

    def grant(self, name: str, scopes: Collection[Scope]) -> None:
        """Give a key these scopes in place of those that it has."""
        self._change(name, scopes=_listed(scopes))

    def limit(self, name: str, limits: KeyLimits) -> None:
        """Give a key these limits in place of those that it has; they hold from the next request on."""
        self._change(name, limits=_stored(limits))

    def rotate(self, name: str, overlap_s: float, now: float | None = None) -> str:
        """Make another key in place of this one and return it. The one before goes on working for `overlap_s` seconds;
        one from an earlier rotation ends.
        """
        key, until = _new_key(), (self._database.now(now)) + overlap_s
        self._change(name, old_hash=api_keys.c.hash, old_until=until, hash=_hash(key))
        return key

    def revoke(self, name: str) -> bool:
        """Revoke a key; return whether there was such a key that was not revoked yet."""
        with self._database.writing() as connection:
            return _changed(
                connection.execute(update(api_keys).where(_active(name)).values(revoked_at=self._database.now()))
            )

    def all(self) -> list[ApiKey]:
        """Return every key that was ever made, oldest first."""
        with self._database.reading() as connection:
            return [_as_key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.created_at))]

    def get(self, name: str) -> ApiKey:
        """Return the key of this name, revoked or not. Raises StudioError ``invalid_value`` where there is none."""
        with self._database.reading() as connection:
            row = connection.execute(_NAMED, {"name": name}).one_or_none()
        if row is None:
            raise StudioError("invalid_value", f"name: there is no key '{name}'; 'keys list' shows those there are.")
        return _as_key(row)

    def any(self) -> bool:
        """Return whether a key was ever made; from then on every request needs one. Rows stay, so a yes is for good."""
        if not self._has_any:
            with self._database.reading() as connection:
                self._has_any = connection.execute(_ANY).first() is not None
        return self._has_any

    def caller(self, key: str, now: float | None = None) -> Caller | None:
        """Return the caller to whom the key belongs; None where the key is unknown, revoked or rotated away."""
        hashed, at = _hash(key), self._database.now(now)
        with self._database.reading() as connection:
            row = connection.execute(_CALLER, {"hash": hashed, "now": at}).one_or_none()
        # How long the index takes may tell something of the hash, from which nobody gets to a key of 256 random bits.
        if row is None or not any(hmac.compare_digest(hashed, known) for known in (row.hash, row.old_hash or "")):
            return None
        return _as_key(row).caller

    def active(self, name: str, now: float | None = None) -> tuple[ApiKey, list[str]] | None:
        """Return the key of this name with the hashes by which it is known now: its own, and that of the key before the
        last rotation as long as it goes on working. None where there is none, or it was revoked.
        """
        at = self._database.now(now)
        with self._database.reading() as connection:
            row = connection.execute(_NAMED, {"name": name}).one_or_none()
        if row is None or row.revoked_at is not None:
            return None
        goes_on = row.old_hash is not None and row.old_until > at
        return _as_key(row), [row.hash, *([row.old_hash] if goes_on else [])]

    def known(self, key: str) -> tuple[Caller, str] | None:
        """Return the caller to whom the key belongs, with the key's hash; None as for `caller`."""
        found = self.caller(key)
        return None if found is None else (found, _hash(key))

    def govern(self, name: str, policy: Policy | None) -> None:
        """Give a key a safety policy; None for that of the settings. Raises StudioError for a name without a key."""
        self._change(name, policy=policy)

    def _change(self, name: str, **values: Any) -> None:
        with self._database.writing() as connection:
            if _changed(connection.execute(update(api_keys).where(_active(name)).values(**values))):
                return
        raise StudioError("invalid_value", f"name: there is no active key '{name}'; 'keys list' shows those there are.")


def _new_key() -> str:
    return f"qis_{secrets.token_urlsafe(32)}"


def _changed(result: Any) -> bool:
    return bool(result.rowcount)


def _as_key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        name=row.name,
        owner=row.owner,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        scopes=frozenset(map(Scope, row.scopes)),
        limits=KeyLimits.model_validate(row.limits),
        policy=None if row.policy is None else Policy(row.policy),
        old_until=row.old_until,
    )


def _active(name: str) -> ColumnElement[bool]:
    return (api_keys.c.name == name) & api_keys.c.revoked_at.is_(None)


def _listed(scopes: Collection[Scope]) -> list[str]:
    """Return scopes in the order of their declaration, each once."""
    return [scope.value for scope in Scope if scope in scopes]


def _stored(limits: KeyLimits) -> dict[str, Any]:
    return limits.model_dump(exclude_none=True)


def _hash(key: str) -> str:
    # A key carries 256 random bits, so a plain hash is enough: there is nothing to guess.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
